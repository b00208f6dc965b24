r"""Unrolled solvers of the sources: a few proximal steps, with what was learned in each.

.. math:: V = X - \frac{s_k}{L} A^\top (A X - Y), \qquad
   X^+_l = V_l \left(1 - t_k \frac{s_k}{L}\, \alpha w_l
   \frac{\rho_k'(\lVert V_l \rVert / \tau)}{\lVert V_l \rVert} \right)_+

A: the whitened lead field times the prior's scale, L: its largest curvature. Length s, threshold t
and the slope :math:`\rho'` of the shrinkage are learned, layer by layer; with all of them 1 it is
the proximal step of the mixed norm. The lead field is an input, the weight alpha scales with the
data, amplitudes count in :math:`\tau`, a tenth of the largest source that explains the data alone:
no weight has a unit, and any head will do.
"""

import abc
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.prox import block_norms, block_soft_threshold
from esijax._ops.safe import divide
from esijax._types import Data, Gain, Scalar, Sources
from esijax.models.networks.network import PointNetwork
from esijax.models.penalties.concave import TYPICAL
from esijax.models.penalties.learned import KNOTS
from esijax.models.penalties.least_squares import LeastSquares

N_LAYERS = 16
TRAINED_SHARE = 0.4  # of alpha_max: the weight of the mixed norm in training
Weights = dict[str, Array]


class SourceTerm(NamedTuple):
    """One recording under a mixed norm, as a layer sees it.

    Parameters
    ----------
    fit : LeastSquares
        Data term, with the weights of locations.
    bound : ()
        L, the largest curvature of the data term.
    amplitude : ()
        What amplitudes are counted in.
    """

    fit: LeastSquares
    bound: Scalar
    amplitude: Scalar

    @classmethod
    def of(cls, fit: LeastSquares) -> "SourceTerm":
        """Measure the gain and the data."""
        power = jnp.sum((fit.gain * fit.scale[None]) ** 2, axis=(0, 2))
        alone = divide(block_norms(fit.adjoint(fit.data)), power * jnp.max(fit.spread**2, axis=1))
        return cls(fit, fit.lipschitz(), TYPICAL * jnp.max(alone))

    def step(self, x: Sources, weights: Weights) -> Sources:
        """Take one learned proximal step; a plain one where all weights are zero."""
        length = jnp.exp(weights["step"]) / self.bound
        moved = x - length * self.fit.gradient(x)
        return block_soft_threshold(moved, length * self._thresholds(moved, weights))

    def _thresholds(self, x: Sources, weights: Weights) -> Float[Array, " locations"]:
        """Threshold of each location: the slope of what is learned at its amplitude."""
        knots = jnp.asarray((0.0, *KNOTS), x.dtype)
        slopes = jnp.concatenate([jnp.ones(1, x.dtype), jnp.exp(weights["slopes"])])
        slope = jnp.interp(divide(block_norms(x), self.amplitude), knots, slopes)
        return jnp.exp(weights["threshold"]) * self.fit.weight * slope


class SourceNetwork(PointNetwork):
    """What an unrolled solver of the sources does in each layer; implement `layer`.

    Attributes
    ----------
    layers : dict of arrays
        Weights, each with a leading axis over layers.
    """

    layers: eqx.AbstractVar[dict[str, Array]]
    rate: ClassVar[float] = 0.05

    @abc.abstractmethod
    def layer(self, weights: Weights, now: Sources, before: Sources, term: SourceTerm) -> Sources:
        """Next sources, from those of this layer and the one before; `weights` of this layer."""

    def solve(self, fit: LeastSquares) -> Sources:
        """All layers, from zero."""
        term = SourceTerm.of(fit)
        start = jnp.zeros((*fit.scale.shape, fit.data.shape[-1]), fit.data.dtype)

        def layer(carry, weights):
            now, before = carry
            return (self.layer(weights, now, before, term), now), None

        return jax.lax.scan(layer, (start, start), self.layers)[0][0]

    def sources(self, gain: Gain, data: Data) -> Sources:
        """Solve at the weight of training: 0.4 of the smallest at which nothing is left."""
        scale = jnp.ones(gain.shape[1:], gain.dtype)
        fit = LeastSquares(gain, scale, data, scale[:, 0], jnp.ones((1, 1), gain.dtype))
        alpha = TRAINED_SHARE * jnp.max(block_norms(fit.adjoint(data)))
        return self.solve(fit._replace(weight=alpha * fit.weight))


class ISTA(SourceNetwork):
    r"""Proximal gradient steps: length, threshold and four slopes a layer.

    All numbers are logarithms: a network of zeros is the plain solver.

    Parameters
    ----------
    key : PRNG key, optional
        Of no use here: nothing is drawn.
    n_layers : int
        How many layers.

    References
    ----------
    Gregor and LeCun 2010, https://icml.cc/Conferences/2010/papers/449.pdf; Gramfort, Kowalski and
    Hämäläinen 2012, doi:10.1088/0031-9155/57/7/1937 (the plain solver).
    """

    layers: dict[str, Array]

    def __init__(self, key: PRNGKeyArray | None = None, n_layers: int = N_LAYERS):  # noqa: ARG002
        self.layers = {
            "step": jnp.zeros(n_layers),
            "threshold": jnp.zeros(n_layers),
            "slopes": jnp.zeros((n_layers, len(KNOTS))),
        }

    def layer(self, weights, now, before, term):  # noqa: ARG002
        """One step."""
        return term.step(now, weights)


class FISTA(SourceNetwork):
    r"""The same steps from a point ahead: a learned momentum besides.

    .. math:: X^{(k+1)} = \operatorname{step}_k\!\left(X^{(k)} + m_k (X^{(k)} - X^{(k-1)})\right)

    Parameters
    ----------
    key : PRNG key, optional
        Of no use here: nothing is drawn.
    n_layers : int
        How many layers.

    References
    ----------
    Beck and Teboulle 2009, doi:10.1137/080716542 (whose momentum is the start).
    """

    layers: dict[str, Array]

    def __init__(self, key: PRNGKeyArray | None = None, n_layers: int = N_LAYERS):
        self.layers = {**ISTA(key, n_layers).layers, "momentum": jnp.asarray(_momenta(n_layers))}

    def layer(self, weights, now, before, term):
        """One step from ahead."""
        return term.step(now + weights["momentum"] * (now - before), weights)


def _momenta(n_layers: int) -> list[float]:
    """Give Nesterov's momentum of each layer, that of the first being zero."""
    out, last = [0.0], 1.0
    for _ in range(n_layers - 1):
        grown = (1 + (1 + 4 * last**2) ** 0.5) / 2
        out.append((last - 1) / grown)
        last = grown
    return out
