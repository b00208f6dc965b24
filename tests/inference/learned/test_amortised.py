"""The amortised posterior: calibrated, equal to NUTS, doubted where the data are others."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.estimate import RESULT
from esijax.inference.collapsed._weights import k_hat
from esijax.inference.learned._scoring import GENTLE
from esijax.inference.method import Setup
from esijax.learn.hyper_simulations import draw_hyper_data
from esijax.models.source_cov import Diagonal

NOISE = ej.models.noise.Scalar(dist.LogNormal(0.0, 0.5))
REGIONS = [np.arange(9), np.arange(9, 20)]
PRIOR = ej.models.Components(REGIONS, dist.LogNormal(0.5, 1.0))
KEY = jax.random.key(0)


def made(n_times=25, seed=0, noise_cov=0.5):
    rng = np.random.default_rng(seed)
    gain, data = rng.standard_normal((8, 20)), rng.standard_normal((8, n_times))
    return ej.from_arrays(gain, data, noise_cov=noise_cov)


@pytest.fixture(scope="module")
def problem():
    """With data from the model."""
    empty = made()
    return empty.with_data(recordings(empty, PRIOR, NOISE, 1)[0])


@pytest.fixture(scope="module")
def q(problem):
    return ej.learn.amortise(
        problem, PRIOR, NOISE, key=0, simulations=1024, steps=300, progress=False
    )


@pytest.fixture(scope="module")
def estimate(problem, q):
    return ej.solve(problem, PRIOR, ej.inference.Amortised(q), noise=NOISE, key=KEY)


@pytest.fixture
def fewer_weights(monkeypatch):
    """As many as draws: quicker."""
    monkeypatch.setattr("esijax.inference.collapsed._weights.MOST_WEIGHTS", 1)


def recordings(problem, prior, noise, n, seed=7, artefact=0.0):
    """Data sets from the model, with a fixed pattern of some standard deviations besides."""
    prior, noise = (m if m is None else m.prepare(problem) for m in (prior, noise))

    @eqx.filter_jit
    def draw(given, keys):
        def one(key):
            k_model, k_pattern, k_course = jax.random.split(key, 3)
            data = draw_hyper_data(given, k_model)[1].marginal.problem.data
            pattern = jax.random.normal(k_pattern, (len(data), 1))
            data = data + artefact * pattern * jax.random.normal(k_course, (1, data.shape[1]))
            return given.problem.whitener.colorer @ data

        return jax.lax.map(one, keys)

    return draw(Setup(problem, prior, noise), jax.random.split(jax.random.key(seed), n))


def doubted(problem, prior, noise, q, data):
    """Shares of data sets whose k-hat is above the limit, and that are doubted for any reason."""

    @eqx.filter_jit
    def checks(given, data, keys):
        problem, prior, method, noise = given

        def one(each):
            known = problem.with_data(each[0])
            return ej.solve(known, prior, method, noise=noise, key=each[1]).diagnostics

        return jax.lax.map(one, (data, keys))

    keys = jax.random.split(jax.random.key(11), len(data))
    found = checks((problem, prior, ej.inference.Amortised(q), noise), data, keys)
    heavy = np.array([k_hat(w) > 0.7 for w in np.asarray(found.log_weights)])
    other = np.asarray(found.pattern > found.pattern_limit)
    return heavy.mean(), (heavy | other).mean()


# ------------------------------------------------------------------ calibrated
class Unweighted(ej.inference.Amortised):
    """A planted bug: draws are taken as they come."""

    def weigh(self, log_weights):
        return jnp.full_like(log_weights, -jnp.log(len(log_weights)))


def narrowed(q, factor):
    """The same with draws that are too narrow."""
    bias = q.correction.network.layers[-1].bias
    n = len(bias) // 3
    more = bias.at[n:].add(jnp.asarray(-np.log(factor) / GENTLE, bias.dtype))
    return eqx.tree_at(lambda t: t.correction.network.layers[-1].bias, q, more)


def calibration(problem, method, n):
    return ej.metrics.sbc(
        PRIOR, NOISE, method, problem, n, key=jax.random.key(5), draws=49, progress=False,
        threads=1,
    )  # fmt: skip


def hyper_ranks(problem, method, n):
    """Ranks of the hyper-parameters alone."""
    given = Setup(problem, PRIOR.prepare(problem), NOISE.prepare(problem))

    def simulate(key):
        truth, target = draw_hyper_data(given, key)
        return {"theta": truth}, target.marginal.problem.recording

    def fit(key, data):
        found = ej.solve(problem.with_data(data), PRIOR, method, noise=NOISE, key=key)
        logs = jnp.log(jnp.hstack([found.hyper["gamma"], found.hyper["noise_var"]]))
        return {"theta": logs[:99]}

    key = jax.random.key(5)
    return ej.metrics.ranks(simulate, fit, n, key=key, threads=1, progress=False)


@pytest.mark.statistical
def test_it_is_calibrated_and_a_planted_bug_is_not(problem, q, fewer_weights):
    assert hyper_ranks(problem, ej.inference.Amortised(q, 200), 120).passes(0.01)
    assert not hyper_ranks(problem, Unweighted(narrowed(q, 2.0), 200), 120).passes(0.01)


@pytest.mark.slow
@pytest.mark.statistical
def test_it_is_calibrated_on_a_thousand_data_sets(problem, q):
    found = calibration(problem, ej.inference.Amortised(q, 200, 100), 1000)
    assert found.passes(0.01)
    # weights mend draws that are too narrow, and nothing else does
    narrow = narrowed(q, 1.5)
    found = calibration(problem, ej.inference.Amortised(narrow, 200, 100), 1000)
    assert found.passes(0.01)
    assert not calibration(problem, Unweighted(narrow, 200, 100), 1000).passes(0.01)


def beside_nuts(problem, q, data, key):
    """Differences of the mean log hyper-parameters from NUTS, in Monte Carlo standard errors."""
    known = problem.with_data(data)
    ours = ej.solve(known, PRIOR, ej.inference.Amortised(q), noise=NOISE, key=key)
    nuts = ej.inference.NUTS(200, 800, 2, target_accept=0.9)
    theirs = ej.solve(known, PRIOR, nuts, noise=NOISE, key=key, init=ours)

    def logs(estimate):
        return np.log(np.hstack([estimate.hyper["gamma"], estimate.hyper["noise_var"]]))

    a, b = logs(ours), logs(theirs)
    n = 1 / (1 / ours.verdict()["importance_draws"] + 1 / len(a))
    error = np.sqrt(a.var(axis=0) / n + b.var(axis=0) / theirs.verdict()["ess_bulk"])
    return (a.mean(axis=0) - b.mean(axis=0)) / error, theirs


def test_means_are_those_of_nuts(problem, q):
    away, nuts = beside_nuts(problem, q, problem.recording, KEY)
    assert np.abs(away).max() < 4
    assert RESULT[nuts.result] == "done"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:NUTS")  # a divergence in one of fifty
def test_means_are_those_of_nuts_on_fifty_data_sets(problem, q):
    away = [beside_nuts(problem, q, d, KEY)[0] for d in recordings(problem, PRIOR, NOISE, 50)]
    assert len(away) == 50
    assert np.abs(away).max() < 4


# ------------------------------------------------------------------ what is doubted
def test_data_of_the_model_are_believed_and_artefacts_are_not(problem, q, fewer_weights):
    told = doubted(problem, PRIOR, NOISE, q, recordings(problem, PRIOR, NOISE, 60))
    assert max(told) <= 0.1
    spoilt = recordings(problem, PRIOR, NOISE, 60, artefact=6.0)
    assert doubted(problem, PRIOR, NOISE, q, spoilt)[1] >= 0.9


def test_a_doubt_is_said(problem, q):
    spoilt = np.array(problem.recording)
    spoilt[3] += 20 * np.random.default_rng(0).standard_normal(25)
    with pytest.warns(ej.EsijaxWarning, match="a pattern over the sensors has more power"):
        found = ej.solve(
            problem.with_data(spoilt), PRIOR, ej.inference.Amortised(q), noise=NOISE, key=KEY
        )
    assert RESULT[found.result].startswith("the computation did not meet")
    verdict = found.verdict()
    assert verdict["largest_pattern"] > verdict["largest_pattern_limit"] > 1


@pytest.mark.slow
def test_nine_hyper_parameters_of_a_real_head(evoked, forward, noise_cov):
    """30 electrodes, eight regions, the factor of the noise: the figures of docs/learned.md."""
    eeg = evoked.copy().pick("eeg", exclude="bads")
    eeg.pick([eeg.ch_names[i] for i in np.linspace(0, len(eeg.ch_names) - 1, 30).astype(int)])
    head = ej.from_mne(eeg, forward, noise_cov, loose=0.0)
    head = head.with_data(np.repeat(np.asarray(head.recording)[:, :1], 40, axis=1))
    places, seeds = np.asarray(head.geometry.positions), [0]
    while len(seeds) < 8:
        far = np.linalg.norm(places[:, None] - places[seeds][None], axis=-1).min(axis=1)
        seeds.append(int(far.argmax()))
    region = np.linalg.norm(places[:, None] - places[seeds][None], axis=-1).argmin(axis=1)
    regions = [np.flatnonzero(region == k) for k in range(8)]
    prior = ej.models.Components(regions, dist.LogNormal(0.0, 1.5))
    wide = ej.models.Components(regions, dist.LogNormal(0.0, 4.5))
    q = ej.learn.amortise(head, prior, NOISE, key=0, progress=False)
    ours = doubted(head, prior, NOISE, q, recordings(head, prior, NOISE, 300))
    # without its correction: the exact steps alone
    last = q.correction.network.layers[-1]
    plain = eqx.tree_at(
        lambda t: (t.correction.network.layers[-1].weight, t.correction.network.layers[-1].bias),
        q,
        (0 * last.weight, 0 * last.bias),
    )
    steps = doubted(head, prior, NOISE, plain, recordings(head, prior, NOISE, 300))
    spoilt = doubted(head, prior, NOISE, q, recordings(head, prior, NOISE, 300, artefact=6.0))
    narrow = doubted(head, prior, NOISE, q, recordings(head, wide, NOISE, 300))
    assert ours[0] <= 0.1
    assert ours[0] < steps[0]
    assert spoilt[0] >= 0.9  # k-hat alone
    assert spoilt[1] >= 0.95
    assert 0.4 < narrow[0] < 0.9  # a prior three times too narrow shows in most, not in all


# ------------------------------------------------------------------ as other methods
def test_what_it_gives(estimate):
    assert estimate.hyper["gamma"].shape == (1000, 2)
    assert estimate.hyper["noise_var"].shape == (1000, 1)
    assert estimate.method == "Amortised"
    assert RESULT[estimate.result] == "done"
    assert (np.asarray(estimate.std) > 0).all()
    verdict = estimate.verdict()
    assert verdict["k_hat"] < verdict["k_hat_limit"]
    assert verdict["largest_pattern"] < verdict["largest_pattern_limit"]


@pytest.mark.slow
def test_evidence_is_that_of_laplace_weights(problem, estimate):
    laplace = ej.solve(problem, PRIOR, ej.inference.Laplace(), noise=NOISE, key=KEY)
    want = laplace.verdict()["importance_log_evidence"]
    assert float(estimate.log_evidence) == pytest.approx(want, abs=0.1)


def test_jit_and_repetition(problem, q, estimate):
    method = ej.inference.Amortised(q)
    again = ej.solve(problem, PRIOR, method, noise=NOISE, key=KEY)
    np.testing.assert_array_equal(again.hyper["gamma"], estimate.hyper["gamma"])
    np.testing.assert_array_equal(again.mean, estimate.mean)

    @jax.jit
    def solved(data, key):
        known = problem.with_data(data)
        found = ej.solve(known, PRIOR, method, noise=NOISE, key=key)
        return found.mean, found.hyper["gamma"]

    mean, gamma = solved(problem.recording, KEY)
    np.testing.assert_allclose(gamma, estimate.hyper["gamma"], rtol=1e-6)
    np.testing.assert_allclose(mean, estimate.mean, rtol=1e-6, atol=1e-6 * np.abs(mean).max())
    other = solved(problem.recording, jax.random.key(1))[1]
    assert not np.array_equal(other, gamma)


def test_another_problem_is_refused(problem, q):
    method, given = ej.inference.Amortised(q), {"noise": NOISE, "key": KEY}
    rng = np.random.default_rng(1)
    refused = {
        "lead field": (made(seed=1), PRIOR, given),
        "noise covariance or number of averages": (made(noise_cov=0.6), PRIOR, given),
        "number of samples": (made(n_times=24), PRIOR, given),
        "prior": (problem, ej.models.Components(REGIONS, dist.LogNormal(0.5, 1.1)), given),
        "noise model": (problem, PRIOR, {**given, "noise": ej.models.noise.Scalar()}),
    }
    for what, (other, prior, options) in refused.items():
        with pytest.raises(ej.InputError, match=f"trained for another {what}.*ej.learn.amortise"):
            ej.solve(other, prior, method, **options)
    with pytest.raises(ej.InputError, match="pass key="):
        ej.solve(problem, PRIOR, method, noise=NOISE)
    with pytest.raises(ej.InputError, match=r"must come from ej\.learn"):
        ej.inference.Amortised("q.npz")
    with pytest.raises(ej.InputError, match="num_samples must be"):
        ej.inference.Amortised(q, 10)
    # a new recording of the same problem is taken
    new = problem.with_data(problem.recording + 0.1 * rng.standard_normal((8, 25)))
    assert ej.solve(new, PRIOR, method, **given).hyper["gamma"].shape == (1000, 2)


# ------------------------------------------------------------------ other priors
class Depth(ej.models.Prior):
    """A prior of two methods."""

    def hyper(self, sizes):  # noqa: ARG002
        return {
            "strength": numpyro.sample("strength", dist.LogNormal(0.5, 1.0)),
            "exponent": numpyro.sample("exponent", dist.Uniform(0.0, 1.5)),
        }

    def source_cov(self, hyper, problem):
        power = jnp.sum(problem.gain**2, axis=(0, 2))
        weight = power ** -hyper["exponent"]
        weight = weight * problem.rank / jnp.sum(power * weight)
        return Diagonal(hyper["strength"] * weight[:, None] * problem.orient_scale**2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:noise.LowRank")
@pytest.mark.parametrize(
    ("prior", "noise", "most"),
    [
        (Depth(), NOISE, 0.1),
        (Depth(), None, 0.2),
        (PRIOR, ej.models.noise.LowRank(1), 0.1),
        (ej.models.Components(REGIONS, ej.models.hyperpriors.HalfCauchyScale(0.5)), None, 0.25),
        (ej.models.Components(REGIONS, dist.HalfCauchy(1.0)), NOISE, 0.2),
    ],
    ids=["own", "own, noise given", "noise of low rank", "horseshoe", "half-Cauchy"],
)
def test_priors_of_many_kinds(problem, prior, noise, most):
    """Long tails towards zero, as of half-Cauchy scales, are the hardest."""
    q = ej.learn.amortise(problem, prior, noise, key=0, progress=False)
    share, _ = doubted(problem, prior, noise, q, recordings(problem, prior, noise, 100))
    assert share <= most
