"""Penalties that hardly shrink what is large: minimax concave and logarithmic."""

import abc
import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.prox import block_norms
from esijax._ops.safe import divide, divisor
from esijax._types import InputError, Scalar, Sources, check_positive, scalar
from esijax.models.penalties.norms import L21
from esijax.models.penalties.penalty import Penalty, weight_of, weights_of
from esijax.problem import Problem

Norms = Float[Array, "*locations"]
TYPICAL = 0.1  # of the largest amplitude of one source alone


def lone_amplitude(problem: Problem) -> Scalar:
    r"""Largest norm of a source that explains the data alone, in normalised units."""
    gain = problem.gain * problem.prior_scale[None]
    data = jnp.moveaxis(problem.data, -2, 0)
    match = jnp.tensordot(gain, data, axes=(0, 0))
    match = jnp.sqrt(jnp.sum(match.reshape(len(match), -1) ** 2, axis=1))
    power = jnp.sum(gain**2, axis=(0, 2))
    return jnp.max(divide(match, power))


class Concave(Penalty):
    r"""A concave function of each location's norm, of slope 1 at zero.

    .. math:: \alpha \sum_l w_l\, \rho(\lVert Z_l \rVert_F)

    Not convex: `MAP` starts from the mixed norm (or from `init`), never raises the objective, and
    ends where nothing moves.

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of the alpha_max of the mixed norm.
    amplitude : float, optional
        Norm of a location, in normalised units, beyond which it is hardly shrunk; by default a
        tenth of the largest that explains the data alone.
    weights : (locations,) or (locations, times), optional
        Weight of each location, or of each of its times.

    Raises
    ------
    InputError
        For numbers that are not positive and finite.
    """

    amplitude: Scalar | None = eqx.field(default=None)
    convex: ClassVar[bool] = False
    sums_locations: ClassVar[bool] = True

    def __init__(self, alpha: Any, amplitude: Any = None, weights: Any = None):
        self.alpha, self.weights = weight_of(alpha), weights_of(weights)
        self.amplitude = None if amplitude is None else scalar(amplitude)
        if amplitude is not None:
            check_positive(self.amplitude, "amplitude")

    def prepare(self, problem: Problem) -> Penalty:
        """Take the amplitude from the problem where none was given."""
        super().prepare(problem)
        if self.amplitude is not None:
            return self
        found = TYPICAL * lone_amplitude(problem)
        return dataclasses.replace(self, amplitude=divisor(found))

    @property
    def tau(self) -> Scalar:
        """Amplitude; InputError before `prepare` where none was given."""
        if self.amplitude is None:
            raise InputError("the amplitude is not known yet: give one, or `prepare(problem)`.")
        return self.amplitude

    @property
    def majoriser(self) -> L21:
        """The mixed norm above it."""
        return L21(self.alpha, self.weights)

    @abc.abstractmethod
    def height(self, norms: Norms) -> Norms:
        """Value of the concave function at each norm."""

    @abc.abstractmethod
    def candidates(self, norms: Norms, weight: Norms) -> tuple[Norms, ...]:
        """Where half the squared distance plus weight times the function may be least."""

    @property
    def whole_times(self) -> bool:
        """Whether there are no weights of times."""
        return not self.by_entry

    def value(self, x: Sources) -> Scalar:
        """Weighted sum of the concave functions of the norms."""
        heights = self.height(block_norms(self.weighted(x)))
        return jnp.sum(self.location_weights(x.shape[-3]) * heights)

    def prox(self, x: Sources, step: Scalar) -> Sources:
        """Best of the candidates, zero among them."""
        norms = block_norms(x)
        weight = step * self.location_weights(x.shape[-3])
        best, least = jnp.zeros_like(norms), 0.5 * norms**2
        for new in self.candidates(norms, weight):
            cost = 0.5 * (new - norms) ** 2 + weight * self.height(new)
            best, least = jnp.where(cost < least, new, best), jnp.minimum(cost, least)
        factor = divide(best, norms)
        return x * factor[:, None, None]

    def polar(self, gradient: Sources) -> Scalar:
        """Dual norm of the mixed norm: above it zero is a stationary point."""
        return self.majoriser.polar(gradient)


class MCP(Concave):
    r"""Minimax concave penalty: the mixed norm that fades out at an amplitude.

    .. math:: \rho(n) = n - \frac{n^2}{2 \tau} \;\; (n \le \tau), \qquad \tau / 2 \;\; (n > \tau)

    Locations stronger than :math:`\tau` are not shrunk at all.

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of the alpha_max of the mixed norm.
    amplitude : float, optional
        :math:`\tau`, in normalised units; by default a tenth of the largest norm of a source that
        explains the data alone.
    weights : (locations,) or (locations, times), optional
        Weight of each location, or of each of its times.

    Raises
    ------
    InputError
        For numbers that are not positive and finite.

    References
    ----------
    Zhang 2010, doi:10.1214/09-AOS729.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> estimate = ej.solve(problem, ej.models.MCP(ej.relative(0.5)), ej.inference.MAP())
    >>> round(float(estimate.mean[3, 0, 0]), 4)
    5.0
    """

    def height(self, norms: Norms) -> Norms:
        """A parabola up to the amplitude, then a constant."""
        low = jnp.minimum(norms, self.tau)
        return low - 0.5 * low**2 / self.tau

    def candidates(self, norms: Norms, weight: Norms) -> tuple[Norms, ...]:
        """End of the parabola or beyond, and its own minimum where it has one."""
        bent = 1.0 - weight / self.tau
        inside = (norms - weight) / divisor(bent)
        inside = jnp.where(bent > 0, jnp.clip(inside, 0.0, self.tau), 0.0)
        return jnp.maximum(norms, self.tau), inside


class LogSum(Concave):
    r"""Logarithms of norms: what the l1 reweighting of Candès, Wakin and Boyd minimises.

    .. math:: \rho(n) = \tau \log(1 + n / \tau)

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of the alpha_max of the mixed norm.
    amplitude : float, optional
        :math:`\tau`, in normalised units; by default a tenth of the largest norm of a source that
        explains the data alone.
    weights : (locations,) or (locations, times), optional
        Weight of each location, or of each of its times.

    Raises
    ------
    InputError
        For numbers that are not positive and finite.

    References
    ----------
    Candès, Wakin and Boyd 2008, doi:10.1007/s00041-008-9045-x.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> estimate = ej.solve(problem, ej.models.LogSum(ej.relative(0.5)), ej.inference.MAP())
    >>> [int(i) for i in np.flatnonzero(estimate.mean[:, 0, 0])]
    [3]
    """

    def height(self, norms: Norms) -> Norms:
        """Logarithm of one plus the norm over the amplitude."""
        return self.tau * jnp.log1p(norms / self.tau)

    def candidates(self, norms: Norms, weight: Norms) -> tuple[Norms, ...]:
        """Larger root of the quadratic equation of the stationary points."""
        t = self.tau
        inside = (norms + t) ** 2 - 4.0 * weight * t
        root = jnp.sqrt(divisor(inside))
        return (jnp.where(inside > 0, jnp.maximum(0.5 * (norms - t + root), 0.0), 0.0),)
