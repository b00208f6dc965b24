"""NUTS under covariances in time is calibrated; planted bugs are caught.

Long (a thousand data sets each): run with ``-m slow``; `-s` prints the p-values.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import esijax as ej

pytestmark = [pytest.mark.slow, pytest.mark.statistical]
KEY = jax.random.key(0)
N = 1000
METHOD = ej.inference.NUTS(150, 297, 1, num_maps=99)
time = ej.models.time


class ComplementCountedAlone(ej.models.TemporalBasis):
    """Columns of noise alone are counted, and what they hold is dropped."""

    def columns(self, problem):
        found = super().columns(problem)
        power = jnp.zeros_like(found.basis.power)
        return dataclasses.replace(found, basis=dataclasses.replace(found.basis, power=power))


class LagOff(time.SquaredExponential):
    """Each lag but zero is one sample too long."""

    def at(self, hyper, lags):
        return super().at(hyper, jnp.where(lags > 0, lags + 0.01, 0.0))


class WithoutJacobian(time.Autoregressive):
    """Poles sampled as if (-1, 1) were the whole line, without the change of volume."""

    def hyper(self, sizes):
        drawn = super().hyper(sizes)
        numpyro.factor("volume", -jnp.sum(jnp.log1p(-(drawn["partial"] ** 2))))
        return drawn


class Louder(time.Autoregressive):
    """Not of unit variance."""

    def correlation(self, hyper, times):
        return 2.0 * super().correlation(hyper, times)


def model(kernel=time.SquaredExponential):
    local = dist.LogNormal(0.0, 1.0)
    patches = ej.models.Components([np.arange(2 * k, 2 * k + 2) for k in range(3)], local)
    course = kernel(dist.LogNormal(-3.5, 0.5))
    return ej.models.Kronecker(patches, course, rest_variance=dist.LogNormal(-1.0, 0.5))


def basis(kind=ej.models.TemporalBasis):
    """Three courses that are given, no remainder: columns, and their complement."""
    patches = ej.models.Components(
        [np.arange(2 * k, 2 * k + 2) for k in range(3)], dist.LogNormal(0.0, 1.0)
    )
    return kind(patches, "dct:3", rest=None)


def noise(poles=time.Autoregressive):
    own = ej.models.noise.Scalar(dist.LogNormal(0.0, 0.5))
    return ej.models.noise.InTime(own, poles(1))


@pytest.fixture(scope="module")
def small(problem_factory):
    return problem_factory(1, n_channels=6, n_locations=6, n_times=10)


SCALAR = ej.models.noise.Scalar(dist.LogNormal(0.0, 0.5))


def check(problem, given=None, of_noise=None, **options):
    given, of_noise = given or model(), of_noise or noise()
    result = ej.metrics.sbc(
        given, of_noise, METHOD, problem, N, key=KEY, thin=3, progress=False, **options
    )
    print(f"p = {result.p_value:.3g}, lowest {min(result.ks.values()):.2g}")
    return result


def test_nuts_is_calibrated(small):
    result = check(small)
    assert {"time/length", "noise/time/partial[0]", "rest/gamma[0]"} <= set(result.names)
    assert result.passes()


def test_nuts_is_calibrated_in_a_basis_with_learned_noise(small):
    result = check(small, basis(), SCALAR)
    assert any(name.startswith("noise") for name in result.names)
    assert result.passes()


def test_a_complement_that_is_dropped_is_caught(small):
    fitted = basis(ComplementCountedAlone), SCALAR
    assert check(small, basis(), SCALAR, fitted=fitted).p_value < 1e-6


BUGS = {
    "lag off by one": lambda: (model(LagOff), noise()),
    "noise in time not normalised": lambda: (model(), noise(Louder)),
    "noise taken as white": lambda: (model(), SCALAR),
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(small, bug):
    assert check(small, fitted=BUGS[bug]()).p_value < 1e-6


def test_poles_without_their_jacobian_are_caught():
    """Few data and poles that are mostly positive, so that the shift is in one direction."""
    gain, data = np.split(np.random.default_rng(4).standard_normal((2, 6)), [2], axis=1)
    tiny = ej.from_arrays(gain, data, noise_cov=1.0, sfreq=100.0)
    within = dist.transforms.AffineTransform(-1.0, 2.0, domain=dist.constraints.unit_interval)
    law = dist.TransformedDistribution(dist.Beta(4.0, 1.5), within)
    patch = ej.models.Components([np.arange(2)], dist.LogNormal(0.0, 0.5))
    given = ej.models.Kronecker(patch, time.SquaredExponential(0.02), rest=None)

    def poles(kind):
        return ej.models.noise.InTime(ej.models.noise.White(), kind(1, law))

    assert check(tiny, given, poles(time.Autoregressive)).passes()
    fitted = given, poles(WithoutJacobian)
    assert check(tiny, given, poles(time.Autoregressive), fitted=fitted).p_value < 1e-6
