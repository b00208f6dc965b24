"""LCMV against a loop over locations that follows the formulas word by word."""

import numpy as np
import pytest

import esijax as ej

NORMS = (None, "unit-noise-gain", "unit-noise-gain-invariant", "nai")
REG = 0.07


def loop(gain, cov, pick_ori, weight_norm, reg=REG):
    """Filters (locations, orients, rank) for a whitened gain and data covariance."""
    rank = len(gain)
    loading = reg * np.trace(cov) / rank
    inverse = np.linalg.inv(cov + loading * np.eye(rank))
    noise_floor = max(np.linalg.eigvalsh(cov)[0], loading)
    filters = []
    for location in range(gain.shape[1]):
        g = gain[:, location]
        if pick_ori == "normal":
            g = g[:, 2:]
        elif pick_ori == "max-power":
            # unit-gain output power g'C^-1g inverse; with noise gain: the ratio of the two
            power, noise = g.T @ inverse @ g, g.T @ inverse @ inverse @ g
            ratio = np.linalg.inv(power) if weight_norm is None else np.linalg.solve(noise, power)
            values, vectors = np.linalg.eig(ratio)
            direction = np.real(vectors[:, np.argmax(np.real(values))])
            direction = direction * np.sign(direction[2]) / np.linalg.norm(direction)
            g = g @ direction[:, None]
        w = np.linalg.inv(g.T @ inverse @ g) @ g.T @ inverse
        if weight_norm == "unit-noise-gain-invariant":
            numer = g.T @ inverse
            values, vectors = np.linalg.eigh(numer @ numer.T)
            w = (vectors / np.sqrt(values)) @ vectors.T @ numer
        elif weight_norm is not None:
            w = w / np.linalg.norm(w, axis=1, keepdims=True)
        filters.append(w / np.sqrt(noise_floor) if weight_norm == "nai" else w)
    return np.array(filters)


@pytest.fixture(scope="module")
def long_free(problem_factory):
    """More samples than channels."""
    return problem_factory(3, n_times=60, loose=0.3)


@pytest.fixture(scope="module")
def long_fixed(problem_factory):
    return problem_factory(1, n_times=60)


def sample_cov(problem):
    columns = np.moveaxis(np.asarray(problem.data), -2, 0).reshape(problem.rank, -1)
    return np.cov(columns)


CASES = [("fixed", None), *(("free", p) for p in (None, "normal", "max-power", "vector"))]


@pytest.mark.parametrize("weight_norm", NORMS)
@pytest.mark.parametrize(("orients", "pick_ori"), CASES)
def test_filters_are_those_of_the_loop(long_fixed, long_free, orients, pick_ori, weight_norm):
    problem = long_fixed if orients == "fixed" else long_free
    method = ej.inference.LCMV(reg=REG, pick_ori=pick_ori, weight_norm=weight_norm)
    estimate = ej.solve(problem, None, method)
    filters = loop(np.asarray(problem.gain), sample_cov(problem), pick_ori, weight_norm)
    unit = float(problem.source_unit) if weight_norm is None else 1.0
    want = unit * np.einsum("lor,rt->lot", filters, np.asarray(problem.data))
    np.testing.assert_allclose(estimate.mean, want, rtol=0, atol=1e-9 * np.abs(want).max())
    noise = unit**2 * filters @ filters.transpose(0, 2, 1)
    np.testing.assert_allclose(estimate.cov, noise, rtol=0, atol=1e-9 * np.abs(noise).max())
    assert estimate.unit == ("A m" if weight_norm is None else "")
    assert estimate.log_evidence is None
    assert estimate.explained_variance is None


def test_unit_gain_and_unit_noise_gain_mean_what_they_say(long_free):
    gain = np.asarray(long_free.gain)
    unit_gain = ej.solve(long_free, None, ej.inference.LCMV(weight_norm=None))
    passed = np.einsum("lor,rlp->lop", unit_gain.posterior.weights, gain)
    np.testing.assert_allclose(passed, np.broadcast_to(np.eye(3), passed.shape), atol=1e-9)
    for norm in ("unit-noise-gain", "unit-noise-gain-invariant"):
        estimate = ej.solve(long_free, None, ej.inference.LCMV(weight_norm=norm))
        np.testing.assert_allclose(estimate.std, 1.0, rtol=1e-9)


def test_invariant_norm_turns_with_the_frame(long_free):
    """Another orient frame turns the answer and changes no magnitude."""
    import equinox as eqx

    q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turned = eqx.tree_at(lambda p: p.gain, long_free, long_free.gain @ q)
    method = ej.inference.LCMV(weight_norm="unit-noise-gain-invariant")
    a, b = (ej.solve(p, None, method).mean for p in (long_free, turned))
    np.testing.assert_allclose(b, np.einsum("lot,op->lpt", a, q), atol=1e-9)


def test_data_cov_in_channel_order(long_fixed):
    problem = long_fixed
    method = ej.inference.LCMV(reg=REG)
    want = ej.solve(problem, None, method).mean
    recording = np.asarray(problem.recording)
    got = ej.solve(problem, None, ej.inference.LCMV(np.cov(recording), reg=REG)).mean
    np.testing.assert_allclose(got, want, rtol=1e-8)
    for bad, message in (
        (np.eye(5), "data_cov must be"),
        (-np.eye(12), "negative variance"),
        (np.full((12, 12), np.nan), "data_cov"),
    ):
        with pytest.raises(ej.InputError, match=message):
            ej.solve(problem, None, ej.inference.LCMV(bad))
    with pytest.raises(TypeError, match="data_cov"):
        ej.inference.LCMV("empirical")


def test_trials_share_their_covariance(trials):
    estimate = ej.solve(trials, None, ej.inference.LCMV(reg=REG))
    filters = loop(np.asarray(trials.gain), sample_cov(trials), None, "unit-noise-gain")
    want = np.einsum("lor,krt->klot", filters, np.asarray(trials.data))
    np.testing.assert_allclose(estimate.mean, want, atol=1e-9 * np.abs(want).max())


def test_combinations_and_draws(long_free):
    import jax

    estimate = ej.solve(long_free, None, ej.inference.LCMV())
    weights = np.random.default_rng(0).standard_normal((2, long_free.n_locations, 3))
    mean, variance = estimate.posterior.combine(jax.numpy.asarray(weights))
    w = np.einsum("klo,lor->kr", weights, estimate.posterior.weights)
    np.testing.assert_allclose(mean, w @ np.asarray(long_free.data), rtol=1e-9)
    np.testing.assert_allclose(variance, (w**2).sum(1), rtol=1e-9)
    n = 3000
    draws = np.asarray(estimate.sample(jax.random.key(0), n, at=([1, 5], [0, 3])))
    z = (draws - np.asarray(estimate.mean)[[1, 5]][..., [0, 3]]) / np.asarray(estimate.std)[[1, 5]]
    assert np.abs(z.mean(0)).max() < 4 / np.sqrt(n)
    assert np.abs(z.var(0) - 1).max() < 4 * np.sqrt(2 / n)
    assert estimate.label([1, 5]).mean.shape == (60,)
    with pytest.raises(ej.InputError, match="predicts none"):
        estimate.residual  # noqa: B018


def test_choices_are_checked(long_fixed):
    for kwargs in ({"pick_ori": "best"}, {"weight_norm": "dSPM"}, {"reg": -1.0}, {"reg": np.nan}):
        with pytest.raises(ej.InputError, match=next(iter(kwargs))):
            ej.inference.LCMV(**kwargs)
    with pytest.raises(ej.InputError, match="takes no model"):
        ej.solve(long_fixed, ej.models.MinimumNorm(), ej.inference.LCMV())
    for pick_ori in ("max-power", "vector"):
        with pytest.raises(ej.InputError, match="three orientations"):
            ej.solve(long_fixed, None, ej.inference.LCMV(pick_ori=pick_ori))
