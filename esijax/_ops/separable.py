r"""Two covariances in space, each with its own in time: signal and noise.

.. math::
   \Sigma = M \otimes T + N \otimes T_n, \qquad
   N = C C^\top, \; C^{-1} M C^{-\top} = V D V^\top, \qquad
   T_n = c c^\top, \; c^{-1} T c^{-\top} = E \tau E^\top

In the modes of both, :math:`Z = V^\top C^{-1} Y c^{-\top} E`, everything is a product of two
numbers: entry (k, m) has variance :math:`1 + d_k \tau_m`. No matrix of sensors x times exists.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float

from esijax._types import Scalar, Square

Trials = Float[Array, "trials rank times"]
ALIKE = 1e-10  # eigenvalues that differ by less, relative to the largest, are the same


class Modes(eqx.Module):
    r"""A pair of covariances A, B in the basis where both are diagonal.

    Parameters
    ----------
    value : (n,)
        d: :math:`A = U \operatorname{diag}(d) U^\top`.
    root : (n, n)
        U, with :math:`B = U U^\top`.
    inverse : (n, n)
        :math:`U^{-\top}`.
    log_det : ()
        Of B.
    """

    value: Float[Array, " n"]
    root: Float[Array, "n n"]
    inverse: Float[Array, "n n"]
    log_det: Scalar

    def image(self, matrix: Square) -> Square:
        """Change of A or B as these modes see it."""
        return self.inverse.T @ matrix @ self.inverse

    def within(self, matrix: Square) -> Square:
        """Matrix that these modes see as the given one, in the space of the inverses."""
        return self.inverse @ matrix @ self.inverse.T

    def within_diagonal(self, values: Float[Array, " n"]) -> Square:
        """That of a diagonal one."""
        return (self.inverse * values[None]) @ self.inverse.T


def modes(signal: Square, noise: Square) -> Modes:
    """Diagonalise a covariance against another one; a negative eigenvalue counts as zero."""
    chol = jnp.linalg.cholesky(noise)
    # one solve and products: a solve costs XLA on a CPU three products
    whitener = jsl.solve_triangular(chol, jnp.eye(len(chol), dtype=chol.dtype), lower=True)
    white = whitener @ signal @ whitener.T
    value, vectors = _eigh((white + white.T) / 2)
    inverse = whitener.T @ vectors
    log_det = 2.0 * jnp.sum(jnp.log(jnp.diag(chol)))
    return Modes(jnp.maximum(value, 0.0), chol @ vectors, inverse, log_det)


@jax.custom_jvp
def _eigh(matrix: Square) -> tuple[Float[Array, " n"], Square]:
    r"""Eigenvalues and vectors; vectors of the same eigenvalue do not turn into each other.

    .. math:: dV = V (F \circ V^\top dA\, V), \qquad F_{ij} = (\lambda_j - \lambda_i)^{-1}

    with F zero where eigenvalues coincide. That is exact where the change has no part between
    them, as in the null space of few sensor factors, which a change of gain or variances leaves.
    """
    value, vectors = jnp.linalg.eigh(matrix)
    return value, vectors


@_eigh.defjvp
def _eigh_jvp(primals, tangents):
    value, vectors = _eigh(*primals)
    change = vectors.T @ tangents[0] @ vectors
    gap = value[None, :] - value[:, None]
    alike = jnp.abs(gap) <= ALIKE * jnp.max(jnp.abs(value))
    turn = jnp.where(alike, 0.0, 1.0 / jnp.where(alike, 1.0, gap))
    return (value, vectors), (jnp.diag(change), vectors @ (turn * change))


class Separable(NamedTuple):
    """The four covariances: M and N of the sensors, T and T_n in time."""

    signal: Float[Array, "rank rank"]
    noise: Float[Array, "rank rank"]
    signal_time: Float[Array, "times times"]
    noise_time: Float[Array, "times times"]


class Pair(eqx.Module):
    """Modes of space and of time, functions of a `Separable`."""

    space: Modes
    time: Modes

    @property
    def weights(self) -> Float[Array, "rank times"]:
        """Inverse variance of each mode, 1 / (1 + d tau)."""
        return 1.0 / (1.0 + self.space.value[:, None] * self.time.value[None])

    def solved(self, data: Float[Array, "*trials rank times"]):
        """Weighted modes of the data, w Z."""
        z = self.space.inverse.T @ data @ self.time.inverse
        return z * jnp.broadcast_to(self.weights, z.shape)


def pair_of(cov: Separable, time: Modes | None = None) -> Pair:
    """Modes of the four covariances; those of time where they are known already."""
    time = modes(cov.signal_time, cov.noise_time) if time is None else time
    return Pair(modes(cov.signal, cov.noise), time)


def separable_log_density(cov: Separable, time: Modes | None, data: Trials) -> Scalar:
    r"""Log density of trials under N(0, M x T + N x T_n), its derivative written out.

    With :math:`\alpha = \Sigma^{-1} Y`,

    .. math::
       \frac{\partial \log p}{\partial M} = \tfrac12 \left( \alpha T \alpha^\top
       - \operatorname{tr}_t \left[ \Sigma^{-1} (I \otimes T) \right] \right)

    and likewise for the other three; second derivatives are written out too. Eigenvectors are
    differentiated for third ones alone (how the answer of `Laplace` follows the data).

    Parameters
    ----------
    cov : Separable
    time : Modes | None
        Of T against T_n where they are known already.
    data : (trials, rank, times)
    """
    return _log_density(cov, pair_of(cov, time), data)


@jax.custom_jvp
def _log_density(cov: Separable, pair: Pair, data: Trials) -> Scalar:  # noqa: ARG001
    w = pair.weights
    z = pair.space.inverse.T @ data @ pair.time.inverse
    rank, times = w.shape
    log_det = times * pair.space.log_det + rank * pair.time.log_det - jnp.sum(jnp.log(w))
    log_det += w.size * jnp.log(2 * jnp.pi)
    return -0.5 * (jnp.sum(z * pair.solved(data)) + len(data) * log_det)


@_log_density.defjvp
def _log_density_jvp(primals, tangents):
    (cov, pair, data), (d_cov, _, d_data) = primals, tangents
    alpha, n = _solve(cov, pair, data), len(data)
    in_space, in_time = _traces(cov, pair), _traces(_swapped(cov), Pair(pair.time, pair.space))
    rows = jnp.moveaxis(alpha, 0, 1).reshape(alpha.shape[1], -1)  # space x (trials, times)
    columns = jnp.moveaxis(alpha, 2, 0).reshape(alpha.shape[2], -1)  # times x (trials, space)

    def power(left, middle):
        """Sum over trials of alpha K alpha'."""
        moved = jnp.moveaxis(middle, 0, 1).reshape(len(left), -1)
        return moved @ left.T

    turned = jnp.swapaxes(alpha, 1, 2)
    gradient = Separable(
        power(rows, alpha @ cov.signal_time) - n * in_space[0],
        power(rows, alpha @ cov.noise_time) - n * in_space[1],
        power(columns, turned @ cov.signal) - n * in_time[0],
        power(columns, turned @ cov.noise) - n * in_time[1],
    )
    change = sum(jnp.sum(g * t) for g, t in zip(gradient, d_cov, strict=True)) / 2
    return _log_density(cov, pair, data), change - jnp.sum(alpha * d_data)


@jax.custom_jvp
def _solve(cov: Separable, pair: Pair, data: Trials) -> Trials:  # noqa: ARG001
    r"""Apply :math:`\Sigma^{-1}`; :math:`d\alpha = \Sigma^{-1} (dY - d\Sigma\, \alpha)`."""
    return pair.space.inverse @ pair.solved(data) @ pair.time.inverse.T


@_solve.defjvp
def _solve_jvp(primals, tangents):
    (cov, pair, data), (d, _, d_data) = primals, tangents
    alpha = _solve(cov, pair, data)
    change = d.signal @ alpha @ cov.signal_time + cov.signal @ alpha @ d.signal_time
    change += d.noise @ alpha @ cov.noise_time + cov.noise @ alpha @ d.noise_time
    return alpha, _solve(cov, pair, d_data - change)


@jax.custom_jvp
def _traces(cov: Separable, pair: Pair) -> tuple[Square, Square]:  # noqa: ARG001
    r"""Traces over time of :math:`\Sigma^{-1} (I \otimes T)`, and the same with T_n.

    First derivatives are written out in the modes, where nothing is divided by a difference of
    eigenvalues.
    """
    space, time, w = pair.space, pair.time, pair.weights
    return (
        space.within_diagonal(w @ time.value),
        space.within_diagonal(jnp.sum(w, axis=1)),
    )


@_traces.defjvp
def _traces_jvp(primals, tangents):
    (cov, pair), (d, _) = primals, tangents
    space, time, w = pair.space, pair.time, pair.weights
    tau = time.value
    signal, noise = space.image(d.signal), space.image(d.noise)
    d_tau, d_one = (jnp.diag(time.image(x)) for x in (d.signal_time, d.noise_time))

    def change(power, direct):
        """Of the trace with tau**power; `direct` is the change of that matrix itself."""
        own = (w * tau[None] ** (power + 1)) @ w.T * signal + (w * tau[None] ** power) @ w.T * noise
        moved = w**2 @ (tau**power * d_tau) * space.value + w**2 @ (tau**power * d_one)
        return space.within(jnp.diag(w @ direct - moved) - own)

    return _traces(cov, pair), (change(1, d_tau), change(0, d_one))


def _swapped(cov: Separable) -> Separable:
    """Space and time in each other's place."""
    return Separable(cov.signal_time, cov.noise_time, cov.signal, cov.noise)


def powers_and_limits(
    cov: Separable, time: Modes | None, data: Trials
) -> tuple[tuple[Square, Square], tuple[Square, Square]]:
    r"""For signal and noise: :math:`\alpha T \alpha^\top`, and the trace it is compared with.

    Both summed over trials; half their difference is the derivative of the log density.
    """
    pair = jax.lax.stop_gradient(pair_of(cov, time))
    alpha = _solve(cov, pair, data)

    def power(in_time):
        return jnp.tensordot(alpha @ in_time, alpha, axes=((0, 2), (0, 2)))

    limits = [len(data) * trace for trace in _traces(cov, pair)]
    return (power(cov.signal_time), limits[0]), (power(cov.noise_time), limits[1])
