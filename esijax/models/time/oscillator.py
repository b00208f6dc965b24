"""A rhythm that comes and goes."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from esijax._ops.time.state_space import Steps
from esijax._types import InputError, is_traced
from esijax.models._in_order import InOrder
from esijax.models.time import _parameter
from esijax.models.time._parameter import parameter
from esijax.models.time.kernels import Lags
from esijax.models.time.time import Hyper, Kernel, Times


class Oscillator(Kernel):
    r"""A damped oscillation, driven by noise: alpha, mu and other rhythms.

    .. math:: k(\tau) = e^{-\tau / d} \cos 2 \pi f \tau

    Its state of two numbers turns by :math:`2 \pi f \Delta` and shrinks by
    :math:`r = e^{-\Delta / d}` from one sample to the next, :math:`\Delta` later. At even times it
    is an autoregression of order 2 with one moving-average term, and poles of radius r < 1 at the
    frequency f: stable for each d. Times may be uneven.

    Parameters
    ----------
    frequency : float | numpyro distribution | None
        f, Hz; LogNormal(2.3, 0.2) by default: 10 Hz, 90 % between 7 and 14 Hz.
    decay : float | numpyro distribution | None
        d, s: how long the rhythm remembers its phase; LogNormal(-1.6, 0.7) by default: 0.2 s, 90 %
        between 0.06 and 0.64 s. A pole of radius r at the sampling frequency F is
        ``-1 / (F * log(r))``.

    Raises
    ------
    InputError
        For a frequency or a decay that is not positive and finite (without damping the pole lies
        on the circle), and for a known frequency at or above half the sampling frequency of even
        times.

    References
    ----------
    Matsuda and Komaki 2017, doi:10.1162/NECO_a_00916.

    Examples
    --------
    >>> import numpy as np, esijax as ej, numpyro.distributions as dist
    >>> learned = ej.models.time.Oscillator(dist.LogNormal(2.3, 0.2))
    >>> known = ej.models.time.Oscillator(10.0, decay=0.2)
    >>> np.round(known.cov({}, np.array([0.0, 0.02, 0.04])).dense()[0], 3).tolist()
    [1.0, 0.28, -0.662]
    """

    frequency: Any = eqx.field(
        converter=lambda f: parameter(dist.LogNormal(2.3, 0.2) if f is None else f), default=None
    )
    decay: Any = eqx.field(
        converter=lambda d: parameter(dist.LogNormal(-1.6, 0.7) if d is None else d), default=None
    )

    def __check_init__(self):
        remedy = "Try dist.LogNormal(2.3, 0.2): the median is 10 Hz."
        _parameter.check(self.frequency, "Oscillator: frequency (Hz)", 0.0, np.inf, remedy)
        remedy = "Its poles lie within the circle for a finite decay: try 0.2 s."
        _parameter.check(self.decay, "Oscillator: decay (s)", 0.0, np.inf, remedy)

    @property
    def markov(self) -> bool:
        """Yes."""
        return True

    def check(self, times: np.ndarray) -> None:
        """Refuse a known frequency that the sampling folds down."""
        if isinstance(self.frequency, InOrder) or is_traced(self.frequency) or len(times) < 2:
            return
        step = np.diff(times)
        even = np.ptp(step) <= 1e-3 * step.mean()
        if even and float(self.frequency) * step.mean() >= 0.5:
            raise InputError(
                f"Oscillator: {float(self.frequency):g} Hz is not below half the sampling "
                f"frequency of {1 / step.mean():g} Hz: sample faster, or choose a lower one."
            )

    def at(self, hyper: Hyper, lags: Lags) -> Lags:
        """Damped cosine."""
        turn = 2 * jnp.pi * self.value(hyper, "frequency") * lags
        return jnp.exp(-lags / self.value(hyper, "decay")) * jnp.cos(turn)

    def steps(self, hyper: Hyper, times: Times) -> Steps:
        """Two states that turn and shrink."""
        step = jnp.diff(times)
        turn = 2 * jnp.pi * self.value(hyper, "frequency") * step
        ratio = step / self.value(hyper, "decay")
        cos, sin = jnp.cos(turn), jnp.sin(turn)
        rotation = jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], -2)
        transition = jnp.exp(-ratio)[:, None, None] * rotation
        noise = -jnp.expm1(-2 * ratio)[:, None, None] * jnp.eye(2)[None]
        return Steps(transition, noise, jnp.asarray([1.0, 0.0]), jnp.eye(2))
