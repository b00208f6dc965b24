"""A forward solution as a problem has it: each part is finished before the next is made of it."""

import dataclasses
from typing import Any

import mne
import numpy as np

from esijax.io.measured.geometry import geometry_of
from esijax.io.measured.lead_field import StoredField
from esijax.io.measured.orient import oriented
from esijax.io.measured.spaces import spaces_of
from esijax.problem import Geometry


@dataclasses.dataclass(frozen=True)
class Solution:
    """Source spaces, axes, lead field and geometry of a forward.

    Parameters
    ----------
    vertices, kinds
        Of each source space; left and right hemisphere first.
    subject : str | None
    surf_ori : bool
        Whether the forward came in surface orientation.
    is_fixed : bool
        Whether it came with one orientation.
    row_names : list of str
        Channels of the lead field.
    field : StoredField
    orient_scale : (locations, orients)
        Standard deviation that the orientation constraint leaves.
    geometry : Geometry
    notes : tuple of str
    """

    vertices: tuple[np.ndarray, ...]
    kinds: tuple[str, ...]
    subject: str | None
    surf_ori: bool
    is_fixed: bool
    row_names: list[str]
    field: StoredField
    orient_scale: np.ndarray
    geometry: Geometry
    notes: tuple[str, ...]


def solution_of(forward: mne.Forward, loose: Any) -> Solution:
    """Read a forward whose parts are known to fit; `loose` as in `from_mne`."""
    vertices, kinds = spaces_of(forward["src"])
    field, frames, scale = oriented(forward, loose)
    geometry, notes = geometry_of(forward, frames)
    return Solution(
        vertices=vertices,
        kinds=kinds,
        subject=forward["src"]._subject,
        surf_ori=bool(forward["surf_ori"]),
        is_fixed=bool(forward["source_ori"] == 1),
        row_names=list(forward["sol"]["row_names"]),
        field=field,
        orient_scale=scale,
        geometry=geometry,
        notes=notes,
    )
