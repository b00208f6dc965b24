"""Bugs planted on purpose: a check of calibration is worth what it catches.

`MUTANTS` names them; `gauntlet` runs a sampler through the right model and through each of them.
The settings of all: 6 components x 20 sensors x 8 samples, 1,000 data sets, 99 draws.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from esijax._types import InputError
from esijax.metrics.calibration.model import ComponentModel, component_model, nuts
from esijax.metrics.calibration.ranks import ranks
from esijax.metrics.calibration.result import Calibration

__all__ = ["MUTANTS", "ComponentModel", "component_model", "gauntlet", "halved", "nuts"]


def halved(draws: Array) -> Array:
    """Draws of a positive number whose logarithms keep their mean and half their variance.

    Parameters
    ----------
    draws : (...)
        Positive numbers.

    Returns
    -------
    (...)
        The changed draws.
    """
    logs = jnp.log(draws)
    mean = jnp.mean(logs, axis=0, keepdims=True)
    return jnp.exp(mean + jnp.sqrt(0.5) * (logs - mean))


# name -> what is changed in the model that the sampler is given; "draws" changes what it returns
MUTANTS: dict[str, dict[str, Any]] = {
    "log-determinant scaled by 0.9": {"log_det": 0.9},
    "noise scale squared": {"noise_power": 4},
    "posterior variance halved": {"draws": halved},
    "dropped prior term": {"prior": False},
    "wrong Jacobian": {"jacobian": False},
}


class _Fit(eqx.Module):
    """The sampler on a model, and its draws as `ranks` wants them.

    The log-evidence is that of the right model for truth and draws alike: two functions would
    differ on any draw, and each bug would be caught for nothing.
    """

    model: ComponentModel
    truth: ComponentModel
    sampler: Callable = eqx.field(static=True)
    draws: Callable | None = eqx.field(static=True, default=None)

    def __call__(self, key, power):
        """Draws of all hyper-parameters, and their log-evidence."""
        samples = self.sampler(self.model, key, power)
        found = {name: samples[name] for name in ("gamma", "noise")}
        if self.draws is not None:
            found = {name: self.draws(value) for name, value in found.items()}
        evidence = jax.vmap(lambda hyper: self.truth.log_evidence(hyper, power))(found)
        return {**found, "log_evidence": evidence}


class _Truth(eqx.Module):
    """Draws from the right model."""

    model: ComponentModel

    def __call__(self, key):
        """Hyper-parameters and data."""
        return self.model.simulate(key)


def gauntlet(
    sampler: Callable[..., dict[str, Array]] = nuts,
    n: int = 1000,
    *,
    key: PRNGKeyArray,
    model: ComponentModel | None = None,
    only: Iterable[str] | None = None,
    **options: Any,
) -> dict[str, Calibration]:
    """Run a sampler through the right model and through each planted bug.

    A sampler and the check are good where ``result["correct"].passes()`` and every other
    ``p_value`` is below 1e-6.

    Parameters
    ----------
    sampler : (model, key, data) -> dict of (draws, ...)
        Any sampler of a NumPyro model, in the model's own coordinates, that runs under jit.
    n : int
        Data sets for each.
    key : PRNG key
        Of the random numbers.
    model : ComponentModel, optional
        By default 6 components x 20 sensors x 8 samples.
    only : names, optional
        "correct", or those of `MUTANTS`; all by default.
    **options
        For `ranks`: thin, batch_size, threads, progress.

    Returns
    -------
    results : dict of Calibration
        "correct" first.

    Raises
    ------
    InputError
        For an unknown name.

    Examples
    --------
    >>> import jax, esijax as ej
    >>> results = ej.metrics.gauntlet(n=1000, key=jax.random.key(0))  # doctest: +SKIP
    >>> {name: result.p_value < 1e-6 for name, result in results.items()}  # doctest: +SKIP
    """
    changes: dict[str, dict[str, Any]] = {"correct": {}, **MUTANTS}
    names = list(changes if only is None else only)
    unknown = [name for name in names if name not in changes]
    if unknown:
        raise InputError(f"no mutant named {unknown[0]!r}: there are {[*changes]}.")
    truth = component_model() if model is None else model
    results = {}
    for name in names:
        change = dict(changes[name])
        draws = change.pop("draws", None)
        fit = _Fit(dataclasses.replace(truth, **change), truth, sampler, draws)
        results[name] = ranks(_Truth(truth), fit, n, key=key, **options)
    return results
