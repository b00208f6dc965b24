"""Covariances that have no state of their own: white, squared exponential, periodic."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from esijax._ops.time.state_space import Steps
from esijax.models.time import _parameter
from esijax.models.time._parameter import parameter
from esijax.models.time.time import Hyper, Kernel, Times

Lags = Float[Array, "times times"]
POSITIVE = "Try dist.LogNormal(-4, 0.5): the median is 18 ms."


def length_prior(value: Any) -> Any:
    """Converter of the field `length`: LogNormal(-4, 0.5) by default."""
    return parameter(dist.LogNormal(-4.0, 0.5) if value is None else value)


def check_length(value: Any, name: str) -> None:
    """Refuse lengths that are not positive (s)."""
    _parameter.check(value, f"{name}: length (s)", 0.0, np.inf, POSITIVE)


class White(Kernel):
    r"""Independent samples, :math:`T = I`.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> ej.models.time.White().cov({}, np.array([0.0, 0.1])).dense().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    @property
    def markov(self) -> bool:
        """Yes: nothing is carried over."""
        return True

    def at(self, hyper: Hyper, lags: Lags) -> Lags:  # noqa: ARG002
        """One at lag zero, zero elsewhere."""
        return jnp.where(lags == 0, 1.0, 0.0)

    def steps(self, hyper: Hyper, times: Times) -> Steps:  # noqa: ARG002
        """One state, drawn anew each time."""
        n, one = len(times) - 1, jnp.ones((1, 1))
        return Steps(jnp.zeros((n, 1, 1)), jnp.ones((n, 1, 1)), jnp.ones(1), one)


class SquaredExponential(Kernel):
    r"""Smooth courses: evoked activity.

    .. math:: k(\tau) = \exp\left(-\frac{\tau^2}{2 \ell^2}\right)

    Nothing is added to the diagonal: the matrix is nearly singular, `eigen` has zeros, and a noise
    that is not must be beside it. It is not Markov.

    Parameters
    ----------
    length : float | numpyro distribution | None
        :math:`\ell`, s; LogNormal(-4, 0.5) by default: 18 ms, 90 % between 8 and 42 ms.

    Raises
    ------
    InputError
        For a length that is not positive.

    References
    ----------
    Rasmussen and Williams 2006, doi:10.7551/mitpress/3206.001.0001 (chapter 4).

    Examples
    --------
    >>> import numpy as np, esijax as ej, numpyro.distributions as dist
    >>> learned = ej.models.time.SquaredExponential(dist.LogNormal(-4, 0.5))
    >>> known = ej.models.time.SquaredExponential(0.02)
    >>> np.round(known.cov({}, np.array([0.0, 0.02])).dense(), 3).tolist()
    [[1.0, 0.607], [0.607, 1.0]]
    """

    length: Any = eqx.field(converter=length_prior, default=None)

    def __check_init__(self):
        check_length(self.length, "SquaredExponential")

    def at(self, hyper: Hyper, lags: Lags) -> Lags:
        """Bell of the lag."""
        return jnp.exp(-0.5 * (lags / self.value(hyper, "length")) ** 2)


class Periodic(Kernel):
    r"""Courses that repeat themselves exactly, of any shape that is smooth.

    .. math:: k(\tau) = \exp\left(-\frac{c(\tau)^2}{2 \ell^2}\right), \qquad
              c(\tau) = \frac{p}{\pi} \sin \frac{\pi \tau}{p}

    c is the chord of a circle of circumference p: at lags well below the period it is the lag, and
    k that of `SquaredExponential` with the same length. It is not Markov; for rhythms that come
    and go take `Oscillator`.

    Parameters
    ----------
    period : float | numpyro distribution | None
        p, s; LogNormal(-2.3, 0.3) by default: 100 ms, 90 % between 6 and 16 Hz.
    length : float | numpyro distribution | None
        :math:`\ell`, s, within a period; LogNormal(-4, 0.5) by default. Well above p / 4 the
        course is nearly constant.

    Raises
    ------
    InputError
        For a period or a length that is not positive.

    References
    ----------
    Rasmussen and Williams 2006, doi:10.7551/mitpress/3206.001.0001 (chapter 4).

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rhythm = ej.models.time.Periodic(0.1, length=0.02)
    >>> np.round(rhythm.cov({}, np.array([0.0, 0.05, 0.1])).dense()[0], 2).tolist()
    [1.0, 0.28, 1.0]
    """

    period: Any = eqx.field(
        converter=lambda p: parameter(dist.LogNormal(-2.3, 0.3) if p is None else p), default=None
    )
    length: Any = eqx.field(converter=length_prior, default=None)

    def __check_init__(self):
        remedy = "Try dist.LogNormal(-2.3, 0.3): the median is 100 ms."
        _parameter.check(self.period, "Periodic: period (s)", 0.0, np.inf, remedy)
        check_length(self.length, "Periodic")

    def at(self, hyper: Hyper, lags: Lags) -> Lags:
        """Bell of the chord."""
        period, length = self.value(hyper, "period"), self.value(hyper, "length")
        chord = jnp.sin(jnp.pi * lags / period) * period / jnp.pi
        return jnp.exp(-0.5 * (chord / length) ** 2)
