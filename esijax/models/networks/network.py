"""What every network has: weights that training moves, and what it says of itself."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray

from esijax._types import Data, Gain, Sources
from esijax.problem import Problem


class Network(eqx.Module):
    """Weights, and how they begin.

    Attributes
    ----------
    layers : dict of arrays
        What training moves.
    rate : float
        Largest learning rate, where a task gives none.
    kept : tuple of str
        Other arrays, which go with the weights on disk.
    sized_by : str
        The array of `layers` whose shape the class is made with, after a key.
    one_head : bool
        Whether it is of one lead field, and of no use for another.
    """

    layers: eqx.AbstractVar[dict[str, Array]]
    rate: ClassVar[float] = 0.01
    kept: ClassVar[tuple[str, ...]] = ()
    sized_by: ClassVar[str] = "step"
    one_head: ClassVar[bool] = False

    @classmethod
    def untrained(cls, key: PRNGKeyArray, problem: Problem) -> "Network":  # noqa: ARG003
        """Network before the first step; the problem counts where it is of one lead field."""
        make: Any = cls
        return make(key)

    @classmethod
    def of_shapes(cls, shapes: Mapping[str, tuple[int, ...]]) -> "Network":
        """Network whose arrays have the shapes of those on disk, if there is one."""
        make: Any = cls
        return make(jax.random.key(0), *shapes[cls.sized_by])


class PointNetwork(Network):
    """A network whose answer is a map without a spread; implement `sources`."""

    @abc.abstractmethod
    def sources(self, gain: Gain, data: Data) -> Sources:
        """Sources in units of the prior's scale.

        Parameters
        ----------
        gain : (rank, locations, orients)
            Whitened lead field times the prior's scale.
        data : (rank, times)
            Whitened data.
        """
