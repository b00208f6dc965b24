"""What a setup says to the updates, and where they start."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.separable import Modes, Pair
from esijax.inference.collapsed.em._hyperprior import log_hyperprior
from esijax.inference.collapsed.em._sensor import Variances, sensor_components
from esijax.inference.collapsed.vb._courses import WaveCourses, asked, courses
from esijax.inference.collapsed.vb._maps import SpaceModel, maps_of
from esijax.inference.collapsed.vb._time import TimeCarry, TimeModel
from esijax.inference.method import Setup
from esijax.models._scope import within
from esijax.models.marginals import LinearMarginal
from esijax.models.noise import LinearNoise
from esijax.models.posteriors.waves import WaveLaw
from esijax.models.source_cov import Diagonal

REST_AT_FIRST = 0.05  # variance of the remainder, relative to the noise


def spatial_marginal(setup: Setup) -> LinearMarginal:
    """The prior in space and the noise of the sensors, as if samples were independent."""
    return setup.model.model.marginal(setup.problem, setup.noise)


def space_model(setup: Setup, marginal: LinearMarginal) -> SpaceModel:
    """Components of sources, noise and remainder at the sensors."""
    problem, noise, model = setup.problem, marginal.noise, setup.model
    n, m = marginal.n_sources, marginal.n_noise
    own = rest = None
    if isinstance(noise, LinearNoise):
        own = sensor_components(*noise.factor(problem.whitener), m)
    laws = marginal.distributions() or ()
    if model.rest is not None:
        field = (problem.gain * problem.prior_scale[None]).reshape(problem.rank, -1)
        rest = sensor_components(field, jnp.zeros(field.shape[1], int), 1)
        laws = (*laws, *(model.rest_variance.distributions(1, marginal.sizes) or ()))
    return SpaceModel(
        sensor_components(marginal.factor, marginal.group, n),
        own,
        rest,
        problem.data,
        marginal.data.power,
        marginal.log_jacobian,
        log_hyperprior(laws),
        (n, m, int(model.rest is not None)),
    )


def time_model(setup: Setup) -> TimeModel:
    """The covariance in time of the waves."""
    waves, stated = setup.model.basis, setup.problem.noise_time
    return TimeModel(waves.time, waves.times, None if stated is None else stated.inverse)


def rest_cov(setup: Setup, variance: Any) -> Diagonal:
    """Independent locations, as depth and orientation have it."""
    return Diagonal(variance * setup.problem.prior_scale**2)


def started(
    setup: Setup, space: SpaceModel, time: TimeModel, marginal: LinearMarginal, earlier: Any
) -> tuple[Variances, WaveCourses, TimeCarry]:
    """Variances of the minimum norm solution, waves of its singular vectors, medians in time.

    An earlier estimate gives its own, where it has them.
    """
    earlier = earlier or {}
    at = time.at(time.start(within("time", earlier)))
    theta = marginal.start_variances(earlier or None)
    n_waves = setup.model.basis.k
    gamma = theta[: marginal.n_sources]
    if "waves" not in earlier:
        gamma = gamma / n_waves
    rest = jnp.reshape(earlier.get("rest/gamma", jnp.full(1, REST_AT_FIRST)), -1)
    theta = jnp.concatenate([gamma, theta[marginal.n_sources :], rest[: space.sizes[2]]])
    low, high = space.prior.log_bounds(len(theta))
    theta = jnp.clip(theta, jnp.exp(low), jnp.exp(high))
    known = earlier.get("waves")
    if known is not None and known.shape == (n_waves, space.data.shape[1]):
        first = known if time.inverse is None else known @ time.inverse
    else:
        first = _singular_waves(space, at, theta, n_waves)
    level, turn = jnp.linalg.eigh(first @ first.T)
    level = jnp.maximum(level, 1e-8 * level[-1])
    blank = jnp.zeros_like(first)
    law = WaveLaw(turn.T @ first, level, jnp.eye(n_waves), blank, at.vectors)
    maps = asked(*maps_of(space, theta, law).moments(space.data))
    return theta, courses(maps, at), at


def _singular_waves(
    space: SpaceModel, at: TimeCarry, theta: Variances, n: int
) -> Float[Array, "waves times"]:
    """Strongest courses of the data, filtered in space and in time, of unit power."""
    over_time = Modes(at.value, at.vectors, at.vectors, jnp.zeros(()))
    pair = Pair(space.modes(theta), over_time)
    value = pair.space.value[:, None] * at.value[None]
    field = pair.space.root @ (value * pair.solved(space.data)) @ at.vectors.T
    courses_ = jnp.linalg.svd(field, full_matrices=False)[2][:n]
    return courses_ * jnp.sqrt(float(space.data.shape[1]))
