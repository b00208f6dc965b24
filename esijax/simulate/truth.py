"""What was simulated, and what of it there is on the grid that is inverted."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from esijax._types import InputError
from esijax.problem import Problem
from esijax.simulate.head import Head
from esijax.simulate.sources import Placement


class Truth(eqx.Module):
    """The sources behind simulated data, on the grid of the head that made them.

    Parameters
    ----------
    index : (sources, members)
        Locations of the head; those with zero moment do not take part.
    moment : (sources, members, orients)
        Per unit of the wave, along the orient axes of the head.
    vector : (sources, members, 3), optional
        The same in head coordinates; None where the head has no frames.
    wave : (sources, times)
        A m, scaled to the stated signal-to-noise ratio.
    positions : (sources, members, 3)
        Head coordinates, m.
    centres : (sources, 3)
        Of the location in the middle of each source, m.
    """

    index: Int[Array, "sources members"]
    moment: Float[Array, "sources members orients"]
    vector: Float[Array, "sources members 3"] | None
    wave: Float[Array, "sources times"]
    positions: Float[Array, "sources members 3"]
    centres: Float[Array, "sources 3"]

    @classmethod
    def of(cls, placement: Placement, wave: Float[Array, "sources times"], head: Head) -> "Truth":
        """Put together what was placed and what it does."""
        index, moment, frames = placement.index, placement.moment, head.geometry.frames
        vector = None if frames is None else jnp.einsum("smod,smo->smd", frames[index], moment)
        if frames is None and head.n_orients == 3:
            vector = moment
        where = head.positions
        return cls(index, moment, vector, wave, where[index], where[placement.seeds])

    @property
    def member(self) -> Bool[Array, "sources members"]:
        """Which members take part."""
        return jnp.any(self.moment != 0, axis=-1)

    def nearest(self, problem: Problem, near: Any = None) -> Int[Array, "sources members"]:
        """Location of the problem's grid that is nearest to each member.

        Parameters
        ----------
        problem : Problem
        near : (locations of the head,), optional
            ``head.nearest(problem)``, made once: saves the search where there are many.
        """
        if near is not None:
            return near[self.index]
        grid = problem.geometry.positions
        if grid is None:
            raise InputError("the problem has no positions: nothing is near anything.")

        def closest(position):
            return jnp.argmin(jnp.sum((grid - position) ** 2, axis=1))

        flat = jax.lax.map(closest, self.positions.reshape(-1, 3))
        return flat.reshape(self.index.shape)

    def sources_on(
        self, problem: Problem, near: Any = None
    ) -> Float[Array, "locations orients times"]:
        """Sources on the grid of a problem, (locations, orients, times), A m.

        Each member's moment goes to the nearest location and is taken along the orient axes
        there; with fixed orientations only its component along the normal is left.

        Parameters
        ----------
        problem : Problem
        near : (locations of the head,), optional
            As in `nearest`.

        Raises
        ------
        InputError
            If orientations cannot be compared: frames are missing and orients differ.
        """
        near = self.nearest(problem, near)
        moment = self._in_frames(problem, near)
        per_source = jnp.zeros((problem.n_locations, *moment.shape[-1:], len(self.wave)))
        source = jnp.broadcast_to(jnp.arange(len(self.wave))[:, None], near.shape)
        per_source = per_source.at[near, :, source].add(moment)
        return per_source @ self.wave

    def active_on(self, problem: Problem, near: Any = None) -> Bool[Array, " locations"]:
        """Which locations of a problem's grid a simulated source is nearest to.

        On a grid that is finer than that of the head a patch has holes: simulate on the finer.
        """
        near = self.nearest(problem, near)
        return jnp.zeros(problem.n_locations, dtype=bool).at[near].max(self.member)

    def _in_frames(self, problem: Problem, near: Int[Array, "sources members"]):
        """Moments along the orient axes of the problem."""
        frames = problem.geometry.frames
        if self.vector is not None and frames is not None:
            return jnp.einsum("smod,smd->smo", frames[near], self.vector)
        if self.vector is not None and problem.n_orients == 3:
            return self.vector  # no frames: the axes of the head
        if self.moment.shape[-1] != problem.n_orients:
            raise InputError(
                f"the sources have {self.moment.shape[-1]} orients, the problem "
                f"{problem.n_orients}, and orientations are not known: give normals."
            )
        return self.moment
