"""The information against its definition: traces of derivatives by differences."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.inference.collapsed._fisher import fisher_information
from esijax.inference.collapsed.target import Target
from esijax.inference.learned._scoring import unravel_of

REGIONS = [np.arange(7), np.arange(7, 13), np.arange(13, 20)]
PRIOR = ej.models.Components(REGIONS, dist.LogNormal(0.3, 0.8))


@pytest.mark.filterwarnings("ignore:noise.LowRank")
@pytest.mark.parametrize(
    "noise",
    [None, ej.models.noise.Scalar(dist.LogNormal(0.0, 0.5)), ej.models.noise.LowRank(1)],
    ids=["given", "linear", "any"],
)
def test_it_is_the_expected_curvature(fixed, noise):
    target = Target(PRIOR.marginal(fixed, noise))
    unravel = unravel_of(target)
    n = target.marginal.n_unknowns
    at = 0.3 * np.random.default_rng(0).standard_normal(n)
    got = fisher_information(target, unravel, jnp.asarray(at))

    @jax.jit
    def sigma(u):
        return target.marginal.sigma(target.hyper(unravel(u)))

    steps = 1e-5 * np.eye(n)
    slopes = np.stack([np.asarray(sigma(at + h) - sigma(at - h)) / 2e-5 for h in steps])
    inverse = np.linalg.inv(np.asarray(sigma(at)))
    want = 0.5 * fixed.n_times * np.einsum("ab,jbc,cd,kda->jk", inverse, slopes, inverse, slopes)
    prior = jax.hessian(lambda u: target.log_prior(unravel(u), jacobian=True))(jnp.asarray(at))
    np.testing.assert_allclose(got, want - np.asarray(prior), rtol=1e-6, atol=1e-6)
