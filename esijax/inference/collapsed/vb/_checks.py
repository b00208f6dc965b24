"""What variational Bayes refuses, and what it says to do instead."""

import equinox as eqx

from esijax._types import InputError
from esijax.inference.collapsed.em._hyperprior import check_bounded
from esijax.inference.collapsed.vb._model import spatial_marginal
from esijax.inference.method import Setup
from esijax.models.marginals import LinearMarginal
from esijax.models.noise import InTime, LinearNoise, White
from esijax.models.priors.linear import LinearPrior
from esijax.models.temporal import TemporalBasis, Waves


def check_waves(setup: Setup) -> None:
    """Take waves that are learned, priors and noise that are linear in independent variances."""
    model, noise = setup.model, setup.noise
    if not isinstance(model, TemporalBasis) or not isinstance(model.basis, Waves):
        raise InputError(
            "VB computes waves that are learned, TemporalBasis(prior, Waves(k, time)), and this is "
            f"{type(model).__name__}: use inference.EM, Evidence, Laplace, SVI or NUTS."
        )
    name = type(model.model).__name__
    if not isinstance(model.model, LinearPrior):
        raise InputError(
            "VB needs a prior in space that is linear in its variances (ARD, Components, StudentT, "
            f"Sum, your own LinearPrior), and {name} is not: use Components(['iid']) for minimum "
            "norm, or Kronecker with inference.Evidence."
        )
    if isinstance(noise, InTime):
        raise InputError(
            "VB takes noise whose samples are independent, and noise.InTime has a covariance in "
            "time: state it with from_mne(..., noise_time='auto'), or use Kronecker."
        )
    if not (noise is None or isinstance(noise, White | LinearNoise)):
        raise InputError(
            f"VB updates variances of the noise, and the covariance of {type(noise).__name__} is "
            "not linear in any: use noise.Diagonal, PerType or Scalar."
        )
    _check_densities(setup, name)


def _check_densities(setup: Setup, name: str) -> None:
    """Refuse variances that are tied to each other, or whose density is unbounded."""

    def tied(setup: Setup) -> bool:
        marginal = spatial_marginal(setup)
        return isinstance(marginal, LinearMarginal) and marginal.distributions() is None

    sizes = eqx.filter_eval_shape(lambda s: spatial_marginal(s).sizes, setup)
    rest = setup.model.rest_variance.distributions(1, sizes)
    if eqx.filter_eval_shape(tied, setup) or rest is None:
        raise InputError(
            f"VB updates variances that are independent of each other, and the hyper-prior of "
            f"{name}, its noise or its remainder ties them together: use a numpyro distribution."
        )
    check_bounded(setup.model.model.distributions(sizes))
    if setup.model.rest is not None:
        check_bounded(rest)
    if isinstance(setup.noise, LinearNoise):
        check_bounded(setup.noise.distributions() or ())
