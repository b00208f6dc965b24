r"""q(Phi), and the covariance in time, where the maps are known by their moments.

With :math:`M = E[W^\top G^\top N^{-1} G W] = P \operatorname{diag}(\mu) P^\top`,
:math:`B = E[W]^\top G^\top N^{-1} Y` and :math:`T = U \operatorname{diag}(\tau) U^\top` the optimal
q(Phi) is Gaussian with the precision :math:`M \otimes I + I \otimes T^{-1}`. In the modes
:math:`Z = P^\top B U` it falls apart,

.. math::
   \operatorname{E}[P^\top \Phi U]_{kj} = \tau_j w_{kj} z_{kj}, \qquad
   \operatorname{Var} = \tau_j w_{kj}, \qquad w_{kj} = \frac{1}{1 + \mu_k \tau_j}

(T may be singular), and what it adds to the bound is

.. math:: \max_{q(\Phi)} = \tfrac12 \sum_{kj} \left( \tau_j w_{kj} z_{kj}^2 + \log w_{kj} \right)
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._types import Scalar
from esijax.inference.collapsed.em._sensor import Variances
from esijax.inference.collapsed.vb._maps import SpaceModel
from esijax.inference.collapsed.vb._time import TimeCarry
from esijax.models.posteriors.waves import WaveLaw

Row = Float[Array, " waves"]
Waves = Float[Array, "waves times"]
SCALES = (0.01, 0.03, 0.1, 0.3, 1.0)  # logarithms that are tried, up and down


class Asked(NamedTuple):
    """What the maps ask of the waves: M in its eigenvectors, and B likewise."""

    strength: Row
    drive: Waves
    turn: Float[Array, "waves waves"]


def asked(power: Float[Array, "waves waves"], drive: Waves) -> Asked:
    """Diagonalise M."""
    strength, turn = jnp.linalg.eigh((power + power.T) / 2)
    return Asked(jnp.maximum(strength, 0.0), turn.T @ drive, turn)


def gain_of(maps: Asked, time: TimeCarry, scale: Scalar | float = 1.0) -> Scalar:
    """What the best q(Phi) adds to the bound where all maps are `scale` times as large."""
    w = 1.0 / (1.0 + scale**2 * maps.strength[:, None] * time.value[None])
    z = scale * maps.drive @ time.vectors
    return 0.5 * jnp.sum(time.value[None] * w * z**2 + jnp.log(w))


def rescaled(
    maps: Asked, time: TimeCarry, theta: Variances, space: SpaceModel
) -> tuple[Asked, Variances]:
    r"""Maps c times as large, variances :math:`c^2 \gamma`, for the best c of a few.

    q(W) and its prior stretch together, so that their divergence stays; q(Phi) follows in
    closed form. The scale, which is shared by both factors, would take many rounds to settle.
    """
    logs = jnp.asarray([0.0, *SCALES, *(-x for x in SCALES)])

    own = jnp.arange(len(theta)) < space.sizes[0]  # components of the sources

    def grown(log):
        return jnp.where(own, theta * jnp.exp(2 * log), theta)

    def value(log):
        return gain_of(maps, time, jnp.exp(log)) + space.prior.value(grown(log))

    values = jax.lax.map(value, logs)
    log = logs[jnp.argmax(jnp.where(jnp.isfinite(values), values, -jnp.inf))]
    best = jnp.exp(log)
    return Asked(maps.strength * best**2, maps.drive * best, maps.turn), grown(log)


class WaveCourses(eqx.Module):
    """q(Phi), as the maps see it.

    Parameters
    ----------
    law : WaveLaw
        In the rotation in which second moments are diagonal.
    divergence : ()
        Of q(Phi) from the prior.
    """

    law: WaveLaw
    divergence: Scalar


def courses(maps: Asked, time: TimeCarry) -> WaveCourses:
    """The best q(Phi)."""
    w = 1.0 / (1.0 + maps.strength[:, None] * time.value[None])
    z = maps.drive @ time.vectors
    tau = time.value[None]
    mean, variance = maps.turn @ (tau * w * z) @ time.vectors.T, tau * w
    divergence = 0.5 * jnp.sum(w + tau * w**2 * z**2 - 1.0 - jnp.log(w))
    second = mean @ mean.T + (maps.turn * jnp.sum(variance, axis=1)[None]) @ maps.turn.T
    level, rotation = jnp.linalg.eigh((second + second.T) / 2)
    mixing = rotation.T @ maps.turn
    law = WaveLaw(rotation.T @ mean, level, mixing, variance, time.vectors)
    return WaveCourses(law, divergence)
