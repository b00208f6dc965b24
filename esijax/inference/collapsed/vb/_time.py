r"""Hyper-parameters of the covariance in time: a few safeguarded steps of Fisher scoring.

.. math::
   L(\theta) = \tfrac12 \sum_{kj} \left( \tau_j w_{kj} z_{kj}^2 + \log w_{kj} \right)
               + \log p(\theta), \qquad
   \frac{\partial L}{\partial T} = \tfrac12 \sum_k \left( \beta_k \beta_k^\top - H_k \right), \qquad
   H_k = \mu_k (I + \mu_k T)^{-1}, \; \beta_k = (I + \mu_k T)^{-1} b_k

The expected second derivative is :math:`-\tfrac12 \sum_k \operatorname{tr} H_k dT H_k dT`. A step
that would lower L is cut to a quarter, and left out where that does not help.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._types import Scalar
from esijax.inference.collapsed._time_sites import FreeRow, TimeSites

Square = Float[Array, "times times"]
CUTS, LONGEST = 5, 1.0  # of a step, without constraints


class TimeCarry(eqx.Module):
    """T at one value of its hyper-parameters.

    Parameters
    ----------
    free : (unknowns,)
        Hyper-parameters without constraints.
    value : (times,)
        Eigenvalues.
    vectors : (times, times)
    log_prior : ()
    """

    free: FreeRow
    value: Float[Array, " times"]
    vectors: Square
    log_prior: Scalar


class TimeModel(TimeSites):
    """The covariance in time of the waves, its unknowns as one row of numbers.

    Parameters
    ----------
    times : (times,)
        s.
    inverse : (times, times) | None
        Root of the stated noise in time, inverted: columns of the data are whitened by it.
    """

    times: Float[Array, " times"]
    inverse: Square | None

    def dense(self, free: FreeRow) -> Square:
        """T, as columns of the data have it."""
        own = self.time.cov(self.hyper(free), self.times).dense()
        return own if self.inverse is None else self.inverse @ own @ self.inverse

    def at(self, free: FreeRow) -> TimeCarry:
        """Eigenvectors of T; rounding below zero counts as zero."""
        value, vectors = jnp.linalg.eigh(self.dense(free))
        return TimeCarry(free, jnp.maximum(value, 0.0), vectors, self.log_prior(free))


def climbed(model: TimeModel, now: TimeCarry, strength: Any, drive: Any) -> TimeCarry:
    """One step of Fisher scoring, shortened until L does not fall."""
    if not model.time.learned:
        return now

    def value(time: TimeCarry) -> Scalar:
        w = 1.0 / (1.0 + strength[:, None] * time.value[None])
        z = drive @ time.vectors
        found = 0.5 * jnp.sum(time.value[None] * w * z**2 + jnp.log(w))
        return found + time.log_prior

    step = _step(model, now, strength, drive)
    first = value(now)

    def going(state):
        cut, _, best = state
        return (cut < CUTS) & ~(best >= first)

    def shorter(state):
        cut, _, _ = state
        new = model.at(now.free + step * 0.25**cut)
        return cut + 1, new, jnp.nan_to_num(value(new), nan=-jnp.inf)

    start = shorter((jnp.asarray(0), now, first))
    _, new, best = jax.lax.while_loop(going, shorter, start)
    return jax.tree.map(lambda a, b: jnp.where(best >= first, a, b), new, now)


def _step(model: TimeModel, now: TimeCarry, strength: Any, drive: Any) -> FreeRow:
    """Gradient over expected curvature, not longer than a factor of e or so."""
    w = 1.0 / (1.0 + strength[:, None] * now.value[None])
    beta, limit = w * (drive @ now.vectors), strength[:, None] * w  # in the modes of T
    change = jnp.moveaxis(jax.jacfwd(model.dense)(now.free), -1, 0)
    change = now.vectors.T @ change @ now.vectors
    slope = 0.5 * (beta.T @ beta - jnp.diag(jnp.sum(limit, axis=0)))
    gradient = jnp.tensordot(change, slope, 2) + jax.grad(model.log_prior)(now.free)
    weighted = change * (limit.T @ limit)[None]
    curvature = 0.5 * jnp.tensordot(weighted, change, ((1, 2), (1, 2)))
    bent = -jnp.diag(jax.hessian(model.log_prior)(now.free))
    curvature = curvature + jnp.diag(jnp.maximum(bent, 0.0) + 1e-6)
    step = jnp.linalg.solve(curvature, gradient)
    return step * jnp.minimum(1.0, LONGEST / jnp.maximum(jnp.max(jnp.abs(step)), 1e-300))
