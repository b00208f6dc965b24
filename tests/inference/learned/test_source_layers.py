"""Learned proximal steps: the plain ones where nothing is learned; any order, any unit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.inference.sparse.prox.fista import prox_step
from esijax.models.networks import FISTA, ISTA, LinearMap, SourceNetwork

N, RANK = 30, 10
L21 = ej.models.L21(ej.relative(0.3))


def made(n_orients=1, n_times=5, order=None, rows=None, unit=1.0):
    """A problem with two active locations, its locations and sensors in any order."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((RANK, N, n_orients))
    data = 4 * gain[:, 4, 0, None] * np.hanning(n_times + 2)[1:-1] + gain[:, 20, 0, None]
    data = data + rng.standard_normal((RANK, n_times))
    order = np.arange(N) if order is None else order
    rows = np.arange(RANK) if rows is None else rows
    gain = unit * gain[np.ix_(rows, order)]
    return ej.from_arrays(gain if n_orients > 1 else gain[:, :, 0], data[rows], noise_cov=1.0)


def learned(kind=FISTA, n_layers=7):
    """Weights that are not zero, as training would leave them."""
    rng = np.random.default_rng(1)
    start = kind(n_layers=n_layers)
    layers = {k: v + 0.2 * rng.standard_normal(v.shape) for k, v in start.layers.items()}
    return eqx.tree_at(lambda n: n.layers, start, layers)


def pieces(problem, model):
    """Data term, penalty with its alpha, and the Lipschitz constant, as `MAP` has them."""
    alpha = ej.inference.select.alpha_max(problem, model)
    model = ej.models.L21(0.3 * alpha, model.weights)
    fit = model.least_squares(problem, problem.data)
    return fit, model, fit.lipschitz()


def naive(gain, data, weight, lengths, thresholds, slopes, momenta, tau):
    """Learned layers, location by location, in NumPy."""
    bound = 1.0001 * np.linalg.eigvalsh(np.einsum("rlo,slo->rs", gain, gain))[-1]
    now = before = np.zeros((*gain.shape[1:], data.shape[1]))
    knots = (0.0, 0.1, 0.3, 1.0, 3.0)
    for length, threshold, slope, momentum in zip(
        lengths, thresholds, slopes, momenta, strict=True
    ):
        ahead = now + momentum * (now - before)
        step = length / bound
        residual = np.einsum("rlo,lot->rt", gain, ahead) - data
        moved = ahead - step * np.einsum("rlo,rt->lot", gain, residual)
        new = np.zeros_like(moved)
        for i, block in enumerate(moved):
            norm = np.sqrt((block**2).sum())
            cut = threshold * step * weight[i] * np.interp(norm / tau, knots, (1.0, *slope))
            new[i] = max(1 - cut / norm, 0.0) * block
        now, before = new, now
    return now


def lone(gain, data):
    """A tenth of the largest source that explains the data alone."""
    match = np.einsum("rlo,rt->lot", gain, data)
    return 0.1 * max(
        np.sqrt((m**2).sum()) / (g**2).sum()
        for m, g in zip(match, gain.swapaxes(0, 1), strict=True)
    )


@pytest.mark.parametrize(("n_orients", "weighted"), [(1, False), (3, True)])
def test_an_untrained_layer_is_a_proximal_step(n_orients, weighted):
    problem = made(n_orients)
    weights = np.linspace(0.5, 2.0, N) if weighted else None
    model = ej.models.L21(ej.relative(0.3), weights)
    fit, penalty, bound = pieces(problem, model)
    want = jnp.zeros((N, n_orients, 5))
    for _ in range(4):
        want = prox_step(fit, penalty, want, bound)
    got = ej.solve(problem, model, ej.inference.Unrolled(ISTA(n_layers=4)))
    want = want * problem.prior_scale[..., None] * problem.source_unit
    assert 0 < np.count_nonzero(np.asarray(want).any(axis=(1, 2))) < N
    np.testing.assert_allclose(got.mean, want, atol=1e-12 * np.abs(want).max())


def test_untrained_layers_with_momentum_are_plain_fista():
    """Beck and Teboulle's iteration, with the momentum of its own recursion."""
    problem = made(3)
    fit, penalty, bound = pieces(problem, L21)
    x = ahead = jnp.zeros((N, 3, 5))
    t = 1.0
    for _ in range(9):
        new = prox_step(fit, penalty, ahead, bound)
        grown = (1 + np.sqrt(1 + 4 * t**2)) / 2
        x, ahead, t = new, new + (t - 1) / grown * (new - x), grown
    got = ej.solve(problem, L21, ej.inference.Unrolled(FISTA(n_layers=9)))
    want = x * problem.prior_scale[..., None] * problem.source_unit
    np.testing.assert_allclose(got.mean, want, atol=1e-12 * np.abs(want).max())


def test_learned_layers_are_what_their_formula_says():
    problem, network = made(3), learned()
    fit, penalty, _ = pieces(problem, L21)
    gain, data = np.asarray(problem.gain * problem.prior_scale), np.asarray(problem.data)
    w = network.layers
    want = naive(
        gain, data, np.full(N, float(penalty.alpha)), np.exp(w["step"]), np.exp(w["threshold"]),
        np.exp(w["slopes"]), np.asarray(w["momentum"]), lone(gain, data),
    )  # fmt: skip
    got = network.solve(fit)
    np.testing.assert_allclose(got, want, atol=1e-12 * np.abs(want).max())


@pytest.mark.slow
def test_many_layers_reach_the_minimum():
    problem = made()
    got = ej.solve(problem, L21, ej.inference.Unrolled(FISTA(n_layers=600)))
    want = ej.solve(problem, L21, ej.inference.MAP(tol=1e-10))
    np.testing.assert_allclose(got.mean, want.mean, atol=1e-4 * np.abs(want.mean).max())


def test_weights_of_entries():
    """Omega(W o Z) for 2 W at half the alpha is the same."""
    weights = np.random.default_rng(2).uniform(0.5, 2.0, (N, 5))
    method = ej.inference.Unrolled(learned())
    one = ej.solve(made(), ej.models.L21(20.0, weights), method).mean
    two = ej.solve(made(), ej.models.L21(10.0, 2 * weights), method).mean
    np.testing.assert_allclose(two, one, atol=1e-12 * np.abs(one).max())
    plain = ej.solve(made(), ej.models.L21(20.0), method).mean
    ones = ej.solve(made(), ej.models.L21(20.0, np.ones((N, 5))), method).mean
    np.testing.assert_allclose(ones, plain, atol=1e-12 * np.abs(plain).max())


@pytest.mark.parametrize("kind", [ISTA, FISTA])
def test_neither_order_nor_unit_matters(kind):
    rng = np.random.default_rng(3)
    order, rows = rng.permutation(N), rng.permutation(RANK)
    method = ej.inference.Unrolled(learned(kind))
    want = ej.solve(made(), L21, method).mean
    got = ej.solve(made(order=order, rows=rows), L21, method).mean
    np.testing.assert_allclose(got, want[order], atol=1e-10 * np.abs(want).max())
    got = ej.solve(made(unit=1e6), L21, method).mean
    np.testing.assert_allclose(1e6 * got, want, atol=1e-10 * np.abs(want).max())


def test_jit_vmap_and_grad():
    problem, model = made(), ej.models.L21(20.0)
    method = ej.inference.Unrolled(learned())

    def power(data):
        return jnp.sum(ej.solve(problem.with_data(data), model, method).mean ** 2)

    data = jnp.asarray(problem.recording)
    one, slope_of = jax.jit(power), jax.jit(jax.grad(power))
    want = jnp.sum(ej.solve(problem, model, method).mean ** 2)
    np.testing.assert_allclose(one(data), want, rtol=1e-10)
    both = jax.jit(jax.vmap(power))(jnp.stack([data, 2 * data]))
    np.testing.assert_allclose(both, [want, one(2 * data)], rtol=1e-10)
    way, h = np.random.default_rng(4).standard_normal(data.shape), 1e-6
    slope = (one(data + h * way) - one(data - h * way)) / (2 * h)
    np.testing.assert_allclose(np.sum(way * slope_of(data)), slope, rtol=1e-6)
    assert not slope_of(0 * data).any()


def test_weights_and_alpha_have_derivatives():
    problem, network = made(), learned()

    def power(layers, alpha):
        method = ej.inference.Unrolled(eqx.tree_at(lambda n: n.layers, network, layers))
        return jnp.sum(ej.solve(problem, ej.models.L21(alpha), method).mean ** 2)

    rng, h = np.random.default_rng(5), 1e-6
    way = jax.tree.map(lambda w: rng.standard_normal(w.shape), (network.layers, jnp.zeros(())))
    at = (network.layers, jnp.asarray(20.0))
    one = jax.jit(power)
    ends = [one(*jax.tree.map(lambda a, b, s=s: a + s * h * b, at, way)) for s in (1, -1)]
    found = jax.jit(jax.grad(power, (0, 1)))(*at)
    total = sum(jnp.sum(a * b) for a, b in zip(*map(jax.tree.leaves, (found, way)), strict=True))
    np.testing.assert_allclose(total, (ends[0] - ends[1]) / (2 * h), rtol=1e-6)


def test_trials_are_solved_apart():
    problem, method = made(), ej.inference.Unrolled(learned())
    both = problem.with_data(np.stack([problem.recording, 0.5 * problem.recording[::-1]]))
    got = ej.solve(both, ej.models.L21(20.0), method)
    assert got.mean.shape == (2, N, 1, 5)
    for i in range(2):
        alone = problem.with_data(both.recording[i])
        want = ej.solve(alone, ej.models.L21(20.0), method)
        np.testing.assert_allclose(got.mean[i], want.mean, atol=1e-12 * np.abs(want.mean).max())


def test_it_is_a_point_estimate():
    problem = made()
    estimate = ej.solve(problem, L21, ej.inference.Unrolled(ISTA()))
    assert estimate.std is None
    assert estimate.log_evidence is None
    predicted = np.tensordot(
        problem.gain, np.asarray(estimate.mean / problem.source_unit), axes=2
    )  # whitened
    np.testing.assert_allclose(problem.whitener.matrix @ estimate.predicted, predicted, atol=1e-10)
    with pytest.raises(ej.InputError, match="no interval"):
        estimate.interval()


def test_what_it_does_not_take():
    problem, method = made(), ej.inference.Unrolled(ISTA())
    for model in (ej.models.ARD(), ej.models.L1(1.0), ej.models.MCP(1.0), None):
        name = type(model).__name__
        with pytest.raises(ej.InputError, match=rf"got {name}.*ej\.models\.L21.*inference\.MAP"):
            ej.solve(problem, model, method)
    with pytest.raises(ej.InputError, match="does not take Huber"):
        ej.solve(problem, L21, method, noise=ej.models.noise.Huber())
    with pytest.raises(ej.InputError, match="takes the noise covariance as it is"):
        ej.solve(problem, L21, method, noise=ej.models.noise.Scalar())
    direct = LinearMap.untrained(jax.random.key(0), problem)
    with pytest.raises(ej.InputError, match=r"LinearMap.*inference\.Direct"):
        ej.inference.Unrolled(direct)
    with pytest.raises(ej.InputError, match="flat ARD prior, got L21"):
        ej.solve(problem, L21, ej.inference.Unrolled())


@pytest.mark.parametrize(("n", "rank", "n_times"), [(1, 3, 4), (6, 4, 1)])
@pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
def test_small_problems(n, rank, n_times):
    """One location, one sample, a location that no sensor sees, no positions."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((rank, n))
    data = 4 * gain[:, :1] @ rng.standard_normal((1, n_times))
    gain[:, 2:3] = 0.0
    problem = ej.from_arrays(gain, data, noise_cov=1.0)
    mean = np.asarray(ej.solve(problem, L21, ej.inference.Unrolled(learned())).mean)
    assert np.isfinite(mean).all()
    assert np.abs(mean).sum(axis=(1, 2)).argmax() == 0
    assert not mean[2:3].any()


def test_layers_of_ones_own():
    """One class with one method."""

    class Halved(SourceNetwork):
        layers: dict

        def layer(self, weights, now, before, term):  # noqa: ARG002
            return 0.5 * (now + term.step(now, weights))

    method = ej.inference.Unrolled(Halved(ISTA(n_layers=3).layers))
    problem = made()
    fit, penalty, bound = pieces(problem, L21)
    want = jnp.zeros((N, 1, 5))
    for _ in range(3):
        want = 0.5 * (want + prox_step(fit, penalty, want, bound))
    got = ej.solve(problem, L21, method).mean
    want = want * problem.prior_scale[..., None] * problem.source_unit
    np.testing.assert_allclose(got, want, atol=1e-12 * np.abs(want).max())
