"""What a network is trained on, and how."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np

from esijax._types import InputError, check_positive
from esijax.models.networks import (
    NETWORKS,
    DirectNetwork,
    Network,
    PointNetwork,
    VarianceNetwork,
    check_one_head,
)
from esijax.simulate import Scenario

SCHEDULE = {
    "steps": 400,
    "batch": 16,
    "rate": 0.01,  # or that of the network
    "energy_weight": 0.2,
    "held_out": 4,
    "score_every": 40,
    "patience": 6,
}


class Task(eqx.Module):
    """Scenarios from which data are drawn, the network, and the schedule of training.

    Parameters
    ----------
    scenarios : sequence of Scenario
        Heads, channels, sources, noise, signal-to-noise ratios. The head that makes the data may
        be another than the one that is inverted. Each step draws its data sets from one of them.
    network : Network | "mesh" | "smoothing" | "ista" | "fista" | "linear" | "mlp"
        Where training starts: variances, sources by proximal steps, or (for scenarios of one
        problem) a direct map.
    **schedule : int, float
        By name:

        - `steps` (int): Updates of the weights.
        - `batch` (int): Data sets for each.
        - `rate` (float): Largest learning rate; by default that of the network's class.
        - `energy_weight` (float): Weight of the energy distance of the maps beside the log score
          of the posterior, or beside the squared error of networks that give a map alone.
        - `held_out` (int): Data sets of each scenario by which the network is scored, and the
          constant of its variances is fitted.
        - `score_every` (int): Steps between two scores.
        - `patience` (int): Scores in a row without improvement after which training stops.

    Raises
    ------
    InputError
        Without scenarios or positions, for numbers that are not positive, or a direct network
        and scenarios of several lead fields.

    Examples
    --------
    >>> import esijax as ej
    >>> scenario = ej.simulate.Scenario(head, problem, sources, wave, noise)  # doctest: +SKIP
    >>> task = ej.learn.Task([scenario], "mesh", steps=200)  # doctest: +SKIP
    """

    scenarios: tuple[Scenario, ...]
    network: Any
    steps: int = eqx.field(static=True)
    batch: int = eqx.field(static=True)
    rate: float = eqx.field(static=True)
    energy_weight: float = eqx.field(static=True)
    held_out: int = eqx.field(static=True)
    score_every: int = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, scenarios: Sequence[Scenario], network: Any = "mesh", **schedule: Any):
        self.scenarios = tuple(scenarios)
        if not self.scenarios or not all(isinstance(s, Scenario) for s in self.scenarios):
            raise InputError("a task needs at least one ej.simulate.Scenario to draw data from.")
        named = isinstance(network, str) and network in NETWORKS
        if not (named or isinstance(network, VarianceNetwork | PointNetwork)):
            raise InputError(
                f"network must be one of {list(NETWORKS)} or an object of a class like theirs; got "
                f"{network if isinstance(network, str) else type(network).__name__!r}."
            )
        self.network = network
        kind = NETWORKS[network] if named else network
        if kind.one_head:
            check_one_head([s.problem for s in self.scenarios])
        if isinstance(network, DirectNetwork):
            network.check(self.scenarios[0].problem)
        given = {**SCHEDULE, "rate": kind.rate, **schedule}
        unknown = sorted(set(given) - set(SCHEDULE))
        if unknown:
            raise InputError(f"a task has no {unknown[0]!r}; it has {list(SCHEDULE)}.")
        for name, value in given.items():
            whole = isinstance(SCHEDULE[name], int)
            if whole and not (isinstance(value, int | np.integer) and value >= 1):
                raise InputError(f"{name} must be a positive whole number, got {value!r}.")
            if name != "energy_weight":
                check_positive(value, name)
            setattr(self, name, type(SCHEDULE[name])(value))

    @property
    def rank(self) -> int:
        """Largest rank of all problems: to which each is padded."""
        return max(s.problem.rank for s in self.scenarios)

    def start(self, key: Any) -> Network:
        """Network before the first step."""
        if isinstance(self.network, str):
            return NETWORKS[self.network].untrained(key, self.scenarios[0].problem)
        return self.network
