r"""Noise with heavy tails: artefacts and a wrong noise covariance pull less on the answer.

.. math:: f(R) = \sum_{c, t} \rho\big((V R)_{ct}\big), \qquad R = Y - G P Z

V (channels x rank, :math:`V^\top V = I`) turns the whitened residual back onto the channels, with
unit variances and as close to them as white noise can be (Kessy et al. 2018,
doi:10.1080/00031305.2016.1277159): an artefact on one channel stays there, but for what strongly
correlated noise spreads of it.
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.safe import divisor
from esijax._types import InputError, Scalar, check_positive, is_traced, scalar
from esijax.problem import Problem

ChannelResidual = Float[Array, "*trials channels times"]
WhiteResidual = Float[Array, "*trials rank times"]


class Robust(eqx.Module):
    r"""Data terms other than squares; a new one is `value`, `influence`, `curvature`.

    `solve` takes it as `noise=` for methods with `takes_robust` (`MAP`). It is no `Noise`: it has
    neither parameters to learn nor a covariance.

    Attributes
    ----------
    axes : (channels, rank), optional
        V; found by `prepare`.
    """

    axes: eqx.AbstractVar[Float[Array, "channels rank"] | None]

    def prepare(self, problem: Problem) -> "Robust":
        """Find the channels behind the whitened dimensions."""
        colorer = problem.whitener.colorer
        deviation = jnp.sqrt(jnp.sum(colorer**2, axis=1, keepdims=True))
        alike = colorer / divisor(deviation)
        left, _, right = jnp.linalg.svd(alike, full_matrices=False)
        return eqx.tree_at(lambda n: n.axes, self, left @ right, is_leaf=lambda x: x is None)

    @abc.abstractmethod
    def value(self, residual: ChannelResidual) -> Scalar:
        r""":math:`\sum \rho(r)` of residuals in standard deviations."""

    @abc.abstractmethod
    def influence(self, residual: ChannelResidual) -> ChannelResidual:
        r"""Derivative :math:`\rho'(r)`."""

    @property
    @abc.abstractmethod
    def curvature(self) -> Scalar:
        r"""Largest :math:`\rho''`."""

    def conjugate(self, dual: ChannelResidual) -> Scalar | None:  # noqa: ARG002
        r""":math:`\sum \rho^*(u)` within its domain; None: unknown, and `MAP` has no gap."""
        return None

    def gradient(self, residual: WhiteResidual) -> WhiteResidual:
        r"""Gradient of f in the whitened residual, :math:`V^\top \rho'(V R)`."""
        return self.to_whitened(self.influence(self.to_channels(residual)))

    def to_channels(self, residual: WhiteResidual) -> ChannelResidual:
        """V R: a whitened residual in standard deviations of the channels."""
        if self.axes is None:
            raise InputError(f"{type(self).__name__} does not know the problem: `prepare` it.")
        return self.axes @ residual

    def to_whitened(self, dual: ChannelResidual) -> WhiteResidual:
        """V' U: the adjoint of `to_channels`."""
        if self.axes is None:
            raise InputError(f"{type(self).__name__} does not know the problem: `prepare` it.")
        return self.axes.T @ dual


class Huber(Robust):
    r"""Squares up to delta standard deviations, absolute values beyond.

    .. math:: \rho(r) = \min_o \tfrac12 (r - o)^2 + \delta |o|

    o is the artefact: zero wherever the residual is within delta. Convex: `MAP` has a duality gap.

    Parameters
    ----------
    delta : float
        Standard deviations of the average's noise; 1.345 keeps 95 % of the efficiency under
        Gaussian noise.
    axes : (channels, rank), optional
        Set by `prepare`: the axes in which the noise of channels is independent.

    Raises
    ------
    InputError
        If delta is not positive.

    References
    ----------
    Huber 1964, doi:10.1214/aoms/1177703732.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((12, 20))
    >>> data = 5 * gain[:, [3]] * np.hanning(9)
    >>> data[7] += 100.0
    >>> problem = ej.from_arrays(gain, data, noise_cov=1.0)
    >>> model = ej.models.L21(ej.relative(0.5))
    >>> estimate = ej.solve(problem, model, ej.inference.MAP(), noise=ej.models.noise.Huber())
    >>> int(abs(estimate.mean).sum((1, 2)).argmax())
    3
    """

    delta: Any = eqx.field(converter=scalar, default=1.345)
    axes: Float[Array, "channels rank"] | None = None

    def __check_init__(self):
        check_positive(self.delta, "delta")

    def value(self, residual: ChannelResidual) -> Scalar:
        """Squares, then absolute values."""
        inside = jnp.clip(residual, -self.delta, self.delta)
        return jnp.sum(inside * (residual - 0.5 * inside))

    def influence(self, residual: ChannelResidual) -> ChannelResidual:
        """Residual, clipped at delta."""
        return jnp.clip(residual, -self.delta, self.delta)

    @property
    def curvature(self) -> Scalar:
        """1, that of the squares."""
        return jnp.ones(())

    def conjugate(self, dual: ChannelResidual) -> Scalar:
        """Half the sum of squares, for duals within delta."""
        return 0.5 * jnp.sum(dual**2)


class StudentTNoise(Robust):
    r"""Student-t noise with the given covariance as its scale; large residuals are forgotten.

    .. math:: \rho(r) = \tfrac{\nu + 1}{2} \log\left(1 + r^2 / \nu\right)

    Not convex: the answer is a stationary point, from `init` on.

    Parameters
    ----------
    nu : float
        Degrees of freedom; the smaller, the heavier the tails.
    axes : (channels, rank), optional
        Set by `prepare`: the axes in which the noise of channels is independent.

    Raises
    ------
    InputError
        If nu is not positive.

    References
    ----------
    Lange, Little and Taylor 1989, doi:10.1080/01621459.1989.10478852.

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.StudentTNoise(nu=4.0)
    """

    nu: Any = eqx.field(converter=scalar, default=4.0)
    axes: Float[Array, "channels rank"] | None = None

    def __check_init__(self):
        check_positive(self.nu, "nu")

    def value(self, residual: ChannelResidual) -> Scalar:
        """Minus the log density, zero at zero."""
        return 0.5 * (self.nu + 1) * jnp.sum(jnp.log1p(residual**2 / self.nu))

    def influence(self, residual: ChannelResidual) -> ChannelResidual:
        """Grows up to the root of nu and falls off again beyond."""
        return (self.nu + 1) * residual / (self.nu + residual**2)

    @property
    def curvature(self) -> Scalar:
        """Second derivative at zero."""
        return (self.nu + 1) / self.nu


class Lp(Robust):
    r"""Powers of the residual, rounded at zero.

    .. math:: \rho(r) = \big((r^2 + \epsilon^2)^{p/2} - \epsilon^p\big) / p

    Least absolute deviations for p = 1; for p < 1 not convex. The curvature at zero is
    :math:`\epsilon^{p-2}`: with a small epsilon and a small p `MAP` takes many turns.

    Parameters
    ----------
    p : float
        Above 0, at most 2 (least squares).
    epsilon : float
        Standard deviations below which the residual counts by its square.
    axes : (channels, rank), optional
        Set by `prepare`: the axes in which the noise of channels is independent.

    Raises
    ------
    InputError
        If p is not in (0, 2] or epsilon not positive.

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.Lp(1.0)
    """

    p: Any = eqx.field(converter=scalar, default=1.0)
    epsilon: Any = eqx.field(converter=scalar, default=0.3)
    axes: Float[Array, "channels rank"] | None = None

    def __check_init__(self):
        check_positive(self.p, "p")
        check_positive(self.epsilon, "epsilon")
        if not is_traced(self.p) and float(self.p) > 2:
            raise InputError(f"p must be at most 2, got {float(self.p)}.")

    def value(self, residual: ChannelResidual) -> Scalar:
        """Rounded powers, zero at zero."""
        power = (residual**2 + self.epsilon**2) ** (self.p / 2)
        return jnp.sum(power - self.epsilon**self.p) / self.p

    def influence(self, residual: ChannelResidual) -> ChannelResidual:
        """Residual over a power of its size."""
        return residual * (residual**2 + self.epsilon**2) ** (self.p / 2 - 1)

    @property
    def curvature(self) -> Scalar:
        """Second derivative at zero."""
        return self.epsilon ** (self.p - 2)
