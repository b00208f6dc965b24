"""Parcels: sets of locations, given as indices or as labels of MNE."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from esijax._types import InputError
from esijax._where import HEMISPHERES, at_vertices, check_subject
from esijax.models.components._mesh import check_positions
from esijax.models.components.component import Component
from esijax.models.parts import Listed, LowRank, Part
from esijax.problem import Problem


class Labels(Component):
    """Sets of locations, each a component.

    Parameters
    ----------
    labels : list of mne.Label, index arrays or masks
        Of an atlas, say; they may overlap. Vertices between the sources are ignored.
    coherent : bool
        Whether a label is active as one (the same amplitude all over, in units of the problem's
        scale). Else its sources are independent and share their variance.

    Raises
    ------
    InputError
        For a label outside the source space, or one without any source.

    References
    ----------
    Henson et al. 2010, doi:10.1002/hbm.20943.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> halves = [np.arange(6), np.arange(6, 12)]
    >>> prior = ej.models.Components(ej.models.components.Labels(halves, coherent=True))
    """

    labels: tuple["Label", ...] = eqx.field(static=True)
    coherent: bool = eqx.field(static=True)

    def __init__(self, labels: Any, coherent: bool = False):
        items = labels if isinstance(labels, list | tuple) else [labels]
        if not items:
            raise InputError("Labels needs at least one label.")
        self.labels = tuple(Label.read(item, i) for i, item in enumerate(items))
        self.coherent = coherent

    def build(self, problem: Problem) -> Part:
        """Locations of each label."""
        found = [label.locations(problem) for label in self.labels]
        member = np.repeat(np.arange(len(found)), [len(index) for index in found])
        location = np.concatenate(found)
        if self.coherent:
            columns = np.zeros((problem.n_locations, len(found)))
            columns[location, member] = 1.0
            return LowRank(jnp.asarray(columns), jnp.arange(len(found)), len(found))
        ones = jnp.ones(len(location))
        return Listed(jnp.asarray(location), ones, jnp.asarray(member), len(found))


class Label:
    """One set of locations; equal by content, so that it may be static."""

    def __init__(self, name: str, pieces: dict[str, np.ndarray], subject: str | None = None):
        self.name, self.pieces, self.subject = name, pieces, subject
        self._key = (
            name,
            subject,
            tuple((k, v.dtype.kind, v.tobytes()) for k, v in pieces.items()),
        )

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Label) and self._key == other._key

    def __repr__(self) -> str:
        return f"Label({self.name!r})"

    @classmethod
    def read(cls, given: Any, i: int) -> "Label":
        """Read an mne.Label, one over both hemispheres, indices or a mask."""
        if isinstance(given, Label):
            return given
        if hasattr(given, "lh") and hasattr(given, "rh"):
            both = {side: np.asarray(getattr(given, side).vertices) for side in HEMISPHERES}
            return cls(str(getattr(given, "name", i)), both, getattr(given, "subject", None))
        if hasattr(given, "vertices") and getattr(given, "hemi", None) in HEMISPHERES:
            own = {given.hemi: np.asarray(given.vertices)}
            return cls(str(getattr(given, "name", i)), own, getattr(given, "subject", None))
        index = np.asarray(given)
        if index.ndim != 1 or index.dtype.kind not in "iub":
            raise InputError(
                f"label {i} must be an mne.Label, location numbers or a mask, got {given!r:.60}."
            )
        return cls(str(i), {"index": index})

    def locations(self, problem: Problem) -> np.ndarray:
        """Locations of the problem in it; InputError where there are none."""
        who, n = f"label {self.name!r}", problem.n_locations
        index = self.pieces.get("index")
        if index is None:
            sides = self.pieces.items()
            check_subject(self.subject, problem.labels, who)
            found = [at_vertices(problem.labels, side, v, who) for side, v in sides]
            index = np.concatenate(found)
        elif index.dtype.kind == "b":
            if len(index) != n:
                raise InputError(f"{who} is a mask of {len(index)} for {n} locations.")
            index = np.flatnonzero(index)
        if not len(index):
            raise InputError(f"{who} holds no source: it is outside the source space.")
        return np.sort(check_positions(index, n, who))
