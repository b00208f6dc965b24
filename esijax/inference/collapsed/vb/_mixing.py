r"""Maps and waves mixed against each other: W C and :math:`C^{-1} \Phi` fit the data equally well.

What changes are the divergences from the priors,

.. math::
   -\tfrac12 \operatorname{tr} X R - \tfrac12 \operatorname{tr} X^{-1} Q
   + \tfrac{m}{2} \log\det X, \qquad X = C C^\top, \quad
   R = E[W^\top R(\gamma)^{-1} W], \quad Q = E[\Phi T^{-1} \Phi^\top]

with m the number of rows of W less that of columns of :math:`\Phi`; only those that the data speak
of count, as the others fall back to their priors. The maximum solves X R X - m X = Q: with
R = L L', :math:`Y = L^\top X L` commutes with L'Q L and has the eigenvalues
:math:`(m + \sqrt{m^2 + 4 q}) / 2`. Updates of one factor at a time would need hundreds of rounds to
get there (Luttinen and Ilin 2010, doi:10.1016/j.neucom.2009.11.018). Whoever mixes looks at the
bound afterwards.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._types import Scalar
from esijax.inference.collapsed.em._sensor import Variances
from esijax.inference.collapsed.vb._courses import Asked
from esijax.inference.collapsed.vb._maps import Maps, SpaceModel
from esijax.inference.collapsed.vb._time import TimeCarry

SPEAKS = 0.03  # share of a component, or of a mode of time, from which the data speak of it
Square = Float[Array, "waves waves"]


def mixed(wanted: Asked, maps: Maps, time: TimeCarry, rows: Scalar) -> Asked:
    """What the maps ask of the waves, both mixed for the smallest divergence.

    `rows` is the number of rows of W that the data speak of.
    """
    root = _root_of_precision(maps, rows)
    power, columns = _power_of_waves(wanted, time)
    inner = root.T @ power @ root
    value, vectors = jnp.linalg.eigh((inner + inner.T) / 2)
    m = rows - columns
    size = 0.5 * (m + jnp.sqrt(m**2 + 4.0 * jnp.maximum(value, 0.0)))
    half = jnp.linalg.solve(root.T, vectors * jnp.sqrt(size)[None])
    values, turn = jnp.linalg.eigh(half @ half.T)
    mix = (turn * jnp.sqrt(values)[None]) @ turn.T
    field = (wanted.turn * wanted.strength[None]) @ wanted.turn.T
    new = mix @ field @ mix
    strength, turn = jnp.linalg.eigh((new + new.T) / 2)
    drive = turn.T @ mix @ wanted.turn @ wanted.drive
    return Asked(jnp.maximum(strength, 0.0), drive, turn)


def _root_of_precision(maps: Maps, rows: Scalar) -> Square:
    """Cholesky factor of R."""
    w, value, level = maps.weights, maps.space.value[:, None], maps.level[None]
    own = jnp.sqrt(value * level) * w * maps.seen
    free = rows - jnp.sum(level * value * w, axis=0)
    return jnp.linalg.cholesky(own.T @ own + jnp.diag(jnp.maximum(free, 1e-3)))


def _power_of_waves(wanted: Asked, time: TimeCarry) -> tuple[Square, Scalar]:
    """Q, and the number of modes of time that the data speak of."""
    w = 1.0 / (1.0 + wanted.strength[:, None] * time.value[None])
    heard = (jnp.min(w, axis=0) < 1.0 - SPEAKS)[None]
    means = jnp.where(heard, jnp.sqrt(time.value)[None] * w * (wanted.drive @ time.vectors), 0.0)
    power = means @ means.T + jnp.diag(jnp.sum(jnp.where(heard, w, 0.0), axis=1))
    return wanted.turn @ power @ wanted.turn.T, jnp.sum(heard).astype(w.dtype)


def rows_that_count(space: SpaceModel, theta: Variances, maps: Maps) -> Scalar:
    """Rows of W that the data speak of."""
    z = space.source.energy(maps.energies()[0])[1]
    gamma, size = space.apart(theta)[0], space.source.size
    share = gamma * z / (size * maps.seen.shape[1])
    return jnp.sum(jnp.where(share > SPEAKS, size, 0.0))
