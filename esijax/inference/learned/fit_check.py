r"""Whether a recording fits the covariance that a network's variances give it.

.. math:: \nu = \frac{\operatorname{tr} \Sigma^{-1} S \Sigma^{-1}}{\operatorname{tr} \Sigma^{-1}},
          \qquad
          u_c = \frac{(W^\top \Sigma^{-1} S \Sigma^{-1} W)_{cc}}{(W^\top \Sigma^{-1} W)_{cc}}

S is the covariance of the whitened data. Both are one if the model holds: :math:`\nu` is the
variance of the noise that the residuals show over the one that was given, :math:`u_c` the mean
square of a channel's error, predicted from all other channels, over what it should be.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Float

from esijax._types import Scalar
from esijax.estimate import Diagnostics
from esijax.inference.collapsed.em._pooled import PooledEMModel
from esijax.models.marginals import LinearMarginal
from esijax.models.networks.variances import PerLocation, mm_step

N_CHECK = 3  # updates of EM after the network's, to see what they add to the evidence
NOISE_SLACK = 0.05  # of log nu: the layers are not the optimum
NOISE_STDS = 3.0
CHANNEL_LEVEL = 0.01  # false alarms over all channels together
CHANNEL_SLACK = 1.5  # of u: sources that the map has not


class FitCheck(Diagnostics):
    """What the network's variances leave of the evidence and of the data.

    Parameters
    ----------
    evidence : ()
        Log evidence at the network's variances, before they are multiplied by its constant.
    after : ()
        After three further updates of EM.
    scale : ()
        That constant.
    noise_ratio : ()
        Variance of the noise in the residuals over the one that was given.
    channel_ratio : (channels,)
        Mean square of a channel's error, predicted from the others, over what it should be.
    n_samples : int
    rank : int
    ch_names : tuple of str
        Empty where they have none.
    """

    evidence: Scalar
    after: Scalar
    scale: Scalar
    noise_ratio: Scalar
    channel_ratio: Float[Array, " channels"]
    n_samples: int = eqx.field(static=True)
    rank: int = eqx.field(static=True)
    ch_names: tuple[str, ...] = eqx.field(static=True, default=())

    def with_ch_names(self, ch_names: tuple[str, ...]) -> "FitCheck":
        """Name channels in the verdict."""
        return dataclasses.replace(self, ch_names=ch_names)

    @property
    def noise_limit(self) -> float:
        """Largest ratio of noise variances that passes."""
        spread = np.sqrt(2.0 / (self.rank * self.n_samples))
        return float(np.exp(NOISE_SLACK + NOISE_STDS * spread))

    @property
    def channel_limit(self) -> float:
        """Largest ratio of a channel that passes."""
        level = CHANNEL_LEVEL / len(self.channel_ratio)
        return float(scipy.stats.chi2.isf(level, self.n_samples) / self.n_samples + CHANNEL_SLACK)

    @property
    def evidence_note(self) -> str:
        """The evidence is that of one value of the variances, which no data have fitted."""
        more = float(self.after) - float(self.evidence)
        return f"at the variances of a network: {N_CHECK} updates of EM add {more:.1f}"

    def _name(self, channel: int) -> str:
        return self.ch_names[channel] if self.ch_names else f"channel {channel}"

    def verdict(self) -> dict[str, Any]:
        """Numbers by name."""
        worst = int(np.argmax(self.channel_ratio))
        return {
            "evidence_unscaled": float(self.evidence),
            "evidence_after_em": float(self.after),
            "scale": float(self.scale),
            "noise_ratio": float(self.noise_ratio),
            "noise_limit": self.noise_limit,
            "worst_channel": self._name(worst),
            "channel_ratio": float(self.channel_ratio[worst]),
            "channel_limit": self.channel_limit,
        }

    def doubts(self) -> tuple[str, ...]:
        """Name channels and noise that do not fit."""
        ratio = np.asarray(self.channel_ratio)
        loud = np.flatnonzero(ratio > self.channel_limit)
        found = []
        if 0 < len(loud) <= max(3, len(ratio) // 20):
            ordered = loud[np.argsort(-ratio[loud])].tolist()
            named = ", ".join(self._name(i) for i in ordered)
            found.append(
                f"{named}: the error of a channel predicted from the others has "
                f"{ratio.max():.1f} times its variance (up to {self.channel_limit:.1f} is chance): "
                "an artefact, a bad channel, or another head"
            )
        elif len(loud) or float(self.noise_ratio) > self.noise_limit:
            found.append(
                f"the residuals have {float(self.noise_ratio):.2f} times the variance of the "
                f"noise (up to {self.noise_limit:.2f} is chance): the noise covariance is too "
                "small, or the lead field is not that of this head"
            )
        return tuple(found)


def fit_check(
    target: LinearMarginal, model: PooledEMModel, log_gamma: PerLocation, scale: Scalar
) -> FitCheck:
    """Evidence and residuals at the logarithms of the variances.

    Parameters
    ----------
    target : LinearMarginal
    model : PooledEMModel
        Of the target, with the update "mm".
    log_gamma : (locations,)
    scale : ()
        Constant by which the variances are multiplied afterwards.
    """
    filt = first = model.filter(jnp.exp(log_gamma))
    more = log_gamma
    for _ in range(N_CHECK):
        more = more + mm_step(*model.energy(filt))
        filt = model.filter(jnp.exp(more))
    left, inverse, whitener = first.sandwich(), first.inverse, target.problem.whitener.matrix
    predicted = jnp.sum(whitener * (left @ whitener), axis=0)
    expected = jnp.sum(whitener * (inverse @ whitener), axis=0)
    return FitCheck(
        model.log_density(jnp.exp(log_gamma), first),
        model.log_density(jnp.exp(more), filt),
        scale,
        jnp.trace(left) / jnp.trace(inverse),
        predicted / jnp.where(expected > 0, expected, 1.0),
        int(np.prod(target.problem.data.shape[:-2]) * target.problem.n_times),
        target.problem.rank,
    )
