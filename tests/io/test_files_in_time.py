"""Estimates with a covariance in time, or in a temporal basis, go through a file."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.inference.solve import finish_estimate, prepare_inputs

HALF, TIME = dist.HalfCauchy(1.0), ej.models.time
NOISE = ej.models.noise.InTime(ej.models.noise.Scalar(), TIME.Autoregressive(2))
CASES = {
    "kronecker": (
        ej.models.Kronecker(
            ej.models.ARD(HALF), TIME.SquaredExponential(dist.LogNormal(-4.0, 0.5)) + TIME.White()
        ),
        NOISE,
    ),
    "basis": (ej.models.TemporalBasis(ej.models.ARD(HALF), "dct:3", rest=None), None),
    "remainder": (ej.models.TemporalBasis(ej.models.ARD(HALF), "dct:3"), NOISE),
}


@pytest.mark.parametrize(
    ("name", "mixture"),
    [
        pytest.param(
            name, mixture, marks=() if (name, mixture) == ("remainder", True) else pytest.mark.slow
        )
        for name in CASES
        for mixture in (False, True)
    ],
)
def test_answers_come_back(name, mixture, fixed, tmp_path):
    model, noise = CASES[name]
    _, setup = prepare_inputs(fixed, model, ej.inference.NUTS(), noise=noise, key=0)
    target = setup.model.marginal(setup.problem, setup.noise)
    sites = target.medians()
    one = jax.tree.map(jnp.asarray, _hyper(target, sites))
    if mixture:
        draws = jax.tree.map(lambda x: jnp.stack([x, 0.9 * x]), one)
        posterior = target.mixture(draws)
    else:
        posterior = target.posterior(one)
    estimate = finish_estimate(
        fixed, setup, ej.Estimate(setup.problem, posterior, hyper=one, method="NUTS")
    )
    ej.save(estimate, tmp_path / "map.npz")
    back = ej.load(tmp_path / "map.npz")
    for ask in (
        lambda e: e.mean,
        lambda e: e.std,
        lambda e: e.label([1, 2], window=(0.0, 0.02)).upper,
        lambda e: e.sample(0, 2, at=([3], [1, 2])),
    ):
        np.testing.assert_allclose(ask(back), ask(estimate), rtol=1e-12)
    assert back.model == estimate.model


def _hyper(target, sites):
    from numpyro import handlers

    with handlers.substitute(data=sites), handlers.seed(rng_seed=0):
        return target.hyper()


def test_a_penalty_in_a_basis_comes_back(fixed, tmp_path):
    penalty = ej.models.TemporalBasis(ej.models.L21(ej.models.relative(0.4)), "dct:3")
    estimate = ej.solve(fixed, penalty, ej.inference.MAP())
    ej.save(estimate, tmp_path / "map.npz")
    back = ej.load(tmp_path / "map.npz")
    np.testing.assert_array_equal(back.mean, estimate.mean)
    assert back.notes == estimate.notes
