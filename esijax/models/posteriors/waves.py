r"""The posterior of sources that share a few waves, both factors uncertain.

.. math::
   X = W \Phi + X_0, \qquad q(W)\, q(\Phi)\, p(X_0 \mid W, \Phi, Y)

In the rotation in which :math:`E[\Phi \Phi^\top] = \operatorname{diag}(s)` the columns of W are
independent, each the posterior of one column of data :math:`b_k` with the lead field
:math:`\sqrt{s_k} G`. With the modes of :math:`M = G R G^\top` against the noise N (values d, root
U), :math:`w_k = 1 / (1 + s_k d)` and :math:`B = R G^\top U^{-\top}`,

.. math::
   \bar w_k = \sqrt{s_k}\, B (w_k U^{-1} b_k), \qquad
   C_k = R - s_k B \operatorname{diag}(w_k) B^\top

and the product has the moments

.. math::
   E[x_t] = \sum_k \bar w_k \bar\varphi_{kt}, \qquad
   \operatorname{Var}[x_t] = \sum_k C_k E[\varphi_{kt}^2]
   + \sum_{kl} \bar w_k \bar w_l^\top \operatorname{Cov}[\varphi_{kt}, \varphi_{lt}]

It is not Gaussian. Moments and draws are exact under q; quantiles, intervals and exceedance are
those of a Gaussian with these moments.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.separable import Modes
from esijax._types import Gain
from esijax.models.posteriors.over_time import GaussianOverTime
from esijax.models.source_cov import SourceCov
from esijax.posterior import Courses

WaveTimes = Float[Array, "waves times"]


class WaveLaw(eqx.Module):
    r"""Gaussian law of the waves, :math:`\Phi = \bar\Phi + Q (v^{1/2} \circ \xi) U^\top`.

    Parameters
    ----------
    mean : (waves, times)
        In the rotation in which the second moments are diagonal.
    level : (waves,)
        s, those second moments, summed over time.
    mixing : (waves, waves)
        Q, orthogonal: from the rotation in which waves are independent.
    variance : (waves, modes)
        v, of independent waves in the modes of time.
    root : (times, modes)
        U.
    """

    mean: WaveTimes
    level: Float[Array, " waves"]
    mixing: Float[Array, "waves waves"]
    variance: Float[Array, "waves modes"]
    root: Float[Array, "times modes"]

    def apart(self) -> tuple[WaveTimes, WaveTimes]:
        """Mean and standard deviation of the waves that are independent of each other."""
        return self.mixing.T @ self.mean, jnp.sqrt(self.variance @ (self.root**2).T)

    def of_columns(self, mix: Float[Array, "times some"]) -> "WaveLaw":
        """Other combinations of the times; the levels stay those of the waves themselves."""
        return dataclasses.replace(self, mean=self.mean @ mix, root=mix.T @ self.root)

    def at(self, times: Any) -> "WaveLaw":
        """Some of the times (None: all)."""
        if times is None:
            return self
        return dataclasses.replace(self, mean=self.mean[:, times], root=self.root[times])

    def draw(self, key: PRNGKeyArray) -> WaveTimes:
        """Joint draw of all waves."""
        white = jax.random.normal(key, self.variance.shape, self.variance.dtype)
        return self.mean + self.mixing @ (jnp.sqrt(self.variance) * white) @ self.root.T


class WavesPosterior(GaussianOverTime):
    """Posterior of sources that are mixtures of waves, and of what is left of the cortex.

    Parameters
    ----------
    gain : (rank, locations, orients)
    source_cov : SourceCov
        R, of each column of W.
    rest : SourceCov | None
        R_0 of the remainder, independent from sample to sample.
    space : Modes
        Of M against N, the remainder among the noise.
    seen : (rank, waves)
        b, the data of each wave.
    data : (rank, times)
    noise : (rank, rank)
        Lower Cholesky factor of the noise without the remainder.
    waves : WaveLaw
    mix : (times, some), optional
        Combinations of the columns that are asked for; None: the columns themselves.
    """

    gain: Gain
    source_cov: SourceCov
    rest: SourceCov | None
    space: Modes
    seen: Float[Array, "rank waves"]
    data: Float[Array, "rank times"]
    noise: Float[Array, "rank rank"]
    waves: WaveLaw
    mix: Float[Array, "times some"] | None = None

    def of_columns(self, mix: Float[Array, "times some"]) -> "WavesPosterior":
        """Other combinations of the columns, the data as they are."""
        return dataclasses.replace(self, mix=mix if self.mix is None else self.mix @ mix)

    @property
    def _law(self) -> WaveLaw:
        return self.waves if self.mix is None else self.waves.of_columns(self.mix)

    @property
    def _columns(self) -> Float[Array, "rank some"]:
        """Data in the modes of space, of the columns that are asked for."""
        own = self.space.inverse.T @ self.data
        return own if self.mix is None else own @ self.mix

    # ------------------------------------------------------------------ in the modes
    @property
    def _weights(self) -> Float[Array, "rank waves"]:
        """Inverse variance of each mode for each wave, 1 / (1 + d s)."""
        return 1.0 / (1.0 + self.space.value[:, None] * self.waves.level[None])

    @property
    def _solved(self) -> Float[Array, "rank waves"]:
        """Weighted data of each wave, as its column of W takes them."""
        seen = self.space.inverse.T @ self.seen
        return jnp.sqrt(self.waves.level)[None] * self._weights * seen

    def _back(self, cov: SourceCov, modes: Array, scale: Any = 1.0) -> Array:
        return cov.back_project(self.gain, self.space.inverse @ modes, scale)

    def _maps(self, scale: Any = 1.0) -> Float[Array, "locations orients waves"]:
        """Mean of W, less what the remainder takes over of each wave's field."""
        found = self._back(self.source_cov, self._solved, scale)
        if self.rest is not None:
            field = self.space.value[:, None] * self._solved
            found = found - self._back(self.rest, field, scale)
        return found

    def _rows(self, cov: SourceCov | None, locations: Any) -> tuple[Any, Any]:
        """Rows of B as (rank, locations, orients), and the prior's blocks there."""
        if cov is None:
            return None, None
        reach, blocks = cov.apply_gain(self.gain), cov.blocks()
        if locations is not None:
            reach, blocks = reach[:, locations], blocks[locations]
        return jnp.tensordot(self.space.inverse.T, reach, 1), blocks

    def _spread(self, product: Any, prior: Any, own: Any, rest: Any) -> Any:
        """Covariance of W for each wave, the remainder's answer to it taken off."""
        w, level, value = self._weights, self.waves.level, self.space.value[:, None]
        total = prior[..., None] - product(own, own, level[None] * w)
        if rest is None:
            return total
        cross = product(rest, own, w)
        turned = jnp.swapaxes(cross, 1, 2) if cross.ndim == 4 else cross
        return total - cross - turned + product(rest, rest, value * w)

    # ------------------------------------------------------------------ moments
    def mean(self, scale=1.0) -> Float[Array, "locations orients times"]:
        """E[W] E[Phi], and the mean of the remainder."""
        found = self._maps(scale) @ self._law.mean
        return found if self.rest is None else found + self._back(self.rest, self._columns, scale)

    def blocks(self, locations: Any, times: Any) -> Float[Array, "some orients orients moments"]:
        """Covariance of the orients at some locations and times."""

        def product(x, y, weight):
            pairs = x[:, :, :, None] * y[:, :, None, :]
            return jnp.tensordot(pairs, weight, axes=((0,), (0,)))

        own, prior = self._rows(self.source_cov, locations)
        rest, prior_rest = self._rows(self.rest, locations)
        law = self._law.at(times)
        own_waves = law.variance @ (law.root**2).T
        second = law.mean**2 + law.mixing**2 @ own_waves
        maps = self._maps() if locations is None else self._maps()[locations]
        maps = maps @ law.mixing
        total = self._spread(product, prior, own, rest) @ second
        total = total + (maps[:, :, None] * maps[:, None, :]) @ own_waves
        if rest is not None:
            left = prior_rest - jnp.einsum("rlo,rlp->lop", rest, rest)
            total = total + left[..., None] * self._power(times)[None, None, None]
        # rounding may leave a variance of -1e-17 where the data determine a source
        eye = jnp.eye(total.shape[1])[None, :, :, None]
        return jnp.where(eye > 0, jnp.maximum(total, 0.0), (total + jnp.swapaxes(total, 1, 2)) / 2)

    def _power(self, times: Any) -> Float[Array, " some"]:
        """Variance of the combinations of independent columns that are asked for."""
        shape = self.waves.mean.shape[1]
        power = jnp.ones(shape) if self.mix is None else jnp.sum(self.mix**2, axis=0)
        return power if times is None else power[times]

    def courses(self, weights: Float[Array, "courses locations orients"]) -> Courses:
        """Linear combinations: the modes of time, and each wave's course."""
        columns = jnp.moveaxis(weights, 0, -1)

        def of(cov):
            if cov is None:
                return None, None
            prior = cov.apply(columns)
            seen = self.space.inverse.T @ jnp.tensordot(self.gain, prior, axes=2)
            return seen, jnp.einsum("klo,lok->k", weights, prior)

        def product(x, y, weight):
            return (x * y).T @ weight

        (own, prior), (rest, prior_rest), law = of(self.source_cov), of(self.rest), self._law
        maps = own.T @ self._solved
        if rest is not None:
            maps = maps - rest.T @ (self.space.value[:, None] * self._solved)
        spread = jnp.maximum(self._spread(product, prior, own, rest), 0.0)
        mean = maps @ law.mean
        through = (spread @ law.mixing**2 + (maps @ law.mixing) ** 2) @ law.variance
        variance, root = [through, spread], [law.root, law.mean.T]
        if rest is not None:
            mean = mean + rest.T @ self._columns
            left = jnp.maximum(prior_rest - jnp.sum(rest**2, axis=0), 0.0)
            n = self.waves.mean.shape[1]
            variance.append(jnp.broadcast_to(left[:, None], (len(left), n)))
            root.append(jnp.eye(n) if self.mix is None else self.mix.T)
        found = jnp.concatenate(variance, axis=1), jnp.concatenate(root, axis=1)
        return Courses(mean[None], found[0][None], found[1][None])

    # ------------------------------------------------------------------ draws
    def draw(self, key: PRNGKeyArray, n: int, locations, times):
        """Maps and waves apart, then their product, a recording at a time."""
        keys = jax.random.split(key, n)
        return jax.lax.map(lambda k: self._drawn(k)[locations][..., times], keys)

    def _drawn(self, key: PRNGKeyArray) -> Float[Array, "locations orients some"]:
        """One draw of sources and remainder."""
        keys = jax.random.split(key, 5)
        n_waves, n_times = self.waves.mean.shape
        size, rank = jnp.sqrt(self.waves.level), len(self.noise)
        x = self.source_cov.draw(keys[0], n_waves)
        white = jax.random.normal(keys[1], (rank, n_waves), x.dtype)
        signal = jnp.tensordot(self.gain, x * size[None, None], axes=2)
        field = self.space.inverse.T @ signal + white
        maps = x + self._back(self.source_cov, self._solved - size[None] * self._weights * field)
        found = maps @ self.waves.draw(keys[2])
        if self.rest is not None:
            other = self.rest.draw(keys[3], n_times)
            noise = self.noise @ jax.random.normal(keys[4], (rank, n_times), x.dtype)
            left = self.data - jnp.tensordot(self.gain, found + other, axes=2) - noise
            found = found + other + self._back(self.rest, self.space.inverse.T @ left)
        return found if self.mix is None else found @ self.mix

    def fitted(self) -> Float[Array, "rank times"]:
        """G E[X]."""
        return jnp.tensordot(self.gain, self.mean(), axes=2)

    def probe(self) -> Float[Array, ""]:
        """Sum of what the data say of both factors."""
        return jnp.sum(self._solved) + jnp.sum(self.waves.mean)
