"""How data are distributed at each draw of the hyper-parameters: what densities and draws need."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from esijax._ops import data_law
from esijax.at_samples import AtSamples, at_samples
from esijax.estimate import Estimate
from esijax.models.marginals import Marginal, PooledMarginal
from esijax.models.marginals.marginal import seeded_hyper
from esijax.models.marginals.separable import SeparableMarginal
from esijax.models.posteriors.gaussian import GaussianPosterior
from esijax.models.posteriors.separable import SeparablePosterior
from esijax.noise_time import NoiseTime


class InTime(eqx.Module):
    """What takes the columns that a method worked on to the samples of the data.

    Parameters
    ----------
    rows : (columns, times) | None
        Temporal basis of the sources.
    stated : NoiseTime | None
        Of the noise.
    """

    rows: Array | None
    stated: NoiseTime | None

    def law(self, cov: Array, noise: Array) -> data_law.DataLaw:
        """Of columns that are independent, each N(0, cov), of which `noise` is."""
        if self.rows is None and self.stated is None:
            return data_law.Independent(cov, noise)
        modes = None if self.rows is None else data_law.spanned(self.rows)
        return data_law.together(cov - noise, noise, self.at_samples(modes))

    def at_samples(self, modes: Any) -> Any:
        """Modes in time of the samples, from those of columns (None: independent ones)."""
        if self.stated is None:
            return modes
        known = self.stated
        return data_law.at_their_samples(modes, known.root, known.inverse, known.log_det)


def columns_of(estimate: Estimate) -> Any:
    """The posterior as the method left it, of the columns that it worked on."""
    posterior = estimate.posterior
    return posterior.columns if isinstance(posterior, AtSamples) else posterior


def _in_time(estimate: Estimate) -> InTime:
    posterior = estimate.posterior
    turned = isinstance(posterior, AtSamples)
    rows = posterior.turn * posterior.std[None] if turned else None
    return InTime(rows, estimate.problem.noise_time)


def marginal_of(estimate: Estimate) -> Marginal | None:
    """The model of the hyper-parameters, where they were drawn; None of a point of them."""
    columns = columns_of(estimate)
    if not estimate.is_mixture:
        return None
    return columns.prior.marginal(columns.problem, columns.noise)


def law_at(marginal: Any, in_time: InTime, hyper: dict[str, Array]) -> data_law.DataLaw:
    """Of one draw of the hyper-parameters."""
    if isinstance(marginal, SeparableMarginal):
        cov, noise = marginal.cov(hyper), marginal.spatial.noise_cov(hyper)
        known = marginal.known_time
        modes = data_law.modes(cov.signal_time, cov.noise_time) if known is None else known
        return data_law.together(cov.signal, cov.noise, in_time.at_samples(modes), noise)
    return in_time.law(marginal.sigma(hyper), marginal.noise_cov(hyper))


def fixed_law(estimate: Estimate) -> data_law.DataLaw | None:
    """Of an estimate whose hyper-parameters are known; None where it has no such thing."""
    columns, in_time = columns_of(estimate), _in_time(estimate)
    if isinstance(columns, GaussianPosterior):
        eye, root = jnp.eye(len(columns.chol)), columns.noise
        return in_time.law(columns.chol @ columns.chol.T, eye if root is None else root @ root.T)
    if isinstance(columns, SeparablePosterior) and columns.mix is None and in_time.rows is None:
        pair = columns.pair
        pair = data_law.Pair(pair.space, in_time.at_samples(pair.time))
        return data_law.Together(pair, columns.noise)
    return None


def law_of_one(estimate: Estimate) -> Any:
    """The law in shapes alone, of any draw: which kind it is; None where it has no closed form."""
    marginal = marginal_of(estimate)
    if marginal is None:
        return eqx.filter_eval_shape(fixed_law, estimate)
    if not isinstance(marginal, PooledMarginal | SeparableMarginal):
        return None
    one = {name: value[0] for name, value in columns_of(estimate).hyper.items()}
    return eqx.filter_eval_shape(law_at, marginal, _in_time(estimate), one)


def has_law(estimate: Estimate) -> bool:
    """Whether the density of the data has a closed form at each draw."""
    return law_of_one(estimate) is not None


def each(
    estimate: Estimate,
    draws: dict[str, Array],
    keys: Array,
    function: Callable[[data_law.DataLaw, Array, Array], Array],
    white: Array,
) -> Array:
    """Stack ``function(law, key, white)`` over draws of the hyper-parameters, one at a time.

    `draws` are not read where there is one value of them.
    """
    marginal = marginal_of(estimate)
    if marginal is None:
        return _each_fixed(fixed_law(estimate), keys, function, white)
    return _each_drawn(marginal, _in_time(estimate), draws, keys, function, white)


@eqx.filter_jit
def _each_fixed(law, keys, function, white):
    return jax.lax.map(lambda key: function(law, key, white), keys)


@eqx.filter_jit
def _each_drawn(marginal, in_time, draws, keys, function, white):
    def one(given):
        hyper, key = given
        return function(law_at(marginal, in_time, hyper), key, white)

    return jax.lax.map(one, (draws, keys))


@eqx.filter_jit
def prior_draws(marginal: Marginal, keys: Array) -> dict[str, Array]:
    """Draw the hyper-parameters from their prior."""
    return jax.lax.map(lambda key: seeded_hyper(marginal, key), keys)


def joint_sources(
    estimate: Estimate, draws: dict[str, Array], keys: Array, locations: Array, times: Array
) -> Array:
    """One draw of the sources at each draw of the hyper-parameters, (n, ..., orients, times)."""
    marginal, posterior = marginal_of(estimate), estimate.posterior
    turned = (posterior.turn, posterior.std) if isinstance(posterior, AtSamples) else None
    more = turned, estimate.problem.noise_time, estimate.norm is not None
    scale = estimate.scale if estimate.norm is None else estimate.scale[locations]
    return scale * _joint_sources(marginal, draws, keys, locations, times, *more)


@eqx.filter_jit
def _joint_sources(marginal, draws, keys, locations, times, turned, stated, noise_units):
    def one(given):
        hyper, key = given
        member = marginal.posterior(hyper)
        member = member if turned is None else AtSamples(member, *turned)
        return at_samples(member, stated, noise_units).draw(key, 1, locations, times)[0]

    return jax.lax.map(one, (draws, keys))
