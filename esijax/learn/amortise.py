"""Train a posterior of the hyper-parameters of one problem on simulations of prior and noise."""

import dataclasses
import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._types import InputError, prng_key
from esijax.estimate import Estimate
from esijax.inference.learned._scoring import (
    correction_of,
    evidence_derivatives,
    features_of,
    landing_of,
    largest_pattern,
    student_loss,
    unravel_of,
)
from esijax.inference.learned.amortised import check_amortisable, digests
from esijax.inference.method import Method, Setup, State
from esijax.inference.solve import prepare_inputs
from esijax.learn.fit import fitted
from esijax.learn.hyper_simulations import draw_hyper_data, for_each, given_data, n_samples
from esijax.models.networks.amortised import (
    AmortisedPosterior,
    Scaled,
    compressed,
    in_precision,
)
from esijax.problem import Problem

N_PLACES = 12  # where derivatives of the evidence are features
FAINT = 0.02  # share of the simulations whose feature is too small for its logarithm
WIDTH_OF_START, WIDTH_OF_CORRECTION = 96, 64
RATE_OF_START, RATE_OF_CORRECTION = 2e-3, 5e-4
SHARE = 0.5  # of the simulations, for the correction: each costs three times the steps
FALSE_ALARMS = 0.005  # of the largest pattern over the sensors
FEWEST = 100  # simulations


def amortise(
    problem: Problem,
    prior: Any,
    noise: Any = None,
    *,
    key: Any,
    simulations: int = 8000,
    steps: int = 1500,
    progress: bool = True,
) -> AmortisedPosterior:
    r"""Train a posterior of the hyper-parameters for any data of one problem.

    .. math::
       \theta_i \sim p(\theta), \quad Y_i \sim p(Y \mid \theta_i), \qquad
       \text{minimise } \sum_i \lVert z_i - f(Y_i) \rVert^2
       \text{ and then } -\sum_i \log t_8\!\left( L_i^\top (z_i - \hat z_i);\, a_i, b_i \right)

    with z the standardised unconstrained hyper-parameters, f the network that says where to begin,
    :math:`\hat z` where two steps of Fisher scoring on the exact evidence end from there, L the
    root of the information, a and b places and log scales from the second network.

    Parameters
    ----------
    problem : Problem
        Lead field, noise covariance and number of samples; its data are not used.
    prior : prior
        Of up to 50 hyper-parameters that can be drawn from.
    noise : noise model, optional
    key : PRNG key | int
    simulations : int
        Data sets that are drawn for the first network, and half as many for the second.
    steps : int
        Updates of each network.
    progress : bool
        Show progress bars, from the third second on.

    Returns
    -------
    posterior : AmortisedPosterior
        For `ej.inference.Amortised`. ``posterior.about`` has the losses on simulations held out:
        of the two networks, each beside that of no network.

    Raises
    ------
    InputError
        For a flat hyper-prior or a rule that looks at the data, too many hyper-parameters, numbers
        out of range.

    Notes
    -----
    Half a minute for 30 channels and 9 hyper-parameters. Where the second network does not lower
    the loss on the simulations held out, it is left out: two exact steps remain.

    References
    ----------
    Cranmer, Brehmer and Louppe 2020, doi:10.1073/pnas.1912789117 (amortised inference); Vehtari et
    al. 2024, https://jmlr.org/papers/v25/19-556.html (weights).

    Examples
    --------
    >>> import numpy as np, esijax as ej, numpyro.distributions as dist
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :9], noise_cov=1.0)
    >>> prior = ej.models.Components([np.arange(6), np.arange(6, 12)], dist.LogNormal(0.0, 1.0))
    >>> q = ej.learn.amortise(problem, prior, key=0, simulations=500, steps=100, progress=False)
    >>> q.about["start_loss"] < q.about["start_loss_without"]
    True
    """
    setup = _checked(problem, prior, noise, simulations, steps)
    keys = jax.random.split(prng_key(key), 5)
    q = dataclasses.replace(_untrained(setup, keys[0]), trained_for=tuple(digests(setup).items()))
    options = {"steps": steps, "progress": progress}
    # where to begin
    truths, energies = for_each(
        _truth_and_energies, (setup, q), jax.random.split(keys[1], simulations),
        what="simulations", progress=progress,
    )  # fmt: skip
    unit = jnp.maximum(jnp.quantile(jnp.abs(energies), FAINT, axis=0), jnp.finfo(float).tiny)
    q = dataclasses.replace(
        q, unit=unit, centre=jnp.mean(truths, axis=0), spread=jnp.std(truths, axis=0)
    )
    features = jax.vmap(lambda e: compressed(e, unit))(energies)
    truths = (truths - q.centre[None]) / q.spread[None]
    start = Scaled(features, truths.shape[1], WIDTH_OF_START, keys[2])
    start, losses = _fit(start, _start_loss, features, truths, keys[2], RATE_OF_START, **options)
    about = {"simulations": simulations, **_named("start", losses)}
    q = dataclasses.replace(q, start=start)
    # what the steps from there leave
    n_landings = max(FEWEST, int(SHARE * simulations))
    white, features, patterns = for_each(
        _white_and_landing, (setup, q), jax.random.split(keys[3], n_landings),
        what="exact steps", progress=progress,
    )  # fmt: skip
    correction = Scaled(features, 3 * white.shape[1], WIDTH_OF_CORRECTION, keys[4])
    correction, losses = _fit(
        correction, _correction_loss, features, white, keys[4], RATE_OF_CORRECTION, **options
    )
    limit = jnp.quantile(patterns, 1.0 - FALSE_ALARMS)
    about |= _named("correction", losses)
    return dataclasses.replace(
        q, correction=correction, pattern_limit=limit, about_json=json.dumps(about)
    )


class Amortise(Method):
    """Checks of what may be trained for, before there is an `ej.inference.Amortised`."""

    learns_noise = True

    def check(self, setup: Setup) -> None:
        """Refuse what cannot be simulated from."""
        check_amortisable(setup)

    def finish(self, state: State) -> Estimate:
        """Nothing is solved."""
        raise NotImplementedError


def _checked(problem, prior, noise, simulations, steps) -> Setup:
    """Prior and noise prepared for the problem; InputError where they cannot be simulated from."""
    rule = getattr(prior, "lambda2", None)
    if isinstance(rule, str):
        raise InputError(
            f"lambda2 must be a number here: {rule!r} looks at the data, and is no prior to "
            "simulate from."
        )
    for name, value, least in (("simulations", simulations, FEWEST), ("steps", steps, 1)):
        if not (isinstance(value, int) and value >= least):
            raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    return prepare_inputs(problem, prior, Amortise(), noise=noise)[1]


@eqx.filter_jit
def _untrained(setup: Setup, key: Any) -> AmortisedPosterior:
    """Places where the evidence is looked at; networks that say nothing."""
    places = jax.lax.map(lambda k: draw_hyper_data(setup, k)[0], jax.random.split(key, N_PLACES))
    target = given_data(setup, jnp.zeros((setup.problem.rank, n_samples(setup))))
    silent = evidence_derivatives(target, unravel_of(target), places)
    n = places.shape[1]
    none = Scaled(jnp.zeros((2, 1)), 1, 1, key)
    named = (places, silent, jnp.ones(places.size), jnp.zeros(n), jnp.ones(n), none, none)
    return AmortisedPosterior(*named, jnp.zeros(()), ())


def _truth_and_energies(given: Any, key: Any) -> tuple[Array, Array]:
    """Hyper-parameters, and what data of theirs add to the derivatives of the log-evidence."""
    setup, q = given
    truth, target = draw_hyper_data(setup, key)
    derivatives = evidence_derivatives(target, unravel_of(target), q.places)
    return truth, jnp.ravel(derivatives - q.silent)


def _white_and_landing(given: Any, key: Any) -> tuple[Array, Array, Array]:
    """Whitened distance of the truth from where the steps end, features and pattern there."""
    setup, q = given
    truth, target = draw_hyper_data(setup, key)
    unravel = unravel_of(target)
    landing = landing_of(q, target, unravel, features_of(q, target, unravel))
    white = landing.whitened((truth - q.centre) / q.spread)
    return white, landing.features(), largest_pattern(q, target, unravel, landing.place)


def _start_loss(network: Any, features: Array, truth: Array) -> Float[Array, ""]:
    return jnp.mean((network(features) - truth) ** 2)


def _correction_loss(network: Any, features: Array, white: Array) -> Float[Array, ""]:
    return student_loss(*correction_of(network, features), white)


def _fit(network: Scaled, loss, features, targets, key, rate, *, steps, progress):
    """Fit in single precision; the network, and its loss beside that of none."""
    what = loss.__name__.strip("_").replace("_loss", " network")
    pairs = in_precision((network, features, targets), jnp.float32)
    options = {"steps": steps, "rate": rate, "key": key, "what": what, "progress": progress}
    network, *losses = fitted(pairs[0], loss, *pairs[1:], **options)
    return network, losses


def _named(what: str, losses: list[float]) -> dict[str, float]:
    return {f"{what}_loss": losses[0], f"{what}_loss_without": losses[1]}
