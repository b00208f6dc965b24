"""Noise in time with every model and method: identities, refusals, mixtures, files."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import esijax as ej
from esijax.inference.collapsed.answers import mixture_estimate
from esijax.posterior import scaled_members

LINEAR = ej.inference.Linear()


GAMMA = dist.InverseGamma(2.0, 1.0)


def stated(problem):
    """AR(1) noise whose variance grows."""
    times = np.arange(problem.n_times)
    size = np.sqrt(1.7 + 0.2 * times)
    omega = 0.6 ** np.abs(np.subtract.outer(times, times)) * np.outer(size, size)
    return problem.with_noise_time(omega), omega


def mixed(problem, n=6):
    """A mixture over draws of the variances, as samplers make it."""
    gamma = np.random.default_rng(1).gamma(2.0, size=(n, problem.n_locations))
    target = ej.models.ARD(GAMMA).prepare(problem).marginal(problem, None)
    return mixture_estimate(target, {"gamma": jnp.asarray(gamma)}, "draws")


def answers(estimate):
    out = {"mean": estimate.mean, "std": estimate.std, "log_evidence": estimate.log_evidence}
    if estimate.std is not None:
        out["lower"], out["upper"] = estimate.interval(0.9)
        out["exceedance"] = estimate.exceedance(float(np.abs(estimate.mean).mean()))
        out["course"] = estimate.label(np.array([1, 5])).std
    out |= {"gof": estimate.gof, "explained": estimate.explained_variance}
    return {k: np.broadcast_to(v, _shape(v, out)) for k, v in out.items() if v is not None}


def _shape(value, out):
    return out["mean"].shape if np.ndim(value) == out["mean"].ndim else np.shape(value)


PAIRS = {
    "MNE": (ej.models.MinimumNorm(), LINEAR),
    "evidence": (ej.models.MinimumNorm("evidence"), LINEAR),
    "dSPM": (ej.models.MinimumNorm(), ej.inference.Linear("dSPM")),
    "sLORETA": (ej.models.MinimumNorm(), ej.inference.Linear("sLORETA")),
    "LORETA": (ej.models.LORETA(), LINEAR),
    "eLORETA": (ej.models.ELORETA(), LINEAR),
    "LCMV": (None, ej.inference.LCMV()),
    "unit gain": (None, ej.inference.LCMV(weight_norm=None)),
    "EM": (ej.models.ARD(), ej.inference.EM(max_iter=200)),
    "Evidence": (ej.models.ARD(GAMMA), ej.inference.Evidence()),
    "Laplace": (ej.models.ARD(GAMMA), ej.inference.Laplace(num_samples=100)),
    "Gibbs": (ej.models.ARD(GAMMA), ej.inference.Gibbs(num_warmup=5, num_samples=8)),
    "L21": (ej.models.L21(ej.relative(0.2)), ej.inference.MAP(tol=1e-12)),
    "irMxNE": (ej.models.Lrq(ej.relative(0.2), 2, 0.5), ej.inference.Reweighted(4)),
    "Unrolled": (ej.models.ARD(), ej.inference.Unrolled()),
}  # fmt: skip
SHORT = ("MNE", "dSPM", "LCMV", "EM", "L21")
CHAOTIC = {
    "NUTS": (ej.models.ARD(GAMMA), ej.inference.NUTS(20, 20, 1)),
    "SVI": (ej.models.ARD(GAMMA), ej.inference.SVI(steps=60)),
}
CASES = [pytest.param(n, marks=() if n in SHORT else pytest.mark.slow) for n in PAIRS]


@pytest.mark.filterwarnings("ignore:.*(k-hat|R-hat|effective)")
@pytest.mark.parametrize("name", CASES)
def test_a_multiple_of_the_identity_is_another_noise_cov(name, fixed):
    """Omega = c I states what c times the noise covariance does, in every answer."""
    model, method = PAIRS[name]
    by = 3.0
    whitener = fixed.whitener
    other = dataclasses.replace(
        fixed,
        gain=fixed.gain / np.sqrt(by),
        prior_scale=fixed.prior_scale * np.sqrt(by),
        whitener=dataclasses.replace(
            whitener,
            matrix=whitener.matrix / np.sqrt(by),
            colorer=whitener.colorer * np.sqrt(by),
            log_pdet=whitener.log_pdet - fixed.rank * np.log(by) / 2,
        ),
    )
    other = other.with_data(fixed.recording)
    same = fixed.with_noise_time(by * np.eye(fixed.n_times))
    got, want = (ej.solve(p, model, method, key=0) for p in (same, other))
    # the same data enter with rounding of their own
    exact = name not in ("Evidence", "Laplace", "Gibbs", "EM")
    for what, value in answers(want).items():
        np.testing.assert_allclose(
            answers(got)[what], value, rtol=1e-8 if exact else 1e-5,
            atol=(1e-9 if exact else 1e-5) * np.abs(value).max(), err_msg=what,
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*(k-hat|R-hat|effective)")
@pytest.mark.parametrize(
    "name", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in CHAOTIC)]
)
def test_the_identity_changes_nothing(name, fixed):
    model, method = (PAIRS | CHAOTIC)[name]
    same = fixed.with_noise_time(np.eye(fixed.n_times))
    got, want = (answers(ej.solve(p, model, method, key=0)) for p in (same, fixed))
    for what, value in want.items():
        np.testing.assert_allclose(
            got[what], value, rtol=1e-10, atol=1e-10 * np.abs(value).max(), err_msg=what
        )


def test_moments_of_a_mixture_are_those_of_its_members(fixed):
    """Law of total variance over dense Gaussians, one for each draw."""
    problem, omega = stated(fixed)
    estimate, model = mixed(problem), ej.models.ARD(GAMMA)
    mean, var = scaled_members(estimate.samples, estimate.scale, None, None)
    draws = len(mean)
    want, spread = [], []
    for i in range(draws):
        hyper = jax.tree.map(lambda x, i=i: x[i], estimate.posterior.hyper)
        cov = model.prepare(problem).source_cov(hyper, problem).blocks()[:, 0, 0]
        gain = np.asarray(problem.gain)[..., 0]
        kernel = (gain * cov).T @ np.linalg.inv((gain * cov) @ gain.T + np.eye(problem.rank))
        white = np.asarray(problem.whitener.matrix @ problem.recording)
        want.append(float(problem.source_unit) * kernel @ white)
        left = np.asarray(cov) - np.sum(kernel * (gain * cov).T, axis=1)
        spread.append(float(problem.source_unit) ** 2 * left[:, None] * np.diag(omega))
    want, spread = np.array(want), np.array(spread)
    size = np.abs(want).max()
    np.testing.assert_allclose(mean[:, :, 0], want, atol=1e-9 * size)
    np.testing.assert_allclose(var[:, :, 0], np.sqrt(spread), rtol=1e-7)
    np.testing.assert_allclose(estimate.mean[:, 0], want.mean(axis=0), atol=1e-9 * size)
    total = spread.mean(axis=0) + want.var(axis=0)
    np.testing.assert_allclose(np.asarray(estimate.std)[:, 0] ** 2, total, rtol=1e-7)
    np.testing.assert_allclose(estimate.cov[:, 0, 0], total, rtol=1e-7)
    lower, upper = estimate.interval(0.9)
    for bound, p in ((lower, 0.05), (upper, 0.95)):
        below = stats.norm.cdf(bound[:, 0], want, np.sqrt(spread)).mean(axis=0)
        np.testing.assert_allclose(below, p, atol=1e-6)
    drawn = np.asarray(estimate.sample(0, 4000, at=([4], None)))[:, 0, 0]
    within = np.einsum("s,tu->tu", spread[:, 4, 0] / omega[0, 0] / draws, omega)
    cov = within + np.cov(want[:, 4].T, bias=True)
    off = (np.cov(drawn.T) - cov) / np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    assert np.abs(off).max() < 8 / np.sqrt(4000)


# ------------------------------------------------------------------ penalties
def test_a_mixed_norm_is_minimised_in_the_metric_of_the_noise(fixed):
    """Its objective, in samples; from itself it starts where it ended."""
    problem, omega = stated(fixed)
    model = ej.models.L21(ej.relative(0.3))
    estimate = ej.solve(problem, model, ej.inference.MAP(tol=1e-12))
    inverse = np.linalg.inv(np.linalg.cholesky(omega)).T
    white = np.asarray(problem.whitener.matrix @ problem.recording)
    gain = np.asarray(problem.gain * problem.prior_scale)[..., 0]
    z = np.asarray(estimate.mean / problem.source_unit / problem.prior_scale[..., None])[:, 0]

    def objective(z):
        left = (white - gain @ z) @ inverse
        norms = np.linalg.norm(z @ inverse, axis=1)
        return 0.5 * np.sum(left**2) + float(estimate.hyper["alpha"]) * norms.sum()

    least, rng = objective(z), np.random.default_rng(0)
    assert least == pytest.approx(estimate.verdict()["objective"], rel=1e-9)
    for size in (1e-3, 1e-2, 1e-1):
        assert objective(z + size * rng.standard_normal(z.shape) * (z != 0)) >= least
    # a start is turned from one covariance to another
    start = ej.solve(fixed, model, ej.inference.MAP(tol=1e-12))
    again = ej.solve(problem, model, ej.inference.MAP(tol=1e-12), init=start)
    np.testing.assert_allclose(again.mean, estimate.mean, atol=1e-5 * np.abs(estimate.mean).max())
    known = ej.models.L21(estimate.hyper["alpha"])
    warm = ej.solve(problem, known, ej.inference.MAP(), init=estimate)
    assert warm.verdict()["iterations"] <= 40
    kept = ej.inference.debias(estimate)
    assert np.sum(np.asarray(kept.mean) ** 2) > np.sum(np.asarray(estimate.mean) ** 2)


def test_what_looks_at_single_times_is_refused(fixed):
    problem, _ = stated(fixed)
    m, weights = ej.models, np.ones((problem.n_locations, problem.n_times))
    differences = m.Analysis(1.0, [m.penalties.InTime()])
    single = (m.L1(1.0), m.L21(1.0, weights), m.TimeFrequency(1.0), m.Lrq(1.0, 1))
    for model in (*single, m.SparseGroup(1.0), differences):
        with pytest.raises(
            ej.InputError, match=r"mixes times: take a norm .*with_noise_time\(None"
        ):
            ej.solve(problem, model, ej.inference.MAP())
    with pytest.raises(ej.InputError, match="Huber looks for artefacts at single times"):
        ej.solve(problem, m.L21(1.0), ej.inference.MAP(), noise=m.noise.Huber())
    network = m.networks.LinearMap.untrained(jax.random.key(0), fixed)
    with pytest.raises(ej.InputError, match="Direct maps sample by sample"):
        ej.solve(problem, None, ej.inference.Direct(network))


def test_penalties_that_may_be_turned_say_so(fixed):
    """Those that claim it keep their value where times are turned; all others are asked in vain."""
    m = ej.models
    rng = np.random.default_rng(0)
    z = rng.standard_normal((fixed.n_locations, 1, fixed.n_times))
    turn = np.linalg.qr(rng.standard_normal((fixed.n_times, fixed.n_times)))[0]
    groups = np.arange(fixed.n_locations) // 4
    known = [
        (m.L21(1.0), True), (m.L1(1.0), False), (m.Elastic(1.0), True), (m.MCP(1.0), True),
        (m.LogSum(1.0), True), (m.Lrq(1.0), True), (m.Lrq(1.0, 1), False),
        (m.SparseGroup(1.0, groups=groups), True),
        (m.SparseGroup(1.0), False), (m.TV(1.0), True), (m.SISSY(1.0), True),
    ]  # fmt: skip
    for model, may in known:
        prepared = model.prepare(fixed)
        assert prepared.whole_times == model.whole_times == may, model
        values = [float(prepared.value(x)) for x in (jnp.asarray(z), jnp.asarray(z @ turn))]
        assert (abs(values[0] - values[1]) < 1e-9 * values[0]) == may, model


@pytest.mark.parametrize("name", ["MNE", "mixture", "L21"])
def test_files_keep_it(name, fixed, tmp_path):
    problem, omega = stated(fixed)
    estimate = mixed(problem) if name == "mixture" else ej.solve(problem, *PAIRS[name])
    back = ej.load(ej.save(estimate, tmp_path / "estimate.npz"))
    np.testing.assert_array_equal(back.problem.noise_time.cov, omega)
    for what, value in answers(estimate).items():
        np.testing.assert_allclose(answers(back)[what], value, rtol=1e-12, err_msg=what)
