"""Adaptation to recordings without truth: steps and last layer move, and a guard watches."""

import functools
import json
import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm.auto import tqdm

from esijax._types import EsijaxWarning, InputError, check_positive, prng_key
from esijax.learn.inputs import inputs_of
from esijax.learn.without_truth import (
    LOSSES,
    Recording,
    channel_basis,
    channels_loss,
    trials_loss,
)
from esijax.models.networks import Trained, VarianceNetwork, shipped_network
from esijax.problem import Problem

GUARD = 0.15  # share of the dimensions and of the trials that no step sees
HELD_OUT = 0.2  # share of what is left that a step predicts
CLIP = 1.0
LEAST_DIMS = 8
LEAST_TRIALS = 8


def adapt(
    network: Any,
    problems: Sequence[Problem],
    *,
    key: Any,
    by: str = "channels",
    steps: int = 60,
    rate: float = 0.003,
    progress: bool = True,
) -> Trained:
    r"""Adapt a network of variances to recordings, without labels.

    .. math:: \min_w \; - \log p(y_H \mid y_K, \hat\gamma_w(Y_K))

    with channels H held out, others in each step. Only the lengths of the steps and the last layer
    move. Channels and trials that no step has seen must become more likely; else the weights are
    left as they were, with a warning.

    Parameters
    ----------
    network : Trained | VarianceNetwork | None
        None: the one that comes with esijax.
    problems : sequence of Problem
        Recordings, of one head or of several; averages or trials.
    key : PRNG key | int
    by : "channels" | "trials" | "sure" | "evidence"
        What is lowered: minus the log density of held-out channels, of held-out trials, Stein's
        estimate of the squared error of the noiseless data, or minus the log evidence.
    steps : int
    rate : float
        Learning rate of Adam.
    progress : bool

    Returns
    -------
    trained : Trained
        ``trained.about["adapted"]`` says whether the guard passed (`kept`) and gives the log
        density of what no step has seen, per dimension and sample, before and after.

    Raises
    ------
    InputError
        For other networks, an unknown loss, recordings of fewer than 8 dimensions, or
        ``by="trials"`` without trials.

    References
    ----------
    Metzler et al. 2018, doi:10.48550/arXiv.1805.10531 (learning by SURE); Batson and Royer 2019,
    doi:10.48550/arXiv.1901.11365 (learning from held-out measurements).

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain, positions = rng.standard_normal((16, 12)), 0.03 * rng.standard_normal((12, 3))
    >>> data = 5 * gain[:, [4]] + rng.standard_normal((16, 20))
    >>> problem = ej.from_arrays(gain, data, noise_cov=1.0, positions=positions)
    >>> net = ej.learn.adapt(None, [problem], key=0, steps=2, progress=False)  # doctest: +SKIP
    >>> net.about["adapted"]["kept"]  # doctest: +SKIP
    True
    """
    trained = _variance_network(network)
    _check(problems, by, steps, rate)
    k_guard, k_steps = jax.random.split(prng_key(key))
    rng = np.random.default_rng(jax.random.key_data(k_guard).astype(np.uint32).tolist())
    heard = [_Heard(problem, by, rng) for problem in problems]
    start = jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), trained.network)
    before = _guarded(start, heard)
    moved, fixed = eqx.partition(start, _moving(start))
    optimiser = _adam(float(rate))
    state = optimiser.init(moved)
    for step in tqdm(range(steps), "adapting", disable=not progress, unit="step"):
        one = heard[step % len(heard)]
        given = one.drawn(by, rng, jax.random.fold_in(k_steps, step))
        new, state, value = _update(optimiser, moved, fixed, state, by, one.recording, *given)
        if not bool(jnp.isfinite(value)):
            break  # the guard judges what there is
        moved = new
    after = _guarded(eqx.combine(moved, fixed), heard)
    return _judged(trained, moved, before, after, by)


class _Heard:
    """A recording, with the channels and trials that no step sees."""

    def __init__(self, problem: Problem, by: str, rng: np.random.Generator):
        data = np.asarray(problem.data, np.float32)
        trials = data if data.ndim == 3 else data[None]
        n_guard = max(1, round(GUARD * len(trials))) if len(trials) >= LEAST_TRIALS else 0
        self.guards_trials = n_guard > 0
        order = rng.permutation(len(trials))
        unseen, seen = trials[order[:n_guard]], trials[order[n_guard:]]
        apart = seen[: len(seen) // 2] if by == "trials" else seen[:0]
        used = seen[len(apart) :]
        inputs = inputs_of(problem, problem.rank, distance=False)
        cov = _cov(used)
        self.recording = Recording(
            inputs,
            jnp.asarray(_columns(used)),
            cov,
            _cov(apart) if len(apart) else cov,
        )
        self.unseen = eqx.tree_at(
            lambda r: r.cov_apart, self.recording, _cov(unseen) if n_guard else cov
        )
        self.colorer = np.asarray(problem.whitener.colorer)
        self.n_known = problem.rank - max(1, round(GUARD * problem.rank))
        self.known = rng.permutation(len(self.colorer))[: self.n_known]
        self.guard_basis = jnp.asarray(channel_basis(self.colorer, self.known), jnp.float32)

    def drawn(self, by: str, rng: np.random.Generator, key: Any) -> tuple[Any, ...]:
        """What the loss is given besides: channels to hold out, a key, or nothing."""
        within = np.asarray(self.guard_basis)[:, : self.n_known]
        if by == "channels":
            n_kept = self.n_known - max(1, round(HELD_OUT * self.n_known))
            some = rng.choice(self.known, n_kept, replace=False)
            return jnp.asarray(channel_basis(self.colorer, some, within), jnp.float32), n_kept
        return (jnp.asarray(within), key) if by == "sure" else (jnp.asarray(within),)


def _columns(trials: np.ndarray) -> np.ndarray:
    return np.moveaxis(trials, 1, 0).reshape(trials.shape[1], -1)


def _cov(trials: np.ndarray) -> jax.Array:
    columns = _columns(trials)
    return jnp.asarray(columns @ columns.T / columns.shape[1])


def _confined(recording: Recording, basis: Any) -> Recording:
    """Recording in a subspace: the dimensions of the guard are not there."""
    gain = jnp.tensordot(basis.T, recording.inputs.gain, 1)
    return Recording(
        eqx.tree_at(lambda i: i.gain, recording.inputs, gain),
        basis.T @ recording.data,
        basis.T @ recording.cov @ basis,
        basis.T @ recording.cov_apart @ basis,
    )


@functools.cache  # one object for all calls: another one would compile the steps anew
def _adam(rate: float) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(rate))


@eqx.filter_jit
def _update(optimiser, moved, fixed, state, by: str, recording: Recording, basis, *given):
    def objective(moved):
        network = eqx.combine(moved, fixed)
        if by == "channels":
            return channels_loss(network, recording, basis, *given)
        return LOSSES[by](network, _confined(recording, basis), *given)

    value, gradient = eqx.filter_value_and_grad(objective)(moved)
    change, state = optimiser.update(gradient, state)
    return eqx.apply_updates(moved, change), state, value


def _guarded(network: VarianceNetwork, heard: Sequence[_Heard]) -> dict[str, float]:
    """Log density of what no step sees: of channels given the others, and of trials."""
    channels = [
        -float(_channels_density(network, one.recording, one.guard_basis, one.n_known))
        for one in heard
    ]
    trials = [-float(_trials_density(network, one.unseen)) for one in heard if one.guards_trials]
    found = {"channels": float(np.mean(channels))}
    return found | ({"trials": float(np.mean(trials))} if trials else {})


_channels_density = eqx.filter_jit(channels_loss)
_trials_density = eqx.filter_jit(trials_loss)


def _judged(trained: Trained, moved: Any, before: dict, after: dict, by: str) -> Trained:
    """The new weights if all that no step has seen became more likely; else the old ones."""
    kept = all(np.isfinite(after[k]) and after[k] > before[k] for k in before)
    if not kept:
        told = ", ".join(f"{k} {before[k]:.4f} -> {after[k]:.4f}" for k in before)
        warnings.warn(
            f"adapt: what no step has seen did not become more likely ({told}, log density): the "
            "weights are left as they were.",
            EsijaxWarning,
            stacklevel=3,
        )
    about = trained.about | {"adapted": {"by": by, "kept": kept, "before": before, "after": after}}
    network = trained.network
    if kept:
        fixed = eqx.filter(network, _moving(network), inverse=True)
        network = eqx.combine(jax.tree.map(lambda w: jnp.asarray(w, float), moved), fixed)
    return Trained(network, json.dumps(about))


def _moving(network: Any) -> Any:
    """Which leaves adapt: some of the weights, never the constant."""
    names = network.adapted or tuple(network.layers)
    none = jax.tree.map(lambda _: False, network)
    return eqx.tree_at(lambda n: n.layers, none, {k: k in names for k in network.layers})


def _variance_network(network: Any) -> Trained:
    if network is None:
        return shipped_network()
    kind = getattr(network, "network", network)
    if not isinstance(kind, VarianceNetwork):
        raise InputError(
            "adapt takes a network of variances, which gives data a density: "
            f"{type(kind).__name__} gives none."
        )
    return network if isinstance(network, Trained) else Trained(kind)


def _check(problems: Sequence[Problem], by: str, steps: int, rate: float) -> None:
    if by not in LOSSES:
        raise InputError(f"by must be one of {list(LOSSES)}, got {by!r}.")
    if not (isinstance(steps, int) and steps >= 1):
        raise InputError(f"steps must be a positive whole number, got {steps!r}.")
    check_positive(rate, "rate")
    if isinstance(problems, Problem) or not problems:
        raise InputError("adapt takes a list of problems, at least one.")
    for problem in problems:
        if problem.rank < LEAST_DIMS:
            raise InputError(
                f"adapt needs recordings of {LEAST_DIMS} dimensions and more, to hold some out: "
                f"this one has rank {problem.rank}."
            )
        if by == "trials" and (problem.data.ndim != 3 or len(problem.data) < LEAST_TRIALS):
            raise InputError(
                f'by="trials" needs a problem of {LEAST_TRIALS} trials and more: make it of epochs.'
            )
