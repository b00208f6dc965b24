"""Matern covariances of half-integer order."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammainc
from jaxtyping import Array, Float

from esijax._ops.time.state_space import Steps
from esijax._types import InputError
from esijax.models.time.kernels import Lags, check_length, length_prior
from esijax.models.time.time import Hyper, Kernel, Times

ORDERS = (0.5, 1.5, 2.5)


class Matern(Kernel):
    r"""Courses that are rougher than those of `SquaredExponential`, at any times, and Markov.

    .. math::
       k_{1/2} = e^{-a}, \quad k_{3/2} = (1 + a)\, e^{-a}, \quad
       k_{5/2} = (1 + a + a^2 / 3)\, e^{-a}, \qquad a = \sqrt{2 \nu}\, \tau / \ell

    Its state holds the course and its first :math:`\nu - 1/2` derivatives, in units of
    :math:`\lambda = \sqrt{2 \nu} / \ell`.

    Parameters
    ----------
    nu : {0.5, 1.5, 2.5}
        Smoothness: 0.5 has no derivative (the continuous AR(1)), 1.5 one, 2.5 two.
    length : float | numpyro distribution | None
        :math:`\ell`, s; LogNormal(-4, 0.5) by default: 18 ms, 90 % between 8 and 42 ms.

    Raises
    ------
    InputError
        For another nu, or a length that is not positive.

    References
    ----------
    Hartikainen and Särkkä 2010, doi:10.1109/MLSP.2010.5589113.

    Examples
    --------
    >>> import numpy as np, esijax as ej, numpyro.distributions as dist
    >>> learned = ej.models.time.Matern(1.5, dist.LogNormal(-4, 0.5))
    >>> known = ej.models.time.Matern(0.5, 0.02)
    >>> np.round(known.cov({}, np.array([0.0, 0.02, 0.05])).dense()[0], 3).tolist()
    [1.0, 0.368, 0.082]
    """

    nu: float = eqx.field(static=True, default=1.5)
    length: Any = eqx.field(converter=length_prior, default=None)

    def __check_init__(self):
        if self.nu not in ORDERS:
            raise InputError(f"Matern: nu is 0.5, 1.5 or 2.5, got {self.nu!r}.")
        check_length(self.length, "Matern")

    @property
    def markov(self) -> bool:
        """Yes."""
        return True

    def at(self, hyper: Hyper, lags: Lags) -> Lags:
        """Polynomial times exponential."""
        a = lags * self._rate(hyper)
        polynomial = {0.5: 1.0, 1.5: 1.0 + a, 2.5: 1.0 + a + a**2 / 3}[self.nu]
        return polynomial * jnp.exp(-a)

    def steps(self, hyper: Hyper, times: Times) -> Steps:
        r"""The course and its derivatives, exact at any distance.

        With the companion matrix A of :math:`(s + 1)^p`, :math:`p = \nu + 1/2`, A + I is nilpotent
        and :math:`e^{As} = e^{-s} \sum_{k<p} (A + I)^k s^k / k!` ends; Q is
        :math:`q \int_0^a e^{As} b b' e^{A's} ds`, and P0 the same up to infinity.
        """
        p = round(self.nu + 0.5)
        a = jnp.diff(times) * self._rate(hyper)
        powers = _nilpotent_powers(p)
        decay = jnp.exp(-a)[:, None] * a[:, None] ** np.arange(p)[None]
        transition = jnp.tensordot(decay, powers, 1)
        into = powers[:, :, -1].T  # columns (A + I)^k b / k!
        order = np.arange(p)[:, None] + np.arange(p)[None, :]
        whole = np.vectorize(lambda m: math.factorial(m) / 2 ** (m + 1))(order)
        start = into @ whole @ into.T
        share = gammainc(jnp.asarray(order + 1.0)[None], 2.0 * a[:, None, None])
        noise = into[None] @ (share * whole[None]) @ into.T[None] / start[0, 0]
        first = jnp.zeros(p).at[0].set(1.0)
        return Steps(transition, noise, first, jnp.asarray(start / start[0, 0]))

    def _rate(self, hyper: Hyper) -> Array:
        return math.sqrt(2 * self.nu) / self.value(hyper, "length")


def _nilpotent_powers(p: int) -> Float[np.ndarray, "p p p"]:
    """(A + I)^k / k! for k below p, A the companion matrix of (s + 1)^p."""
    step = np.eye(p) + np.diag(np.ones(p - 1), 1)
    step[-1] -= [math.comb(p, k) for k in range(p)]
    return np.stack([np.linalg.matrix_power(step, k) / math.factorial(k) for k in range(p)])
