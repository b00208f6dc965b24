"""The posterior of the minimum norm family against dense formulas, densities and draws."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import textbook
from scipy import stats

import esijax as ej

LAMBDA2 = 0.3
MODELS = {
    "MinimumNorm": (ej.models.MinimumNorm, textbook.weight_cov),
    "LORETA": (ej.models.LORETA, lambda p: textbook.loreta_cov(p, 0.2)),
    "ELORETA": (ej.models.ELORETA, lambda p: textbook.eloreta_cov(p, LAMBDA2)),
}
DAILY = {
    "fixed": ("MinimumNorm", "ELORETA"),
    "free": ("MinimumNorm", "LORETA", "ELORETA"),
    "trials": ("MinimumNorm",),
    "referenced": ("MinimumNorm",),
}
CASES = [
    pytest.param(
        (which, name),
        id=f"{which}-{name}",
        marks=() if name in daily else pytest.mark.slow,
    )
    for which, daily in DAILY.items()
    for name in MODELS
]


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """problem, estimate, textbook posterior."""
    which, name = request.param
    problem = request.getfixturevalue(which)
    make, formula = MODELS[name]
    estimate = ej.solve(problem, make(lambda2=LAMBDA2), ej.inference.Linear())
    return problem, estimate, textbook.Posterior(problem, formula(problem), LAMBDA2)


def close(got, want, rtol=1e-10):
    want = np.asarray(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=rtol * np.abs(want).max())


def test_moments_are_the_dense_formula(case):
    problem, estimate, book = case
    unit = float(problem.source_unit)
    close(estimate.mean, unit * book.mean)
    close(estimate.cov, unit**2 * book.blocks())
    close(estimate.std[..., 0], unit * np.sqrt(np.diagonal(book.blocks(), axis1=1, axis2=2)))


def test_evidence_is_the_density_of_the_data_in_their_own_units(case):
    """Not of the whitened data: the Jacobian of whitening is part of it."""
    problem, estimate, book = case
    n_columns = problem.data.size // problem.rank
    want = book.log_density() + n_columns * float(problem.whitener.log_pdet)
    assert float(estimate.log_evidence) == pytest.approx(want, rel=1e-10)
    # directly: y ~ N(0, L R L' + C), on the range of C, in V and T
    colorer = np.asarray(problem.whitener.colorer)
    lead = colorer @ book.gain
    cov = lead @ book.prior @ lead.T + colorer @ colorer.T
    columns = np.moveaxis(np.asarray(problem.recording), -2, 0).reshape(len(cov), -1).T
    if problem.rank < len(cov):  # singular: the density lives on the range
        basis = np.linalg.svd(cov)[0][:, : problem.rank]
        cov, columns = basis.T @ cov @ basis, columns @ basis
    density = stats.multivariate_normal(np.zeros(len(cov)), cov).logpdf(columns).sum()
    assert float(estimate.log_evidence) == pytest.approx(density, rel=1e-9)


def test_combinations_fit_and_residual(case):
    problem, estimate, book = case
    weights = np.random.default_rng(0).standard_normal((2, *book.shape))
    mean, variance = estimate.posterior.combine(jnp.asarray(weights))
    w = weights.reshape(2, -1)
    close(mean, w @ (book.kernel @ book.data))
    close(variance, np.einsum("ki,ij,kj->k", w, book.cov, w))
    fitted = book.gain @ book.kernel @ book.data
    close(estimate.posterior.fitted(), fitted)
    predicted = np.asarray(problem.whitener.colorer) @ fitted
    close(estimate.predicted, predicted)
    close(estimate.residual, np.asarray(problem.recording) - predicted)
    left, total = ((d**2).sum() for d in (book.data - fitted, book.data))
    assert float(estimate.explained_variance) == pytest.approx(1 - left / total, rel=1e-9)
    gof = 1 - ((book.data - fitted) ** 2).sum(-2) / (book.data**2).sum(-2)
    close(estimate.gof, gof)


@pytest.mark.statistical
def test_draws_reproduce_mean_and_variance(case):
    """4,000 draws at 100 random places, within 4 standard errors of Monte Carlo."""
    problem, estimate, book = case
    n = 4000
    rng = np.random.default_rng(1)
    draws = np.asarray(estimate.sample(jax.random.key(1), n)).reshape(n, -1)
    mean = np.asarray(estimate.mean).ravel()
    std = np.broadcast_to(estimate.std, estimate.mean.shape).ravel()
    where = rng.choice(len(mean), min(100, len(mean)), replace=False)
    z = (draws[:, where].mean(0) - mean[where]) / (std[where] / np.sqrt(n))
    assert np.abs(z).max() < 4
    ratio = draws[:, where].var(0, ddof=1) / std[where] ** 2
    assert (np.abs(ratio - 1) / np.sqrt(2 / (n - 1))).max() < 4
    # sources at one time covary as the posterior says (an entry's error: Isserlis)
    n_sources = book.cov.shape[0]
    first = draws.reshape(n, -1, n_sources, problem.n_times)[:, 0, :, 0] / float(
        problem.source_unit
    )
    got = np.cov(first.T)
    error = np.sqrt((np.outer(np.diag(book.cov), np.diag(book.cov)) + book.cov**2) / n)
    assert (np.abs(got - book.cov) / error).max() < 5.5


# ------------------------------------------------------------------ noise normalisation
@pytest.mark.parametrize("kind", ["dSPM", "sLORETA"])
@pytest.mark.parametrize("name", MODELS)
def test_noise_normalisation(free, name, kind):
    make, formula = MODELS[name]
    estimate = ej.solve(free, make(lambda2=LAMBDA2), ej.inference.Linear(kind))
    book = textbook.Posterior(free, formula(free), LAMBDA2)
    norm = book.norm(kind)[:, None, None]
    close(estimate.norm, norm[:, 0, 0])
    close(estimate.mean, book.mean / norm)
    close(estimate.cov, book.blocks() / norm**2)
    assert estimate.unit == ""
    plain = ej.solve(free, make(lambda2=LAMBDA2), ej.inference.Linear())
    assert plain.unit == "A m"
    assert float(estimate.log_evidence) == pytest.approx(float(plain.log_evidence))
    close(estimate.residual, plain.residual)


# ------------------------------------------------------------------ questions to an estimate
@pytest.fixture(scope="module")
def linear(free):
    return ej.solve(free, ej.models.MinimumNorm(LAMBDA2), ej.inference.Linear("dSPM"))


def test_draws_at_some_places_are_those_of_all_places(linear):
    locations, times = np.array([3, 0, 11]), slice(1, 4)
    everywhere = linear.sample(jax.random.key(0), 6, at=(None, times))
    some = linear.sample(jax.random.key(0), 6, at=(locations, times))
    assert some.shape == (6, 3, 3, 3)
    close(some, everywhere[:, locations])
    mask = np.zeros(linear.problem.n_locations, dtype=bool)
    mask[[2, 5]] = True
    assert linear.sample(jax.random.key(0), 2, at=(mask, None)).shape == (2, 2, 3, 7)
    assert linear.sample(jax.random.key(0), 2, at=(4, -1)).shape == (2, 1, 3, 1)
    again = linear.sample(jax.random.key(0), 6, at=(locations, times))
    np.testing.assert_array_equal(some, again)
    other = linear.sample(jax.random.key(1), 6, at=(locations, times))
    assert not np.any(some == other)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (([20], None), "below 20"),
        (([0.5], None), "integers"),
        (([], None), "selects no locations"),
        ((None, slice(7, 9)), "selects no times"),
        ((np.ones(3, dtype=bool), None), "20 entries"),
    ],
)
def test_wrong_places_are_refused(linear, at, message):
    with pytest.raises(ej.InputError, match=message):
        linear.sample(jax.random.key(0), 2, at=at)


@pytest.mark.statistical
def test_draws_at_different_times_are_independent(fixed):
    estimate = ej.solve(fixed, ej.models.MinimumNorm(LAMBDA2), ej.inference.Linear())
    n = 3000
    draws = np.asarray(estimate.sample(jax.random.key(2), n, at=([0], None)))[:, 0, 0]
    corr = np.corrcoef(draws.T)
    assert np.abs(corr - np.eye(len(corr))).max() < 5 / np.sqrt(n)
    assert np.abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 4 / np.sqrt(n)


@pytest.mark.statistical
def test_draws_of_many_sources_come_in_chunks(problem_factory):
    """8,000,000 numbers at a time: 3,000 columns of 6,000 sources need three chunks."""
    problem = problem_factory(1, n_channels=6, n_locations=6000, n_times=3)
    estimate = ej.solve(problem, ej.models.MinimumNorm(LAMBDA2), ej.inference.Linear())
    n = 1000
    draws = np.asarray(estimate.sample(jax.random.key(2), n, at=([7, 11], None)))
    assert draws.shape == (n, 2, 1, 3)
    assert len(np.unique(draws)) == draws.size
    z = (draws - np.asarray(estimate.mean)[[7, 11]]) / np.asarray(estimate.std)[[7, 11]]
    assert np.abs(z.mean(0)).max() < 4 / np.sqrt(n)
    assert np.abs(z.var(0) - 1).max() < 4 * np.sqrt(2 / n)


def test_intervals(linear):
    lower, upper = linear.interval(0.9)
    z = stats.norm.ppf(0.95)
    close((lower + upper) / 2, linear.mean)
    close(upper - lower, np.broadcast_to(2 * z * np.asarray(linear.std), lower.shape))
    for level in (0.0, 1.0, -0.1, np.nan, "0.9"):
        with pytest.raises(ej.InputError, match="level"):
            linear.interval(level)


@pytest.mark.statistical
@pytest.mark.parametrize("which", ["fixed", "free", "trials"])
def test_exceedance_is_the_share_of_draws(request, which):
    problem = request.getfixturevalue(which)
    estimate = ej.solve(problem, ej.models.MinimumNorm(LAMBDA2), ej.inference.Linear("dSPM"))
    n = 4000
    draws = np.asarray(estimate.sample(jax.random.key(3), n))
    size = np.linalg.norm(draws, axis=-2)
    threshold = float(np.median(size))
    got = np.asarray(estimate.exceedance(threshold))
    share = (size > threshold).mean(0)
    assert got.shape == share.shape
    error = np.sqrt(got * (1 - got) / n)
    assert (np.abs(share - got) / (error + 1e-4)).max() < 5
    for bad in (-1.0, "3", None, np.ones(2)):
        with pytest.raises(ej.InputError, match="threshold"):
            estimate.exceedance(bad)


def test_label_course(trials):
    estimate = ej.solve(trials, ej.models.MinimumNorm(LAMBDA2), ej.inference.Linear("dSPM"))
    book = textbook.Posterior(trials, textbook.weight_cov(trials), LAMBDA2)
    norm = book.norm("dSPM")
    index = np.array([2, 9, 4, 17])
    n = np.asarray(trials.geometry.normals)[index]
    main = np.linalg.svd(n)[2][0]
    flips = np.sign(n @ main)
    flips = flips if flips.sum() >= 0 else -flips
    for mode, sign in (("mean", np.ones(4)), ("mean_flip", flips)):
        course = estimate.label(index, level=0.8, mode=mode)
        w = np.zeros(book.shape)
        w[index, 2] = sign / 4 / norm[index]
        close(course.mean, np.einsum("lo,klot->kt", w, book.mean))
        std = np.sqrt(w.ravel() @ book.cov @ w.ravel())
        close(course.std, np.full(course.mean.shape, std))
        close(course.upper - course.mean, np.full(course.mean.shape, stats.norm.ppf(0.9) * std))
        close(course.lower, 2 * course.mean - course.upper)
        np.testing.assert_array_equal(course.times, trials.times)
    assert (flips < 0).any()
    tangential = estimate.label(index, mode="mean", orient=0)
    close(tangential.mean, estimate.mean[:, index, 0].mean(1))
    for bad, message in (([99], "below 20"), ([], "no locations")):
        with pytest.raises(ej.InputError, match=message):
            estimate.label(bad)
    with pytest.raises(ej.InputError, match="mode"):
        estimate.label(index, mode="max")


def test_verdict(linear):
    verdict = linear.verdict()
    assert verdict["result"] == "done"
    assert verdict["log_evidence"] == float(linear.log_evidence)
    assert verdict["explained_variance"] == float(linear.explained_variance)
    assert linear.prob_active is None
    assert set(linear.hyper) == {"lambda2"}


def test_what_does_not_fit_is_refused(linear, monkeypatch):
    monkeypatch.setenv("ESIJAX_MAX_GB", "1e-6")
    with pytest.raises(ej.InputError, match="the mean needs 20 x 3 x 7 x 8 B"):
        linear.mean  # noqa: B018
    with pytest.raises(ej.InputError, match="100 draws"):
        linear.sample(jax.random.key(0), 100)
    assert linear.sample(jax.random.key(0), 1, at=([0], [0])).shape == (1, 1, 3, 1)
    with pytest.raises(ej.InputError, match="n must be at least 1"):
        linear.sample(jax.random.key(0), 0)


# ------------------------------------------------------------------ invariances
def from_arrays(gain, data, cov, **kwargs):
    return ej.from_arrays(gain, data, noise_cov=cov, **kwargs)


@pytest.fixture(scope="module")
def raw_arrays():
    rng = np.random.default_rng(11)
    gain = rng.standard_normal((10, 15, 3))
    half = rng.standard_normal((10, 10))
    cov = np.eye(10) + half @ half.T / 10
    data = gain[:, 3] @ rng.standard_normal((3, 5)) + np.linalg.cholesky(cov) @ rng.standard_normal(
        (10, 5)
    )
    return gain, data, cov


ANSWERS = {
    "MinimumNorm": (ej.models.MinimumNorm(LAMBDA2), ej.inference.Linear()),
    "sLORETA": (ej.models.MinimumNorm("evidence"), ej.inference.Linear("sLORETA")),
    "ELORETA": (ej.models.ELORETA(LAMBDA2), ej.inference.Linear()),
    "LCMV": (None, ej.inference.LCMV()),
    "LCMV max-power": (None, ej.inference.LCMV(pick_ori="max-power", weight_norm="nai")),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_order_and_units_of_channels_do_not_matter(raw_arrays, name):
    gain, data, cov = raw_arrays
    model, method = ANSWERS[name]

    def answer(gain, data, cov):
        return ej.solve(from_arrays(gain, data, cov), model, method)

    base = answer(gain, data, cov)
    order = np.random.default_rng(12).permutation(len(gain))
    permuted = answer(gain[order], data[order], cov[np.ix_(order, order)])
    a = 1e-13  # from V to fT and back
    scaled = answer(a * gain, a * data, a**2 * cov)
    for other, jacobian in ((permuted, 0.0), (scaled, -data.size * np.log(a))):
        close(other.mean, base.mean, 1e-9)
        close(other.std, base.std, 1e-9)
        if base.log_evidence is not None:
            want = float(base.log_evidence) + jacobian
            assert float(other.log_evidence) == pytest.approx(want, rel=1e-9)


def test_units_of_one_channel_do_not_matter(raw_arrays):
    """A T/m gradiometer beside a T magnetometer beside a V electrode."""
    gain, data, cov = raw_arrays
    units = 10.0 ** np.random.default_rng(13).uniform(-13, 0, len(gain))
    model, method = ANSWERS["MinimumNorm"]
    base = ej.solve(from_arrays(gain, data, cov), model, method)
    other = ej.solve(
        from_arrays(
            units[:, None, None] * gain, units[:, None] * data, cov * np.outer(units, units)
        ),
        model,
        method,
    )
    close(other.mean, base.mean, 1e-8)
    want = float(base.log_evidence) - data.shape[1] * np.log(units).sum()
    assert float(other.log_evidence) == pytest.approx(want, rel=1e-9)


def test_doubling_the_noise_is_no_free_evidence(raw_arrays):
    """Where the data are noise, the evidence must prefer the right noise covariance."""
    gain, _, cov = raw_arrays
    noise = np.linalg.cholesky(cov) @ np.random.default_rng(14).standard_normal((10, 400))

    def evidence(factor):
        problem = from_arrays(gain, noise, factor * cov)
        model = ej.models.MinimumNorm(1e4)
        with pytest.warns(ej.EsijaxWarning, match="explains"):
            return float(ej.solve(problem, model, ej.inference.Linear()).log_evidence)

    half, right, double = (evidence(f) for f in (0.5, 1.0, 2.0))
    assert right > half + 100
    assert right > double + 100


def test_nave_divides_the_covariance(fixed):
    whitener = fixed.whitener
    eye = np.asarray(whitener.matrix @ whitener.colorer)
    np.testing.assert_allclose(eye, np.eye(fixed.rank), atol=1e-12)


# ------------------------------------------------------------------ driving
def test_other_data_same_problem(free):
    model, method = ej.models.MinimumNorm(LAMBDA2), ej.inference.Linear()
    other = free.with_data(2 * free.recording)
    close(ej.solve(other, model, method).mean, 2 * ej.solve(free, model, method).mean)
    with pytest.raises(ej.InputError, match="12 channels"):
        free.with_data(np.ones((3, 7)))


def test_models_and_methods_are_checked(fixed):
    with pytest.raises(ej.InputError, match="minimum norm family"):
        ej.solve(fixed, None, ej.inference.Linear())
    with pytest.raises(ej.InputError, match="noise_norm"):
        ej.inference.Linear("zscore")
    with pytest.raises(TypeError, match="method"):
        ej.solve(fixed, ej.models.MinimumNorm(), "dSPM")
    with pytest.raises(TypeError, match="problem"):
        ej.solve("sample", ej.models.MinimumNorm(), ej.inference.Linear())


def test_an_answer_that_is_not_finite_is_refused_or_returned(fixed):
    broken = eqx.tree_at(lambda p: p.gain, fixed, fixed.gain.at[0, 0, 0].set(jnp.nan))
    model, method = ej.models.MinimumNorm(), ej.inference.Linear()
    with pytest.raises(ej.InputError, match="not finite"):
        ej.solve(broken, model, method)
    estimate = ej.solve(broken, model, method, throw=False)
    assert not np.isfinite(estimate.mean).all()


def test_few_electrodes_get_a_note(fixed):
    eeg = dataclasses.replace(
        fixed, labels=dataclasses.replace(fixed.labels, ch_types=("eeg",) * 12)
    )
    notes = [
        ej.solve(p, ej.models.MinimumNorm(), ej.inference.Linear()).notes for p in (eeg, fixed)
    ]
    assert any("12 EEG channels" in note for note in notes[0])
    assert not any("EEG channels" in note for note in notes[1])


def test_zero_data_give_a_zero_map_with_the_prior_s_spread(fixed):
    with pytest.warns(ej.EsijaxWarning, match="all zero"):
        silent = fixed.with_data(np.zeros_like(fixed.recording))
    for lambda2 in (LAMBDA2, "evidence", "gcv", "lcurve"):
        estimate = ej.solve(silent, ej.models.MinimumNorm(lambda2), ej.inference.Linear())
        assert not np.any(estimate.mean)
        assert np.isfinite(estimate.std).all()
        assert float(estimate.explained_variance) == 0
