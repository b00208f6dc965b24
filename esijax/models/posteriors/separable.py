r"""The posterior where signal, remainder and noise are separable in space and time.

.. math::
   X = X_1 + X_0, \quad X_1 \sim MN(0, R, T), \; X_0 \sim MN(0, R_0, T_n), \qquad
   Y = G X + E, \; E \sim MN(0, N_0, T_n)

In the modes of `esijax._ops.separable` (:math:`M = G R G^\top`, :math:`N = N_0 + G R_0 G^\top`;
U the root of time, :math:`\tau, w, z` values, weights and data of the modes),

.. math::
   \mathbb{E}[X] = \left[ B_1 (w z \tau) + B_0 (w z) \right] U^\top, \qquad B_j = R_j G^\top Q

and the covariance of a linear combination over time is :math:`U \operatorname{diag}(v) U^\top`: a
course, too, is diagonal in the modes of time.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.separable import Pair
from esijax._types import Data, Gain
from esijax.models.posteriors.over_time import GaussianOverTime
from esijax.models.source_cov import SourceCov
from esijax.posterior import Courses


class SeparablePosterior(GaussianOverTime):
    """Posterior of sources with a covariance in time, and of what is left of the cortex.

    Parameters
    ----------
    gain : (rank, locations, orients)
    source_cov : SourceCov
        R.
    rest : SourceCov | None
        R_0, of the remainder that has the noise's covariance in time.
    pair : Pair
        Modes of M against N, and of T against T_n.
    data : (..., rank, times)
    noise : (rank, rank)
        Lower Cholesky factor of N_0.
    mix : (times, some), optional
        Combinations of the samples that are asked for; None: the samples themselves.
    """

    gain: Gain
    source_cov: SourceCov
    rest: SourceCov | None
    pair: Pair
    data: Data
    noise: Float[Array, "rank rank"]
    mix: Float[Array, "times some"] | None = None

    def of_columns(self, mix: Float[Array, "times some"]) -> "SeparablePosterior":
        """Other combinations of the columns, the data as they are."""
        mix = mix if self.mix is None else self.mix @ mix
        return dataclasses.replace(self, mix=mix)

    @property
    def leading(self) -> tuple[int, ...]:
        """Of the trials."""
        return self.data.shape[:-2]

    @property
    def _out(self) -> Float[Array, "some modes"]:
        """From the modes of time to what is asked for."""
        root = self.pair.time.root
        return root if self.mix is None else self.mix.T @ root

    # ------------------------------------------------------------------ in the modes
    def _map(self, solved: Data, scale: Any = 1.0) -> Float[Array, "*trials locations orients _"]:
        """Sources from modes (..., rank, modes of time), back in time."""
        lead, rank = solved.shape[:-2], solved.shape[-2]

        def back(cov, modes):
            columns = self.pair.space.inverse @ modes @ self._out.T
            columns = jnp.moveaxis(columns, -2, 0).reshape(rank, -1)
            return cov.back_project(self.gain, columns, scale)

        tau = jnp.broadcast_to(self.pair.time.value, solved.shape)
        found = back(self.source_cov, solved * tau)
        if self.rest is not None:
            found = found + back(self.rest, solved)
        return jnp.moveaxis(found.reshape(*found.shape[:2], *lead, -1), (0, 1), (-3, -2))

    def _rows(self, cov: SourceCov | None, locations: Any) -> tuple[Any, Any]:
        """Rows of B as (rank, locations, orients), and the prior's blocks there."""
        if cov is None:
            return None, None
        reach, blocks = cov.apply_gain(self.gain), cov.blocks()
        if locations is not None:
            reach, blocks = reach[:, locations], blocks[locations]
        return jnp.tensordot(self.pair.space.inverse.T, reach, 1), blocks

    # ------------------------------------------------------------------ moments
    def mean(self, scale=1.0) -> Float[Array, "*trials locations orients times"]:
        """Posterior mean of the sources, the remainder among them."""
        return self._map(self.pair.solved(self.data), scale)

    def blocks(self, locations: Any, times: Any) -> Float[Array, "some orients orients moments"]:
        """Covariance of the orients at some locations and times, the same for all trials."""
        own, prior = self._rows(self.source_cov, locations)
        rest, prior_rest = self._rows(self.rest, locations)
        w, tau = self.pair.weights, self.pair.time.value
        root2 = (self._out if times is None else self._out[times]) ** 2

        def explained(x, y, weight):
            pairs = x[:, :, :, None] * y[:, :, None, :]
            return jnp.tensordot(pairs, weight @ root2.T, axes=((0,), (0,)))

        total = prior[..., None] * (root2 @ tau)[None, None, None] - explained(
            own, own, w * tau[None] ** 2
        )
        if rest is not None:
            cross = explained(own, rest, w * tau[None])
            total = total - cross - jnp.swapaxes(cross, 1, 2)
            total = total + prior_rest[..., None] * jnp.sum(root2, axis=1)[None, None, None]
            total = total - explained(rest, rest, w)
        # rounding may leave a variance of -1e-17 where the data determine a source
        eye = jnp.eye(total.shape[1])[None, :, :, None]
        return jnp.where(eye > 0, jnp.maximum(total, 0.0), (total + jnp.swapaxes(total, 1, 2)) / 2)

    # ------------------------------------------------------------------ questions
    def courses(self, weights: Float[Array, "courses locations orients"]) -> Courses:
        """Linear combinations: diagonal in the modes of time."""
        columns = jnp.moveaxis(weights, 0, -1)

        def of(cov):
            prior = cov.apply(columns)
            seen = self.pair.space.inverse.T @ jnp.tensordot(self.gain, prior, axes=2)
            return seen, jnp.einsum("klo,lok->k", weights, prior)

        solved, tau = self.pair.solved(self.data), self.pair.time.value
        seen, power = of(self.source_cov)
        mean = seen.T @ (solved * jnp.broadcast_to(tau, solved.shape))
        reach, variance = seen[:, :, None] * tau[None, None], power[:, None] * tau[None]
        if self.rest is not None:
            seen, power = of(self.rest)
            mean, reach = mean + seen.T @ solved, reach + seen[:, :, None]
            variance = variance + power[:, None]
        variance = variance - jnp.einsum("kcm,km->cm", reach**2, self.pair.weights)
        root = self._out
        return Courses((mean @ root.T)[None], jnp.maximum(variance, 0.0)[None], root[None])

    def draw(self, key: PRNGKeyArray, n: int, locations, times):
        """Perturb and solve, a recording at a time."""
        lead = self.data.shape[:-2]
        keys = jax.random.split(key, n * math.prod(lead))
        noise = jax.lax.map(lambda k: self._perturbation(k)[locations][..., times], keys)
        noise = noise.reshape(n, *lead, *noise.shape[1:])
        mean = self.mean()[..., locations, :, :][..., times]
        return noise + jnp.broadcast_to(mean, noise.shape)

    def _perturbation(self, key: PRNGKeyArray) -> Float[Array, "locations orients some"]:
        """A draw about zero."""
        keys, n = jax.random.split(key, 3), self.data.shape[-1]
        time = self.pair.time
        # in the modes of time, where signal, remainder and noise are independent
        x = self.source_cov.draw(keys[0], n) * jnp.sqrt(time.value)[None, None]
        if self.rest is not None:
            x = x + self.rest.draw(keys[1], n)
        white = jax.random.normal(keys[2], (len(self.noise), n), x.dtype)
        recording = jnp.tensordot(self.gain, x, axes=2) + self.noise @ white
        return x @ self._out.T - self._map(self.pair.solved(recording @ time.root.T))

    def fitted(self) -> Data:
        """G E[X | Y]."""
        return jnp.moveaxis(jnp.tensordot(self.gain, self.mean(), ((1, 2), (-3, -2))), 0, -2)

    def probe(self) -> Float[Array, ""]:
        """Sum of the modes."""
        return jnp.sum(self.pair.solved(self.data))
