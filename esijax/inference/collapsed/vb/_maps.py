r"""q(W), and the variances, where the waves are known by their moments.

In the rotation with :math:`E[\Phi \Phi^\top] = \operatorname{diag}(s)` each column of W is the
posterior of one column of data,

.. math::
   b_k = Y \bar\varphi_k / \sqrt{s_k} \sim N(0,\, s_k C + N), \qquad
   C = \sum_j \gamma_j A_j A_j^\top

and what the best q(W) leaves of the bound is their log density, and that of what is not in them:

.. math::
   \sum_k \log N(b_k; 0, s_k C + N) - \tfrac12 \operatorname{tr} N^{-1} \Big( Y Y^\top
   - \sum_k b_k b_k^\top \Big) - \tfrac{n - K}{2} \log\det 2 \pi N

One eigenvalue problem, C against N, serves all waves. Variances of components, noise and remainder
follow the rule of the convex bound (`em/_update.py`), which never lowers this.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.separable import Modes, modes
from esijax._types import Scalar, Square
from esijax.inference.collapsed.em._hyperprior import VariancePrior
from esijax.inference.collapsed.em._mode_energies import ModeEnergies
from esijax.inference.collapsed.em._sensor import (
    SensorComponents,
    Variances,
    floor,
)
from esijax.inference.collapsed.em._update import bound_coefficients
from esijax.models.posteriors.waves import WaveLaw


class SpaceModel(eqx.Module):
    """All that does not change from round to round.

    Parameters
    ----------
    source : SensorComponents
    noise : SensorComponents | None
        Of the sensors; None: the identity.
    rest : SensorComponents | None
        The remainder, one component.
    data : (rank, times)
    power : (rank, rank)
        Y Y'.
    log_jacobian : ()
        Of the whitening of all columns.
    prior : VariancePrior
        Log hyper-prior of all variances: components, noise, remainder.
    sizes : tuple of int
        How many of each.
    """

    source: SensorComponents
    noise: SensorComponents | None
    rest: SensorComponents | None
    data: Float[Array, "rank times"]
    power: Square
    log_jacobian: Scalar
    prior: VariancePrior
    sizes: tuple[int, int, int] = eqx.field(static=True)

    def apart(self, theta: Variances) -> tuple[Array, Array, Array]:
        """Variances of components, noise and remainder."""
        n, m, _ = self.sizes
        return theta[:n], theta[n : n + m], theta[n + m :]

    def sensor_noise(self, theta: Variances) -> Square:
        """Covariance of the noise without the remainder."""
        _, noise, _ = self.apart(theta)
        return jnp.eye(len(self.data)) if self.noise is None else self.noise.cov(noise)

    def modes(self, theta: Variances) -> Modes:
        """C against N."""
        gamma, _, rest = self.apart(theta)
        noise = self.sensor_noise(theta)
        if self.rest is not None:
            noise = noise + self.rest.cov(rest)
        return modes(self.source.cov(gamma), noise)


class Maps(eqx.Module):
    """q(W) at one value of the variances, for one q(Phi), in the modes of space.

    Parameters
    ----------
    space : Modes
    seen : (rank, waves)
        Data of each wave, in the modes.
    level : (waves,)
        s.
    left : (rank, rank)
        Y Y' less what the waves hold, in the modes.
    n_left : ()
        Columns that it is made of, n - K.
    """

    space: Modes
    seen: Float[Array, "rank waves"]
    level: Float[Array, " waves"]
    left: Square
    n_left: Scalar

    @property
    def weights(self) -> Float[Array, "rank waves"]:
        """Inverse variances of the modes, 1 / (1 + d s)."""
        return 1.0 / (1.0 + self.space.value[:, None] * self.level[None])

    @property
    def value(self) -> Scalar:
        """What the best q(W) leaves of the bound, the divergence of q(Phi) apart."""
        w, n = self.weights, self.n_left + self.seen.shape[1]
        log_det = n * (self.space.log_det + len(w) * jnp.log(2 * jnp.pi)) - jnp.sum(jnp.log(w))
        return -0.5 * (jnp.sum(w * self.seen**2) + jnp.trace(self.left) + log_det)

    def energies(self) -> tuple[ModeEnergies, ModeEnergies]:
        """What asks for components of the sources, and for those of the noise."""
        w, level = self.weights, self.level
        solved = w * self.seen
        source = ModeEnergies(self.space, solved * jnp.sqrt(level)[None], None, w @ level)
        noise = ModeEnergies(self.space, solved, self.left, jnp.sum(w, axis=1) + self.n_left)
        return source, noise

    def moments(self, data: Float[Array, "rank times"]) -> tuple[Array, Array]:
        r"""Give :math:`E[W^\top G^\top N^{-1} G W]` and :math:`E[W]^\top G^\top N^{-1} Y`."""
        w, value = self.weights, self.space.value
        field = jnp.sqrt(self.level)[None] * value[:, None] * w * self.seen
        power = field.T @ field + jnp.diag(value @ w)
        return power, field.T @ (self.space.inverse.T @ data)


def wave_data(model: SpaceModel, law: WaveLaw) -> Float[Array, "rank waves"]:
    """Data of each wave, b."""
    return model.data @ law.mean.T / jnp.sqrt(law.level)[None]


def maps_of(model: SpaceModel, theta: Variances, law: WaveLaw) -> Maps:
    """The best q(W)."""
    space, seen = model.modes(theta), wave_data(model, law)
    left = space.image(model.power - seen @ seen.T)
    n_left = jnp.asarray(model.data.shape[1] - seen.shape[1], seen.dtype)
    return Maps(space, space.inverse.T @ seen, law.level, left, n_left)


def raised(model: SpaceModel, theta: Variances, maps: Maps) -> Variances:
    """One update of all variances; the bound with the best q(W) does not fall."""
    source, noise = maps.energies()
    pairs = [model.source.energy(source)]
    pairs += [own.energy(noise) for own in (model.noise, model.rest) if own is not None]
    q, z = (jnp.concatenate(each) for each in zip(*pairs, strict=True))
    a, b, c = bound_coefficients("mm", theta, q, z, jnp.ones_like(theta), jnp.asarray(1.0))
    return jnp.maximum(model.prior.maximum(a, b, c, theta), jnp.exp(floor(theta)))
