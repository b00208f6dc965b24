"""Training of a network: data drawn on the fly, Adam, the best by held-out data."""

import functools
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from tqdm.auto import tqdm

from esijax._types import prng_key
from esijax.inference._checkpoint import Checkpoint
from esijax.learn.calibrate import fitted_scale
from esijax.learn.inputs import Examples, Inputs, draw_examples, in_float32, inputs_of
from esijax.learn.loss import loss
from esijax.learn.task import Task
from esijax.models.networks import Network, Trained, VarianceNetwork

WARM_UP = 20  # steps
CLIP = 1.0  # norm of a gradient
AVERAGE = 0.97  # memory of the running mean of the weights
CHECKPOINT = "training.ckpt"  # in the folder of a training


class Carry(eqx.Module):
    """What a step of training replaces.

    Parameters
    ----------
    layers : dict
        Weights.
    average : dict
        Their running mean: what is scored and kept.
    best : dict
        The mean of the best score so far.
    optimiser : optax state
    step : ()
    best_score : ()
    since_best : ()
        Scores since then.
    rate : ()
        Share of the learning rate: halved once, after a loss that was not finite.
    """

    layers: dict[str, Array]
    average: dict[str, Array]
    best: dict[str, Array]
    optimiser: Any
    step: Int[Array, ""]
    best_score: Float[Array, ""]
    since_best: Int[Array, ""]
    rate: Float[Array, ""]


class Training(eqx.Module):
    """A carry, in the form that checkpoints take."""

    carry: Carry


def train(
    task: Task, *, key: Any, checkpoint: str | Path | None = None, progress: bool = True
) -> Trained:
    """Train a network on simulated data.

    Parameters
    ----------
    task : Task
    key : PRNG key | int
    checkpoint : path, optional
        Folder, made where there is none: training goes on from there, bitwise, in any process.
    progress : bool

    Returns
    -------
    trained : Trained
        Where it has variances, with their constant fitted on held-out data.

    Raises
    ------
    InputError
        For a checkpoint of another task, or of another version.

    Examples
    --------
    >>> trained = ej.learn.train(ej.learn.Task(scenarios), key=0)  # doctest: +SKIP
    >>> ej.learn.save(trained, "mine.npz")  # doctest: +SKIP
    """
    key = prng_key(key)
    store = None
    if checkpoint is not None:
        Path(checkpoint).mkdir(parents=True, exist_ok=True)
        store = Checkpoint(Path(checkpoint) / CHECKPOINT, task, key)
    k_network, k_train, k_held_out = jax.random.split(key, 3)
    data = TrainingData(task, k_held_out, progress)
    network = in_float32(task.start(k_network))
    state = Training(_first(task, network))
    if store is not None:
        state = store.restore(state)
    with tqdm(
        total=task.steps, initial=int(state.carry.step), disable=not progress, unit="step"
    ) as bar:
        while not _ended(task, state.carry):
            carry, value = _step(task, network, data, state.carry, k_train)
            if int(carry.step) % task.score_every == 0 or int(carry.step) == task.steps:
                carry = _scored(task, network, data, carry)
                if store is not None:
                    store.store(Training(carry))
            state = Training(carry)
            bar.update()
            bar.set_postfix(loss=f"{float(value):.3f}", best=f"{float(carry.best_score):.3f}")
    best = eqx.tree_at(lambda n: n.layers, network, state.carry.best)
    if isinstance(best, VarianceNetwork):
        return fitted_scale(best, data.inputs, data.held_out)
    return Trained(best)


class TrainingData:
    """Inputs of all scenarios, and their held-out examples."""

    def __init__(self, task: Task, key: Any, progress: bool = False):
        self.scenarios = task.scenarios
        made: dict[int, Inputs] = {}
        for s in task.scenarios:  # scenarios that share a problem share what is read of it
            if id(s.problem) not in made:
                made[id(s.problem)] = inputs_of(s.problem, task.rank)
        self.inputs = [made[id(s.problem)] for s in task.scenarios]
        self.near = [s.head.nearest(s.problem) for s in task.scenarios]
        keys = jax.random.split(key, len(self.scenarios))
        self.held_out = [
            self.draw(i, jax.random.split(keys[i], task.held_out))
            for i in tqdm(range(len(keys)), "held-out data", disable=not progress)
        ]

    def draw(self, which: int, keys: Any) -> Examples:
        """Simulate data sets of one scenario."""
        return draw_examples(self.scenarios[which], self.inputs[which], self.near[which], keys)


def _first(task: Task, network: Network) -> Carry:
    layers = network.layers
    return Carry(
        layers,
        layers,
        layers,
        _optimiser(task).init(layers),
        jnp.asarray(0),
        jnp.asarray(jnp.inf, jnp.float32),
        jnp.asarray(0),
        jnp.asarray(1.0, jnp.float32),
    )


def _ended(task: Task, carry: Carry) -> bool:
    return int(carry.step) >= task.steps or int(carry.since_best) >= task.patience


def _optimiser(task: Task) -> optax.GradientTransformation:
    return _adam(task.rate, task.steps)


@functools.cache  # one object for all steps: another one would compile them anew
def _adam(rate: float, steps: int) -> optax.GradientTransformation:
    warm_up = min(WARM_UP, max(steps // 4, 1))
    schedule = optax.warmup_cosine_decay_schedule(
        0.1 * rate, rate, warm_up, max(steps, warm_up + 1), 0.02 * rate
    )
    return optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(schedule))


def _step(task: Task, network, data: TrainingData, carry: Carry, key: Any) -> tuple[Carry, Any]:
    """Draw data of one scenario, and move the weights."""
    k_which, k_draw = jax.random.split(jax.random.fold_in(key, carry.step))
    which = int(jax.random.randint(k_which, (), 0, len(data.scenarios)))
    examples = data.draw(which, jax.random.split(k_draw, task.batch))
    new, value = _update(_optimiser(task), network, data.inputs[which], examples, carry,
                         task.energy_weight)  # fmt: skip
    if bool(jnp.isfinite(value)):
        return new, value
    if float(carry.rate) < 1.0:  # it was halved before: what is best is the answer
        return eqx.tree_at(lambda c: c.step, carry, jnp.asarray(task.steps)), value
    again = _first(task, eqx.tree_at(lambda n: n.layers, network, carry.best))
    again = eqx.tree_at(
        lambda c: (c.step, c.best_score, c.rate),
        again,
        (carry.step + 1, carry.best_score, jnp.asarray(0.5, jnp.float32)),
    )
    return again, value


@eqx.filter_jit
def _update(optimiser, network, inputs, examples, carry: Carry, energy_weight: float):
    def objective(layers):
        moved = eqx.tree_at(lambda n: n.layers, network, layers)
        return loss(moved, inputs, examples, energy_weight)

    value, gradient = jax.value_and_grad(objective)(carry.layers)
    change, state = optimiser.update(gradient, carry.optimiser)
    layers = jax.tree.map(lambda w, d: w + carry.rate * d, carry.layers, change)
    average = jax.tree.map(lambda m, w: AVERAGE * m + (1 - AVERAGE) * w, carry.average, layers)
    new = (layers, average, state, carry.step + 1)
    return eqx.tree_at(lambda c: (c.layers, c.average, c.optimiser, c.step), carry, new), value


def _scored(task: Task, network, data: TrainingData, carry: Carry) -> Carry:
    """Score the running mean of the weights on the held-out data."""
    now = eqx.tree_at(lambda n: n.layers, network, carry.average)
    values = [
        float(_held_out_loss(now, inputs, examples, task.energy_weight))
        for inputs, examples in zip(data.inputs, data.held_out, strict=True)
    ]
    score = sum(values) / len(values)
    if not score < float(carry.best_score):
        return eqx.tree_at(lambda c: c.since_best, carry, carry.since_best + 1)
    new = carry.average, jnp.asarray(score, jnp.float32), jnp.asarray(0)
    return eqx.tree_at(lambda c: (c.best, c.best_score, c.since_best), carry, new)


_held_out_loss = eqx.filter_jit(loss)
