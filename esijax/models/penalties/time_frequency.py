"""Mixed norm of Gabor coefficients (TF-MxNE): few locations, each with few time-frequency atoms."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._ops.epsilon import dual_norm, largest_dual_norm, moduli, tree_prox, tree_value
from esijax._ops.gabor import Frame, check_window
from esijax._types import InputError, Scalar, is_number, is_traced, scalar
from esijax.models.penalties.penalty import Penalty, weight_of, weights_of
from esijax.problem import Problem

LocationCoefs = Float[Array, "locations orients 2 coefs"]
TimeGradient = Float[Array, "locations orients times"]
LOCATIONS_AT_ONCE = 128  # whose coefficients are in memory


class TimeFrequency(Penalty):
    r"""Mixed norm of TF-MxNE: few locations are active, each at few times and frequencies.

    .. math:: Z = C\, \Phi^H, \qquad \alpha \sum_l w_l \Big[ (1 - \rho) \lVert C_l \rVert_F
       + \rho \sum_k \lVert c_{lk} \rVert \Big]

    with :math:`\Phi` the tight Gabor frame of sine windows (MNE-Python's ``stft``), C the
    coefficients of the frequencies of either sign, :math:`c_{lk}` one of them for all orients.
    Sources may come and go, and what is not made of few atoms is left to the noise: time courses
    are smooth. Several windows together, ``wsize=(16, 64), tstep=(4, 8)``, fit transients and
    oscillations at once.

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of alpha_max: ``ej.relative(0.4)``.
    l1_ratio : float
        :math:`\rho`, between 0 (MxNE) and 1.
    wsize : int | sequence of int
        Samples of a window, a multiple of 4.
    tstep : int | sequence of int
        Samples from one window to the next: even, a divider of wsize, at most half of it.
    weights : (locations,), optional
        Weight of each location.

    Raises
    ------
    InputError
        For an alpha or weights that are not positive and finite, an l1_ratio out of range,
        windows that are no tight frame.

    References
    ----------
    Gramfort et al. 2013, doi:10.1016/j.neuroimage.2012.12.051; several windows: Bekhti et al.
    2016, https://hal.archives-ouvertes.fr/hal-01313567v1.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 9 * gain[:, [3]] * np.hanning(32), noise_cov=1.0)
    >>> model = ej.models.TimeFrequency(ej.relative(0.4), l1_ratio=0.1, wsize=16, tstep=4)
    >>> estimate = ej.solve(problem, model, ej.inference.MAP())
    >>> [int(i) for i in np.flatnonzero(abs(estimate.mean).sum((1, 2)))]
    [3]
    """

    l1_ratio: Any = eqx.field(converter=scalar, default=0.1)
    wsize: tuple[int, ...] = eqx.field(static=True, default=(64,))
    tstep: tuple[int, ...] = eqx.field(static=True, default=(4,))

    def __init__(
        self, alpha: Any, l1_ratio: Any = 0.1, wsize: Any = 64, tstep: Any = 4, weights: Any = None
    ):
        if not is_traced(l1_ratio) and not (is_number(l1_ratio) and 0 <= float(l1_ratio) <= 1):
            raise InputError(f"l1_ratio must lie between 0 and 1, got {l1_ratio!r}.")
        self.alpha, self.weights = weight_of(alpha), weights_of(weights)
        self.l1_ratio = scalar(l1_ratio)
        self.wsize, self.tstep = _integers(wsize, "wsize"), _integers(tstep, "tstep")
        if len(self.wsize) != len(self.tstep):
            raise InputError(f"wsize and tstep must be as many, got {self.wsize} and {self.tstep}.")
        for pair in zip(self.wsize, self.tstep, strict=True):
            check_window(*pair)

    def prepare(self, problem: Problem) -> "TimeFrequency":
        """Check the sizes against a problem."""
        if self.by_entry:
            raise InputError(
                "TimeFrequency takes one weight for each location: weights of times have no "
                "meaning for windows."
            )
        super().prepare(problem)
        return self

    def frame(self, n_times: int) -> Frame:
        """Gabor frame of signals of a length."""
        return Frame(self.wsize, self.tstep, n_times)

    def thresholds(
        self, n_locations: int, roots: np.ndarray
    ) -> tuple[Float[Array, "locations coefs"], Float[Array, " locations"]]:
        r""":math:`\mu` of each entry and :math:`\lambda` of each block, see `_ops.epsilon`."""
        weight = self.location_weights(n_locations)
        mu = weight[:, None] * self.l1_ratio * jnp.asarray(roots, dtype=weight.dtype)[None]
        return mu, weight * (1.0 - self.l1_ratio)

    def value(self, x: LocationCoefs) -> Scalar:
        """Weighted norm of the coefficients."""
        return jnp.sum(tree_value(x, *self.thresholds(len(x), self._roots(x))))

    def prox(self, x: LocationCoefs, step: Scalar) -> LocationCoefs:
        """Shrink each coefficient, then each location."""
        mu, lam = self.thresholds(len(x), self._roots(x))
        return tree_prox(x, step * mu, step * lam)

    def polar(self, gradient: TimeGradient) -> Scalar:
        """Largest dual norm of the coefficients of a gradient in time."""
        frame = self.frame(gradient.shape[-1])
        unit = eqx.tree_at(lambda p: p.alpha, self, jnp.ones_like(self.l1_ratio))
        mu, lam = unit.thresholds(len(gradient), frame.roots())
        fixed = jax.lax.stop_gradient((gradient, mu, lam))
        best = _largest_dual_location(frame, *fixed)
        entries = moduli(frame.analysis(gradient[best][None]))
        return dual_norm(entries, mu[best][None], lam[best][None])[0]

    def _roots(self, c: LocationCoefs) -> np.ndarray:
        """Weights of entries, from their number: it tells the length as far as they need it."""
        n_times = 1
        while self.frame(n_times).n_coefs < c.shape[-1]:
            n_times += min(self.tstep)
        return self.frame(n_times).roots()


def _integers(value: Any, name: str) -> tuple[int, ...]:
    """One integer, or several, as a tuple."""
    if isinstance(value, str) or (np.ndim(value) and not np.size(value)) or np.ndim(value) > 1:
        raise InputError(f"{name} must be an integer, or several, got {value!r}.")
    several = np.atleast_1d(np.asarray(value)).tolist()
    if not all(type(v) is int for v in several):
        raise InputError(f"{name} must be an integer, or several, got {value!r}.")
    return tuple(several)


def _largest_dual_location(frame: Frame, gradient: TimeGradient, mu: Array, lam: Array) -> Array:
    """Location of the largest dual norm; those whose plain norm is below the best are left out."""
    bound = jnp.sqrt(jnp.sum(gradient**2, axis=(1, 2))) / (mu[:, 0] + lam)
    ordered, order = jax.lax.top_k(bound, len(bound))
    size = min(LOCATIONS_AT_ONCE, len(bound))

    def body(carry):
        begin, nu, best = carry
        index = jax.lax.dynamic_slice(order, (begin,), (size,))
        entries = moduli(frame.analysis(gradient[index]))
        new = largest_dual_norm(entries, mu[index], lam[index], nu)
        mine = dual_norm(entries, mu[index], lam[index])
        return begin + size, new, jnp.where(new > nu, index[jnp.argmax(mine)], best)

    def go(carry):
        begin, nu, _ = carry
        return (begin < len(bound)) & (ordered[jnp.minimum(begin, len(bound) - 1)] > nu)

    zero = jnp.zeros((), dtype=order.dtype)
    start = (zero, jnp.zeros((), dtype=bound.dtype), order[0])
    return jax.lax.while_loop(go, body, start)[2]
