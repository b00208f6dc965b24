"""Autoregressions of any order."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from esijax._ops.time import levinson
from esijax._ops.time.state_space import Steps
from esijax._types import InputError, is_traced
from esijax.models._in_order import InOrder
from esijax.models.time import _parameter
from esijax.models.time._parameter import parameter
from esijax.models.time.time import Hyper, Matrix, Time, Times

REMEDY = (
    "A pole on the unit circle or outside has no stationary course: take partial autocorrelations "
    "within (-1, 1), or leave them to be learned, time.Autoregressive(order)."
)


class Autoregressive(Time):
    r"""An autoregression of order p: noise, and rough courses.

    .. math:: x_t = \sum_{j=1}^p a_j x_{t-j} + e_t, \qquad e_t \sim N(0, v), \qquad
              \operatorname{var} x_t = 1

    Its parameters are the partial autocorrelations :math:`\kappa_1, \dots, \kappa_p`, each within
    (-1, 1): all such rows are stable and each stable autoregression is one of them, with
    :math:`v = \prod_k (1 - \kappa_k^2)`. The prior is on them, not on the coefficients a, so that
    no Jacobian is due; uniform on :math:`\kappa` is not uniform on a.

    Lags are counted in samples: times must be even, and another sampling frequency is another
    model. For uneven times take `Matern`; 0.5 is the AR(1) with a positive coefficient.

    Parameters
    ----------
    order : int
        p, below the number of times.
    partial : sequence of float | numpyro distribution | None
        :math:`\kappa`: p numbers, or a distribution on (-1, 1) for all or with p entries;
        Uniform(-1, 1) by default.

    Raises
    ------
    InputError
        For an order that is not a positive number or does not fit the times, poles on the unit
        circle or outside, and uneven times.

    References
    ----------
    Barndorff-Nielsen and Schou 1973, doi:10.1016/0047-259X(73)90030-4.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> learned = ej.models.time.Autoregressive(4)
    >>> known = ej.models.time.Autoregressive.of([1.5, -0.8])
    >>> np.round(known.cov({}, np.array([0.0, 0.01, 0.02])).dense()[0], 3).tolist()
    [1.0, 0.833, 0.45]
    """

    order: int = eqx.field(static=True, default=1)
    partial: Any = eqx.field(
        converter=lambda k: parameter(dist.Uniform(-1.0, 1.0) if k is None else k), default=None
    )

    def __check_init__(self):
        if not isinstance(self.order, int) or isinstance(self.order, bool) or self.order < 1:
            raise InputError(f"Autoregressive needs an order of 1 or more, got {self.order!r}.")
        alone = self.order == 1 or isinstance(self.partial, InOrder)
        shapes = ((), (self.order,)) if alone else ((self.order,),)
        what = f"Autoregressive: partial autocorrelations ({self.order})"
        _parameter.check(self.partial, what, -1.0, 1.0, REMEDY, shapes)

    @classmethod
    def of(cls, coefficients: Any) -> "Autoregressive":
        """The autoregression with these coefficients a, known.

        Raises
        ------
        InputError
            If it is not stable.
        """
        given = jnp.atleast_1d(jnp.asarray(coefficients, dtype=float))
        if given.ndim != 1 or not given.size:
            raise InputError(f"coefficients are a row of numbers, got {coefficients!r:.60}.")
        if not is_traced(given):
            poles = np.abs(np.roots(np.r_[1.0, -np.asarray(given)]))
            if not np.isfinite(np.asarray(given)).all() or (poles >= 1.0).any():
                raise InputError(
                    f"Autoregressive: the coefficients {np.asarray(given).tolist()} have a pole of "
                    f"radius {poles.max(initial=0.0):.6g}. {REMEDY}"
                )
        return cls(len(given), levinson.partials(given))

    @property
    def markov(self) -> bool:
        """Yes, of the last p samples."""
        return True

    def value(self, hyper: Hyper, name: str) -> Array:
        """Partial autocorrelations, as a row also where one number was given."""
        return jnp.atleast_1d(super().value(hyper, name))

    def law(self, name: str) -> dist.Distribution:
        """Distribution of all partial autocorrelations."""
        return super().law(name).expand((self.order,)).to_event(1)

    def start(self, autocovariance: Float[Array, " lags"]) -> dict[str, Array]:
        """Sampled sites that autocovariances at lags 0 to p imply (Yule and Walker)."""
        if len(autocovariance) <= self.order:
            raise InputError(
                f"Autoregressive({self.order}) starts from the lags 0 to {self.order}, got "
                f"{len(autocovariance)} autocovariances."
            )
        found = levinson.fitted(autocovariance[: self.order + 1])
        return {"partial": jnp.clip(found, -0.99, 0.99)}

    def check(self, times: np.ndarray) -> None:
        """Refuse uneven times."""
        step = np.diff(times)
        if len(step) and np.ptp(step) > 1e-3 * step.mean():
            raise InputError(
                f"Autoregressive counts lags in samples, and the times are uneven: "
                f"{1e3 * step.min():.4g} to {1e3 * step.max():.4g} ms from one to the next. Take "
                "time.Matern, which may have any times, or resample."
            )

    def correlation(self, hyper: Hyper, times: Times) -> Matrix:
        """Toeplitz matrix of the exact autocorrelations."""
        n = self._fitting(times)
        index = np.arange(n)
        distance = np.abs(index[:, None] - index[None, :])
        return levinson.autocorrelation(self.value(hyper, "partial"), n)[distance]

    def steps(self, hyper: Hyper, times: Times) -> Steps:
        """The last p samples, the latest first."""
        n, p = self._fitting(times), self.order
        partial = self.value(hyper, "partial")
        index = np.arange(p)
        start = levinson.autocorrelation(partial, p)[np.abs(index[:, None] - index[None, :])]
        shift = jnp.eye(p, k=-1).at[0].set(levinson.coefficients(partial))
        noise = jnp.zeros((p, p)).at[0, 0].set(levinson.innovation(partial))
        every = (n - 1, p, p)
        first = jnp.zeros(p).at[0].set(1.0)
        return Steps(jnp.broadcast_to(shift, every), jnp.broadcast_to(noise, every), first, start)

    def _fitting(self, times: Times) -> int:
        """Number of times, above the order."""
        if len(times) <= self.order:
            raise InputError(
                f"Autoregressive({self.order}) needs more than {self.order} times, got "
                f"{len(times)}: choose a lower order."
            )
        return len(times)
