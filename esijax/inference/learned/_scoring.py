r"""From data to a Student-t distribution of hyper-parameters: start, two exact steps, shift.

.. math::
   z \leftarrow z + I(z)^{-1} \nabla \log p(z, Y), \qquad
   z = \hat z + L^{-\top} \left( a + e^{b_\pm} \odot t \right), \qquad I(\hat z) = L L^\top

Fisher scoring in the standardised unconstrained hyper-parameters z; t is Student's with 8 degrees
of freedom, of another scale on either side (a variance that the data leave open has a long tail
towards zero), as in Fernández and Steel 1998, doi:10.1080/01621459.1998.10474117.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._types import Scalar
from esijax.inference.collapsed._curvature import Unravel
from esijax.inference.collapsed._fisher import fisher_information
from esijax.inference.collapsed.target import Target
from esijax.models.marginals import PooledMarginal
from esijax.models.networks.amortised import AmortisedPosterior, Features, Scaled, Unknowns

N_STEPS = 2
LONGEST = 1.5  # of a step, in standard deviations of the prior
FARTHEST = 8.0  # of a place, likewise
LEAST_PRECISION = 0.1  # in the same unit: where a hyper-prior says little, draws stay near
DEGREES = 8.0
GENTLE = 0.2  # by which outputs of the second network are multiplied: slower training
REACH = 1.5  # standard deviations at which the density is looked at


class Landing(eqx.Module):
    """Where the steps end.

    Parameters
    ----------
    place : (unknowns,)
        Standardised unconstrained hyper-parameters.
    root : (unknowns, unknowns)
        Lower Cholesky factor of the information there.
    slope : (unknowns,)
        What is left of the gradient, whitened.
    above, below : (unknowns,)
        Log density on either side of the place, more than that of the Gaussian distribution.
    """

    place: Unknowns
    root: Float[Array, "unknowns unknowns"]
    slope: Unknowns
    above: Unknowns
    below: Unknowns

    def whitened(self, z: Unknowns) -> Unknowns:
        """Distance from where the steps end, in units of the posterior's spread."""
        return self.root.T @ (z - self.place)

    def unwhitened(self, white: Float[Array, "draws unknowns"]) -> Float[Array, "draws unknowns"]:
        """Back to standardised hyper-parameters."""
        moved = jsl.solve_triangular(self.root.T, white.T, lower=False)
        return self.place[None] + moved.T

    def features(self) -> Float[Array, " some"]:
        """What a network is told of it: place, spread, slope, all of order one."""
        spread = jnp.log(jnp.diag(self.root))
        sides = jnp.tanh(jnp.concatenate([self.slope, self.above, self.below]))
        return jnp.concatenate([self.place, spread, sides])


def unravel_of(target: Target) -> Unravel:
    """Function from a vector to unconstrained sites."""
    shapes = jax.eval_shape(lambda: target.free(target.marginal.medians()))
    return ravel_pytree(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))[1]


def evidence_derivatives(
    target: Target, unravel: Unravel, places: Float[Array, "places unknowns"]
) -> Float[Array, "places unknowns"]:
    """Derivatives of the log-evidence at each place."""
    slope = jax.grad(lambda u: target.marginal.log_evidence(target.hyper(unravel(u))))
    return jax.lax.map(slope, places)


def score_landing(
    q: AmortisedPosterior, target: Target, unravel: Unravel, place: Unknowns
) -> Landing:
    """Two steps of Fisher scoring from a place."""

    def density(z):
        return target.log_posterior(unravel(q.centre + q.spread * z))

    def information(z):
        found = fisher_information(target, unravel, q.centre + q.spread * z)
        values, ways = jnp.linalg.eigh(q.spread[:, None] * found * q.spread[None])
        return (ways * jnp.maximum(values, LEAST_PRECISION)[None]) @ ways.T

    def step(z, moves):
        curvature, slope = information(z), jax.grad(density)(z)
        move = moves * jsl.solve(curvature, slope, assume_a="pos")
        longest = jnp.max(jnp.abs(move))
        move = move * jnp.minimum(1.0, LONGEST / jnp.maximum(longest, LONGEST))
        return jnp.clip(z + move, -FARTHEST, FARTHEST), (curvature, slope)

    # the last round looks at where the steps have ended, and does not move
    moves = jnp.ones(N_STEPS + 1).at[-1].set(0.0)
    place, seen = jax.lax.scan(step, place, moves)
    root = jnp.linalg.cholesky(seen[0][-1])
    slope = jsl.solve_triangular(root, seen[1][-1], lower=True)
    ways = jsl.solve_triangular(root.T, jnp.eye(len(place)), lower=False).T
    around = jnp.concatenate([REACH * ways, -REACH * ways, jnp.zeros((1, len(place)))])
    values = jax.lax.map(lambda move: density(place + move), around)
    above, below = jnp.split(values[:-1] - values[-1] + 0.5 * REACH**2, 2)
    return Landing(place, root, slope, above, below)


class Approximation(eqx.Module):
    """The distribution that draws come from.

    Parameters
    ----------
    landing : Landing
    shift : (unknowns,)
        Place of the Student-t distribution, in whitened hyper-parameters.
    log_scale : (2, unknowns)
        Its scales below and above that place.
    """

    landing: Landing
    shift: Unknowns
    log_scale: Float[Array, "2 unknowns"]

    def draws(self, key: PRNGKeyArray, n: int) -> tuple[Float[Array, "n unknowns"], Array]:
        """Draws of the standardised hyper-parameters, and their log densities."""
        k_side, k_size = jax.random.split(key)
        shape = (n, len(self.shift))
        below, above = jnp.exp(self.log_scale)
        up = jax.random.uniform(k_side, shape) * (below + above)[None] < above[None]
        size = jnp.abs(jax.random.t(k_size, DEGREES, shape))
        moved = self.shift[None] + jnp.where(up, above[None] * size, -below[None] * size)
        level = jnp.log(2.0) - jnp.log(below + above) + jnp.log(jnp.diag(self.landing.root))
        density = jnp.sum(dist.StudentT(DEGREES).log_prob(size) + level[None], axis=1)
        return self.landing.unwhitened(moved), density


def correction_of(
    network: Scaled, features: Features
) -> tuple[Unknowns, Float[Array, "2 unknowns"]]:
    """Place and log scales of the draws, in units of the posterior's spread."""
    shift, below, above = jnp.split(GENTLE * network(features), 3)
    return shift, jnp.stack([below, above])


def largest_pattern(
    q: AmortisedPosterior, target: Target, unravel: Unravel, place: Unknowns
) -> Scalar:
    r"""Log of the largest power of a pattern over the sensors, where the model expects one.

    .. math:: \log \max_v \frac{v^\top S v}{n\, v^\top \Sigma v}
    """
    marginal = target.marginal
    assert isinstance(marginal, PooledMarginal)
    sigma = marginal.sigma(target.hyper(unravel(q.centre + q.spread * place)))
    root = jnp.linalg.cholesky(sigma)
    half = jsl.solve_triangular(root, marginal.data.power, lower=True)
    power = jsl.solve_triangular(root, half.T, lower=True) / marginal.data.n_columns
    return jnp.log(jnp.linalg.eigvalsh(power)[-1])


def student_loss(shift: Unknowns, log_scale: Float[Array, "2 unknowns"], white: Unknowns) -> Scalar:
    """Minus the log density of a whitened truth, up to a constant."""
    below, above = jnp.exp(log_scale)
    scaled = (white - shift) / jnp.where(white > shift, above, below)
    tail = 0.5 * (DEGREES + 1) * jnp.log1p(scaled**2 / DEGREES)
    return jnp.sum(tail + jnp.log(0.5 * (below + above)))


def features_of(q: AmortisedPosterior, target: Target, unravel: Unravel) -> Features:
    """What the networks are told of the data."""
    return q.features(evidence_derivatives(target, unravel, q.places))


def landing_of(
    q: AmortisedPosterior, target: Target, unravel: Unravel, features: Features
) -> Landing:
    """First network, then the steps."""
    start = jnp.clip(q.start(features), -FARTHEST, FARTHEST)
    return score_landing(q, target, unravel, start)


def correct_landing(q: AmortisedPosterior, landing: Landing) -> Approximation:
    """Second network, from where the steps end."""
    return Approximation(landing, *correction_of(q.correction, landing.features()))


def approximation(q: AmortisedPosterior, target: Target, unravel: Unravel) -> Approximation:
    """All of it: features, start, steps, correction."""
    features = features_of(q, target, unravel)
    landing = landing_of(q, target, unravel, features)
    return correct_landing(q, landing)
