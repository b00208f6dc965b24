"""Checks of what `solve` is given, before anything is computed."""

import functools
import warnings

import equinox as eqx
import jax

from esijax._types import EsijaxWarning, InputError
from esijax.estimate import Estimate
from esijax.inference.method import Method
from esijax.models.noise import Noise, Robust, White
from esijax.models.penalties import Penalty
from esijax.models.temporal import TemporalBasis
from esijax.problem import Problem


def _check_noise(method: Method, noise: Noise | Robust | None) -> None:
    """Raise InputError for noise that the method does not take."""
    if isinstance(noise, Robust):
        if not method.takes_robust:
            raise InputError(
                f"{type(method).__name__} does not take {type(noise).__name__} noise: "
                "esijax.inference.MAP with a penalty does."
            )
        return
    if not (method.learns_noise or noise is None or isinstance(noise, White)):
        raise InputError(
            f"{type(method).__name__} takes the noise covariance as it is: noise=None, or a method "
            "that learns the noise (EM, Evidence, Laplace, SVI, NUTS)."
        )


def _check_noise_time(problem: Problem, model, noise: Noise | Robust | None) -> None:
    """Refuse what would be another model of data that are whitened in time."""
    if problem.noise_time is None:
        return
    out = "take problem.with_noise_time(None), or decimate and bin so that samples are independent"
    if isinstance(model, Penalty) and not model.whole_times:
        raise InputError(
            f"{type(model).__name__} looks at single times (or has weights of them), and "
            "noise_time mixes times: take a norm over all times of a location (L21, Lrq with "
            f"r=2), or {out}."
        )
    if isinstance(noise, Robust):
        raise InputError(
            f"{type(noise).__name__} looks for artefacts at single times, and noise_time mixes "
            f"times: take noise=None, or {out}."
        )


def check_arguments(problem, model, method, noise, init, key) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be an esijax Problem (from_mne, from_arrays), got {type(problem)}."
        )
    if not isinstance(method, Method):
        raise TypeError(f"method must be one of esijax.inference, e.g. Linear(), got {method!r}.")
    if model is not None and not isinstance(model, eqx.Module):
        raise TypeError(
            f"model must be one of esijax.models, e.g. MinimumNorm(), or None, got {model!r}."
        )
    if noise is not None and not isinstance(noise, Noise | Robust):
        raise TypeError(f"noise must be one of esijax.models.noise or None, got {noise!r}.")
    _check_noise(method, noise)
    _check_noise_time(problem, model, noise)
    if isinstance(noise, Robust) and isinstance(model, TemporalBasis):
        raise InputError(
            f"{type(noise).__name__} looks for artefacts at single times, and a temporal basis "
            "mixes times: take noise=None, or the penalty without a basis."
        )
    _check_same_sources(problem, init)
    if method.needs_key and key is None:
        raise InputError(
            f"{type(method).__name__} draws random numbers: pass key=jax.random.key(0)."
        )
    _check_precision(problem)


def _check_same_sources(problem: Problem, init: Estimate | None) -> None:
    """Refuse an earlier estimate of other sources: its variances belong to other places."""
    if init is None:
        return
    if not isinstance(init, Estimate):
        raise TypeError(f"init must be an earlier Estimate or None, got {type(init).__name__}.")
    has, wants = ((p.n_locations, p.n_orients) for p in (init.problem, problem))
    if has != wants:
        raise InputError(
            f"init is an estimate of {has[0]} locations x {has[1]} orients, the problem has "
            f"{wants[0]} x {wants[1]}: give an estimate of the same sources, or none."
        )


def _check_precision(problem: Problem) -> None:
    now, made = jax.numpy.zeros(()).dtype, problem.gain.dtype
    if made != now:
        raise InputError(
            f"the problem was made in {made} and JAX computes in {now} now: set jax_enable_x64 "
            "first and make the problem after that."
        )
    if made == "float32":
        _warn_single_precision()


@functools.cache
def _warn_single_precision() -> None:
    warnings.warn(
        "esijax runs in float32 (expect 1e-3 accuracy): call "
        "jax.config.update('jax_enable_x64', True) before making the problem.",
        EsijaxWarning,
        stacklevel=4,
    )
