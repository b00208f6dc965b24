"""Priors, penalties and methods in a basis that is given."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.inference.collapsed.answers import marginal
from esijax.inference.collapsed.em._pooled import pooled_model
from esijax.inference.collapsed.sampling._sweep import sweep_model
from esijax.inference.solve import prepare_inputs

HALF, SCALAR = dist.HalfCauchy(1.0), ej.models.noise.Scalar()
Basis, LINEAR = ej.models.TemporalBasis, ej.inference.Linear()
DCT = "dct:3"


@pytest.fixture(autouse=True)
def _written_out():
    """Trials may stand in front: shapes of other ranks are broadcast, unlike in the rest."""


def cosines(n, k):
    out = np.cos(np.pi * np.arange(k)[:, None] * (np.arange(n)[None] + 0.5) / n)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def in_columns(problem, rows):
    """The problem of the coefficients alone, made by hand."""
    return eqx.tree_at(
        lambda p: (p.data, p.recording),
        problem,
        (problem.data @ rows.T, problem.recording @ rows.T),
    )


def test_a_penalty_sees_the_coefficients(fixed):
    rows = cosines(7, 3)
    penalty = ej.models.L21(ej.models.relative(0.4))
    found = ej.solve(fixed, Basis(penalty, DCT), ej.inference.MAP())
    want = ej.solve(in_columns(fixed, rows), penalty, ej.inference.MAP())
    np.testing.assert_allclose(found.mean, want.mean @ rows, atol=1e-6 * np.abs(want.mean).max())
    assert found.std is None
    assert found.model == "TemporalBasis(L21, dct:3)"
    assert any("remainder" in note for note in found.notes)
    np.testing.assert_allclose(found.predicted + found.residual, fixed.recording)
    with pytest.raises(ej.InputError, match="would leave the temporal basis"):
        ej.inference.debias(found, "refit")


@pytest.mark.slow
def test_an_earlier_answer_is_a_start(fixed):
    penalty = Basis(ej.models.L21(ej.models.relative(0.4)), DCT)
    found = ej.solve(fixed, penalty, ej.inference.MAP())
    warm = ej.solve(fixed, penalty, ej.inference.MAP(), init=found)
    np.testing.assert_allclose(warm.mean, found.mean, atol=1e-5 * np.abs(found.mean).max())
    # all samples of an estimate without a basis, and those of other noise
    omega = 0.6 ** np.abs(np.subtract.outer(np.arange(7), np.arange(7)))
    for problem in (fixed, fixed.with_noise_time(omega)):
        other = ej.solve(fixed, ej.models.MinimumNorm(), LINEAR)
        again = ej.solve(problem, penalty, ej.inference.MAP(), init=other)
        assert np.isfinite(again.mean).all()


def test_em_climbs_the_evidence_of_all_columns(fixed):
    """Its objective and derivative are those of the marginal; so are those of the network's EM."""
    model = Basis(ej.models.ARD(), DCT, rest=None)
    _, setup = prepare_inputs(fixed, model, ej.inference.EM(), noise=ej.models.noise.PerType(None))
    target = marginal(setup)
    log = jnp.asarray(0.5 * np.random.default_rng(2).standard_normal(20 + setup.noise.n_variances))

    def value(log):
        return target.log_evidence(target.unpack(jnp.exp(log)))

    want, slope = eqx.filter_jit(jax.value_and_grad(value))(log)
    for update in ("em", "mackay", "mm"):
        point = eqx.filter_jit(pooled_model(target, update).at)(log)
        assert float(point.value) == pytest.approx(float(want), rel=1e-12)
        np.testing.assert_allclose(point.gradient, slope, atol=1e-9 * np.abs(slope).max())
        # each moves up the slope
        assert (np.sign(point.move) == np.sign(point.gradient)).all()


@pytest.mark.slow
def test_em_ends_at_the_maximum(fixed):
    """Where Evidence ends, noise learned; the trace never falls."""
    model = Basis(ej.models.ARD(), DCT, rest=None)
    found = ej.solve(
        fixed, model, ej.inference.EM(tol=1e-6, accelerate=False, max_iter=9000), noise=SCALAR
    )
    want = ej.solve(fixed, model, ej.inference.Evidence(), noise=SCALAR)
    np.testing.assert_allclose(found.hyper["noise_var"], want.hyper["noise_var"], rtol=1e-3)
    assert float(found.log_evidence) == pytest.approx(float(want.log_evidence), abs=1e-2)


@pytest.mark.slow
def test_gibbs_draws_noise_from_all_columns(fixed):
    """Latent values of the noise: those of K columns, and all that is left of the others."""
    model = Basis(ej.models.ARD(HALF), DCT, rest=None)
    _, setup = prepare_inputs(fixed, model, ej.inference.Gibbs(), noise=SCALAR, key=0)
    target = marginal(setup)
    sweep = sweep_model(target)
    log = jnp.append(jnp.full(20, -1.0), -0.3)
    assert float(sweep.count[-1]) == 12 * 7
    keys = jax.random.split(jax.random.key(1), 2000)
    new, density = eqx.filter_jit(jax.vmap(lambda k: sweep.sweep(k, log)))(keys)
    # by hand: the noise that goes with draws of the sources, and the columns of noise alone
    rows, rng = cosines(7, 3), np.random.default_rng(0)
    gain = np.asarray(fixed.gain)[:, :, 0] * np.asarray(fixed.prior_scale)[:, 0]
    data, v = np.asarray(fixed.data), np.exp(-0.3)
    cov = np.exp(-1.0) * gain @ gain.T + v * np.eye(12)
    inside = data @ rows.T
    mean = v * np.linalg.solve(cov, inside)
    root = np.linalg.cholesky(v * np.eye(12) - v**2 * np.linalg.inv(cov))
    noise = mean + root @ rng.standard_normal((2000, 12, 3))
    alone = np.sum((data - inside @ rows) ** 2)
    square = np.sum(noise**2, axis=(1, 2)) + alone
    law = setup.noise.variance.distributions(1, {})[0].base_dist
    shape = law.concentration + 0.5 * 84
    want = np.log((law.rate + 0.5 * square) / rng.gamma(np.broadcast_to(shape, 2000)))
    got = np.asarray(new[:, -1])
    assert abs(got.mean() - want.mean()) < 5 * want.std() * np.sqrt(2 / 2000)
    assert abs(got.std() / want.std() - 1) < 0.1
    other = log.at[-1].add(0.2)
    _, moved = sweep.sweep(keys[0], other)

    def joint(log):
        prior = jnp.sum(dist.HalfCauchy(1.0).log_prob(jnp.exp(log[:-1])) + log[:-1])
        prior += law.log_prob(jnp.exp(log[-1])) + log[-1]
        return float(target.log_evidence(target.unpack(jnp.exp(log))) + jnp.sum(prior))

    assert float(moved - density[0]) == pytest.approx(joint(other) - joint(log), abs=1e-8)


def test_linear_and_unrolled_count_the_columns_of_noise(fixed):
    """A basis of all samples is the static model; half of it has its evidence for all data."""
    prior = ej.models.MinimumNorm(0.5)
    whole = ej.solve(fixed, Basis(prior, "dct:7", rest=None), LINEAR)
    static = ej.solve(fixed, prior, LINEAR)
    assert float(whole.log_evidence) == pytest.approx(float(static.log_evidence), rel=1e-12)
    np.testing.assert_allclose(whole.mean, static.mean, atol=1e-12 * np.abs(static.mean).max())
    np.testing.assert_allclose(whole.kernel, static.kernel)
    half = Basis(prior, DCT, rest=None)
    found = ej.solve(fixed, half, LINEAR)
    want = half.marginal(fixed).log_evidence({"lambda2": jnp.asarray(0.5)})
    assert float(found.log_evidence) == pytest.approx(float(want), rel=1e-12)
    with pytest.raises(ej.InputError, match="in this model they go together"):
        ej.metrics.score(found, found.mean, np.arange(20) == 3, np.zeros((1, 3)), at="mean")
    with pytest.raises(ej.InputError, match="has no kernel"):
        found.kernel  # noqa: B018
    slope = jax.grad(lambda x: ej.solve(fixed.with_data(x), half, LINEAR).log_evidence)(
        fixed.recording
    )
    assert np.isfinite(slope).all()


@pytest.mark.slow
def test_a_network_counts_the_columns_of_noise(fixed):
    network = ej.solve(fixed, Basis(ej.models.ARD(), DCT, rest=None), ej.inference.Unrolled())
    unscaled = {"gamma": network.hyper["gamma"] / network.diagnostics.scale}
    want = Basis(ej.models.ARD(), DCT, rest=None).marginal(fixed).log_evidence(unscaled)
    assert float(network.log_evidence) == pytest.approx(float(want), rel=1e-10)


@pytest.mark.slow
def test_components_with_the_remainder(fixed):
    """As they come: noise and remainder learned; maps, courses and latencies of it."""
    patches = ej.models.Components(ej.models.components.Patches(4), HALF)
    model = Basis(patches, DCT)
    estimate = ej.solve(fixed, model, ej.inference.Evidence())
    assert "rest/gamma" in estimate.hyper
    assert any(note.startswith("noise learned") for note in estimate.notes)
    assert estimate.std.shape == (20, 1, 7)
    assert estimate.latency([0, 1], (0.0, 0.03), n=20).probability.shape == (4,)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::esijax._types.EsijaxWarning")
def test_nuts_with_and_without_the_remainder(fixed, tmp_path):
    patches = ej.models.Components(ej.models.components.Patches(4), HALF)
    method = ej.inference.NUTS(num_warmup=20, num_samples=20, num_chains=1)
    for rest in (None, "iid"):
        estimate = ej.solve(fixed, Basis(patches, DCT, rest), method, noise=SCALAR, key=0)
        assert estimate.std.shape == (20, 1, 7)
        draws = estimate.sample(1, 300, at=([2], None))[:, 0, 0]
        np.testing.assert_allclose(
            draws.std(axis=0), estimate.std[2, 0], rtol=0.3, atol=1e-3 * float(estimate.std.max())
        )
        ej.save(estimate, tmp_path / f"{rest}.npz")
        back = ej.load(tmp_path / f"{rest}.npz")
        np.testing.assert_array_equal(back.mean, estimate.mean)
        np.testing.assert_allclose(
            back.label([1], window=(0, 0.02)).std, estimate.label([1], window=(0, 0.02)).std
        )


def test_windows_compare_by_evidence(fixed):
    prior = ej.models.MinimumNorm(0.5)
    models = {w: Basis.window(prior, *w) for w in ((-0.02, 0.0), (0.01, 0.04), (-0.02, 0.04))}
    fits = {w: ej.solve(fixed, model, LINEAR) for w, model in models.items()}
    assert len(ej.compare({str(w): fit for w, fit in fits.items()}).rows) == 3
    static = ej.solve(fixed, prior, LINEAR)
    whole = fits[(-0.02, 0.04)]
    assert float(whole.log_evidence) == pytest.approx(float(static.log_evidence), rel=1e-12)
    part = fits[(0.01, 0.04)]
    assert part.model == "TemporalBasis(MinimumNorm, 0.01 to 0.04 s)"
    np.testing.assert_allclose(part.mean[..., 3:], static.mean[..., 3:], rtol=1e-9)
    np.testing.assert_array_equal(part.mean[..., :3], 0.0)
    np.testing.assert_array_equal(part.std[..., :3], 0.0)
    np.testing.assert_array_equal(part.exceedance(0.0)[..., :3], 0.0)
    course = part.label([2, 3])
    np.testing.assert_array_equal(course.upper[:3], 0.0)


def test_a_basis_from_the_data_has_no_evidence(fixed):
    prior = ej.models.MinimumNorm(0.5)
    estimate = ej.solve(fixed, Basis(prior, "svd:2", rest=None), LINEAR)
    assert estimate.log_evidence is None
    assert any("same data" in note for note in estimate.notes)
    rows = np.linalg.svd(np.asarray(fixed.data), full_matrices=False)[2][:2]
    given = ej.solve(fixed, Basis(prior, rows, rest=None, from_data=True), LINEAR)
    np.testing.assert_allclose(given.mean, estimate.mean, atol=1e-9 * np.abs(given.mean).max())
    other = ej.solve(fixed, prior, LINEAR)
    for one in (estimate, given):
        with pytest.raises(ej.InputError, match="temporal basis was made from the same data"):
            ej.compare([one, other])
    with pytest.raises(ej.InputError, match="is made from the data and has no derivative"):
        jax.jit(lambda p: ej.solve(p, Basis(prior, "svd:2", rest=None), LINEAR).mean)(fixed)


def test_what_is_refused(fixed):
    prior = ej.models.MinimumNorm()

    def solve(basis, **more):
        return ej.solve(fixed, Basis(prior, basis, rest=None, **more), LINEAR)

    for basis, match in (
        ("dct:8", "basis has 8 courses, and the data 7 samples"),
        (np.ones((2, 6)), r"basis must be \(courses, 7 times\)"),
        (np.ones((2, 7)), "basis has 2 courses of rank 1"),
        (np.zeros((1, 7)), "basis has 1 courses of rank 0"),
    ):
        with pytest.raises(ej.InputError, match=match):
            solve(basis)
    for basis in ("fourier:3", "dct", "dct:0", "dct:2.5", np.full((2, 7), np.nan)):
        with pytest.raises(ej.InputError, match="basis must be"):
            Basis(prior, basis)
    for model, match in (
        (ej.models.Kronecker(prior, ej.models.time.White()), "got Kronecker"),
        (ej.models.TimeFrequency(1.0), "has a basis of its own"),
        (None, "got NoneType"),
    ):
        with pytest.raises(ej.InputError, match=match):
            Basis(model, DCT)
    with pytest.raises(ej.InputError, match="rest must be"):
        Basis(prior, DCT, "all")
    with pytest.raises(ej.InputError, match="courses that are orthonormal"):
        Basis(ej.models.L21(1.0), DCT, orthonormal=False)
    with pytest.raises(ej.InputError, match="tmin <= tmax"):
        Basis.window(prior, 0.1, 0.0)
    with pytest.raises(ej.InputError, match="no sample lies between"):
        ej.solve(fixed, Basis.window(prior, 1.0, 2.0), LINEAR)
    penalty = Basis(ej.models.L21(1.0), DCT)
    with pytest.raises(ej.InputError, match="a temporal basis mixes times"):
        ej.solve(fixed, penalty, ej.inference.MAP(), noise=ej.models.noise.Huber())
    nested = ej.models.Kronecker(Basis(prior, DCT), ej.models.time.White())
    with pytest.raises(ej.InputError, match="TemporalBasis has another marginal"):
        nested.marginal(fixed)
    refused = r"Gibbs does not take the remainder of a temporal basis: give rest=None"
    with pytest.raises(ej.InputError, match=refused):
        ej.solve(fixed, Basis(ej.models.ARD(), DCT), ej.inference.Gibbs(), key=0)
    bent = Basis(prior, DCT, rest=None, orthonormal=False)
    with pytest.raises(ej.InputError, match="Linear wants independent columns"):
        ej.solve(fixed, bent, LINEAR)
