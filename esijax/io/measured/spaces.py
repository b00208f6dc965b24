"""Source spaces of a forward as the rest of esijax reads them: left, right, then volumes."""

from collections.abc import Sequence

import numpy as np

from esijax._types import InputError

SPACE_KINDS = {"surf": "surface", "vol": "volume", "discrete": "discrete"}
SURFACE_SIDES = {101: "left", 102: "right"}  # FIFFV_MNE_SURF_LEFT_HEMI, FIFFV_MNE_SURF_RIGHT_HEMI


def spaces_of(src: Sequence) -> tuple[tuple[np.ndarray, ...], tuple[str, ...]]:
    """Vertex numbers and kind of each source space.

    Where there is a surface, the first two are the left and the right hemisphere: who reads labels
    or writes maps counts on it. A hemisphere that is not there has no vertices.
    """
    vertices = [np.asarray(s["vertno"]) for s in src]
    kinds = [SPACE_KINDS[s["type"]] for s in src]
    n_surfaces = kinds.count("surface")
    if not n_surfaces:
        return tuple(vertices), tuple(kinds)
    if "surface" in kinds[n_surfaces:]:
        raise InputError(
            f"the source spaces of the forward are {', '.join(kinds)}: surfaces come first; make "
            "the source space in that order and compute the forward again."
        )
    sides = [SURFACE_SIDES.get(int(s.get("id", 0))) for s in src[:n_surfaces]]
    if sides == ["left"]:
        vertices.insert(1, np.zeros(0, dtype=int))
    elif sides == ["right"]:
        vertices.insert(0, np.zeros(0, dtype=int))
    elif sides != ["left", "right"]:
        raise InputError(
            f"the surfaces of the forward are {', '.join(s or 'of unknown side' for s in sides)}: "
            "they must be left, right or one of them, known by src[i]['id'] (101 left, 102 right); "
            "set it, or make the source space in that order and compute the forward again."
        )
    return tuple(vertices), ("surface", "surface", *kinds[n_surfaces:])
