"""The minimum norm family: each prior against its dense formula."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import textbook
from textbook import flat

import esijax as ej
from esijax.models.priors._eloreta import eloreta_blocks

LAMBDA2 = 0.2


def weights_of(problem):
    return np.random.default_rng(5).uniform(0.5, 2, problem.n_locations)


def weighted_cov(problem):
    scale = np.asarray(problem.orient_scale) / weights_of(problem)[:, None]
    return textbook.normalised(flat(problem.gain), np.diag(scale.ravel() ** 2))


PRIORS = {
    "MinimumNorm": (lambda _: ej.models.MinimumNorm(LAMBDA2), textbook.weight_cov),
    "WeightedMinimumNorm": (
        lambda p: ej.models.WeightedMinimumNorm(weights_of(p), LAMBDA2),
        weighted_cov,
    ),
    "LORETA": (
        lambda _: ej.models.LORETA(LAMBDA2, ridge=0.1),
        lambda p: textbook.loreta_cov(p, 0.1),
    ),
    "ELORETA": (
        lambda _: ej.models.ELORETA(LAMBDA2),
        lambda p: textbook.eloreta_cov(p, LAMBDA2),
    ),
    "ELORETA force_equal": (
        lambda _: ej.models.ELORETA(LAMBDA2, force_equal=True),
        lambda p: textbook.eloreta_cov(p, LAMBDA2, force_equal=True),
    ),
}


@eqx.filter_jit
def dense_of(model, problem):
    """R and R / lambda2 as matrices, and tr(G R G')."""
    n, orients = problem.n_locations, problem.n_orients
    unit = jnp.eye(n * orients).reshape(n, orients, -1)
    cov = model.normalised_cov(problem)
    over = model.source_cov(model.hyper({}), problem)
    matrices = (c.apply(unit).reshape(n * orients, -1) for c in (cov, over))
    return *matrices, jnp.trace(cov.sensor(problem.gain))


@eqx.filter_jit
def eloreta(problem, **options):
    return ej.models.ELORETA(**options).shape(problem).blocks()


@pytest.fixture(params=["fixed", "free"])
def problem(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("name", PRIORS)
def test_prior_is_its_dense_formula(name, problem):
    make, formula = PRIORS[name]
    model = make(problem)
    want = formula(problem)
    got, over, power = dense_of(model, problem)
    np.testing.assert_allclose(got, want, atol=1e-10 * np.abs(want).max())
    np.testing.assert_allclose(over, want / LAMBDA2, atol=1e-10 * np.abs(want).max() / LAMBDA2)
    # so that lambda2 = 1 / SNR^2 for all of them
    assert float(power) == pytest.approx(problem.rank, rel=1e-10)


def test_weights_per_orient(free):
    weights = np.random.default_rng(6).uniform(0.5, 2, (free.n_locations, 3))
    got = dense_of(ej.models.WeightedMinimumNorm(weights), free)[0]
    want = textbook.normalised(flat(free.gain), np.diag(weights.ravel() ** -2.0))
    np.testing.assert_allclose(got, want, atol=1e-10 * want.max())


def test_another_head_keeps_minimum_norm_prior(free):
    """gamma's prior must not follow the lead field."""
    rng = np.random.default_rng(7)
    lead = rng.standard_normal((free.recording.shape[0], free.n_locations, 3))
    other = free.with_leadfield(lead)
    prior = ej.models.MinimumNorm()
    np.testing.assert_array_equal(
        prior.normalised_cov(other).variance, prior.normalised_cov(free).variance
    )
    frames = np.asarray(free.geometry.frames)
    turned = np.einsum("cld,lod->clo", lead, frames)
    want = np.tensordot(free.whitener.matrix, turned, 1) * float(free.source_unit)
    np.testing.assert_allclose(other.gain, want, rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------ eLORETA
@pytest.mark.parametrize("force_equal", [False, True])
def test_eloreta_solves_its_equation(problem, force_equal):
    """R_l is proportional to (G_l' (G R G' + lambda^2 I)^-1 G_l)^(-1/2), with free orients."""
    one = jnp.ones_like(problem.orient_scale)
    lambda2 = jnp.asarray(LAMBDA2)
    blocks = eqx.filter_jit(eloreta_blocks)(
        problem.gain, one, lambda2, jnp.asarray(1e-13), max_iter=2000, force_equal=force_equal
    )
    dense = textbook.block_diagonal(np.asarray(blocks))
    g = flat(problem.gain)
    inverse = np.linalg.inv(g @ dense @ g.T + LAMBDA2 * np.eye(len(g)))
    inner = np.einsum("alo,ab,blp->lop", problem.gain, inverse, problem.gain)
    if force_equal:
        roots = np.sqrt(np.linalg.eigvalsh(inner)).mean(axis=1)
        ratio = np.asarray(blocks)[:, 0, 0] * roots
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-8)
        return
    # R_l M_l R_l = c^2 I with one c for all locations
    product = blocks @ inner @ blocks
    size = np.trace(product[0]) / problem.n_orients
    want = size * np.broadcast_to(np.eye(problem.n_orients), product.shape)
    np.testing.assert_allclose(product, want, atol=1e-8 * size)


def test_eloreta_stops_as_told(free):
    few, many = (eloreta(free, max_iter=n, eps=1e-12) for n in (1, 300))
    want = textbook.eloreta_cov(free, 1 / 9, n_iter=1)
    np.testing.assert_allclose(
        textbook.block_diagonal(np.asarray(few)), want, atol=1e-10 * want.max()
    )
    assert np.abs(few - many).max() > 1e-3 * np.abs(many).max()
    loose = eloreta(free, max_iter=300, eps=0.5)
    want = textbook.eloreta_cov(free, 1 / 9, n_iter=300, eps=0.5)
    np.testing.assert_allclose(
        textbook.block_diagonal(np.asarray(loose)), want, atol=1e-10 * want.max()
    )


@pytest.mark.parametrize("force_equal", [False, True])
def test_eloreta_leaves_silent_locations_silent(free, fixed, force_equal):
    for problem in (free, fixed):
        gain = problem.gain.at[:, 4].set(0.0)
        scale = problem.prior_scale.at[4].set(0.0)
        silent = eqx.tree_at(lambda p: (p.gain, p.prior_scale), problem, (gain, scale))
        blocks = eloreta(silent, force_equal=force_equal)
        assert np.isfinite(blocks).all()
        assert not np.any(blocks[4])


@pytest.mark.parametrize("force_equal", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_eloreta_implicit_gradient(problem, force_equal):
    """By the implicit function theorem; finite differences of the converged iteration agree."""
    target = jnp.asarray(
        np.random.default_rng(8).standard_normal(
            (problem.n_locations, problem.n_orients, problem.n_orients)
        )
    )

    @jax.jit
    def probe(gain, log_lambda2):
        blocks = eloreta_blocks(
            gain,
            problem.orient_scale,
            jnp.exp(log_lambda2),
            jnp.asarray(1e-14),
            max_iter=500,
            force_equal=force_equal,
        )
        return jnp.sum(target * blocks)

    x = jnp.asarray(np.log(LAMBDA2))
    step = jnp.asarray(1e-4)
    direction = jnp.asarray(np.random.default_rng(9).standard_normal(problem.gain.shape))
    by_gain, by_lambda2 = jax.jit(jax.grad(probe, argnums=(0, 1)))(problem.gain, x)
    want = (probe(problem.gain, x + step) - probe(problem.gain, x - step)) / (2 * step)
    assert float(by_lambda2) == pytest.approx(float(want), rel=1e-5)
    h = step * 0.1
    ends = [probe(problem.gain + k * h * direction, x) for k in (1, -1)]
    want = (ends[0] - ends[1]) / (2 * h)
    assert float(jnp.sum(by_gain * direction)) == pytest.approx(float(want), rel=1e-4)


# ------------------------------------------------------------------ what is refused
@pytest.mark.parametrize("value", [0.0, -1 / 9, np.nan, np.inf, "aic", None, True, [1.0]])
@pytest.mark.parametrize("prior", ["MinimumNorm", "LORETA", "ELORETA"])
def test_lambda2_is_checked(prior, value):
    with pytest.raises(ej.InputError, match="lambda2"):
        getattr(ej.models, prior)(lambda2=value)


def test_other_arguments_are_checked(fixed):
    with pytest.raises(ej.InputError, match="ridge"):
        ej.models.LORETA(ridge=-0.1)
    with pytest.raises(ej.InputError, match="eps"):
        ej.models.ELORETA(eps=0.0)
    with pytest.raises(ej.InputError, match="max_iter"):
        ej.models.ELORETA(max_iter=0)
    with pytest.raises(ej.InputError, match="weights"):
        ej.models.WeightedMinimumNorm(np.ones(3)).shape(fixed)
    for bad in (-1.0, 0.0, np.nan):
        weights = np.ones(fixed.n_locations)
        weights[2] = bad
        with pytest.raises(ej.InputError, match="weights"):
            ej.models.WeightedMinimumNorm(weights)
    lonely = dataclasses.replace(fixed, geometry=dataclasses.replace(fixed.geometry, edges=None))
    with pytest.raises(ej.InputError, match="neighbours"):
        ej.models.LORETA().shape(lonely)
    with pytest.raises(ej.InputError, match="resolve"):
        ej.models.ELORETA("evidence").shape(fixed)


def test_a_new_number_is_no_new_type():
    """Numbers are strong-typed arrays: 1, 1.0 and np.float32(1) compile once."""
    leaves = [
        jax.tree.leaves(ej.models.MinimumNorm(v))[0] for v in (1, 1.0, np.float32(1), jnp.ones(()))
    ]
    assert {(x.dtype.name, x.weak_type, x.shape) for x in leaves} == {("float64", False, ())}
