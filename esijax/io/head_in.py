"""Head models of MNE-Python, as differentiable ones."""

from typing import Any

import mne
import numpy as np

from esijax._types import InputError
from esijax.forward import BEMModel, SphereModel, Surface


def head_model(bem, trans: Any = None, *, assemble: bool = False) -> BEMModel | SphereModel:
    """Give MNE-Python's conductor model as one that can be differentiated.

    Parameters
    ----------
    bem : mne.bem.ConductorModel | list of surfaces | path
        A sphere model, a solution, or the surfaces of `mne.make_bem_model`.
    trans : mne.Transform | path | None
        Between head and MRI coordinates, in either direction. None: a sphere needs none; surfaces
        are then taken to be in head coordinates.
    assemble : bool
        Compute the solution again from the surfaces, in double precision (one that was read from a
        file is in single), even where there is one.

    Returns
    -------
    esijax.forward.BEMModel or esijax.forward.SphereModel

    Raises
    ------
    InputError
        For surfaces in MRI coordinates without a trans, a trans between other frames, a solution
        that is not of linear collocation, and what the models themselves refuse.

    Examples
    --------
    >>> import esijax as ej
    >>> model = ej.io.head_model(bem, trans)  # doctest: +SKIP
    """
    if isinstance(bem, str) or hasattr(bem, "__fspath__"):
        bem = mne.read_bem_solution(bem, verbose="ERROR")
    if isinstance(bem, dict) and bem["is_sphere"]:
        return _sphere(bem)
    surfs = bem["surfs"] if isinstance(bem, dict) else list(bem)
    solution = bem.get("solution") if isinstance(bem, dict) else None
    if solution is not None and bem.get("solver", "mne") != "mne":
        solution = None  # of another discretisation: solved again
    order = {4: 2, 3: 1, 1: 0}  # MNE's numbers of outer skin, outer skull, inner skull
    surfs = sorted(surfs, key=lambda s: order.get(int(s["id"]), 3))
    return BEMModel(
        [Surface(np.asarray(s["rr"], dtype=float), s["tris"]) for s in surfs],
        [float(s["sigma"]) for s in surfs],
        _head_to(surfs, trans),
        solution=None if assemble else solution,
    )


def _sphere(bem) -> SphereModel:
    if not len(bem["layers"]):  # for MEG alone: any sphere around this centre
        return SphereModel(bem["r0"])
    layers = bem["layers"]
    return SphereModel(bem["r0"], [s["rad"] for s in layers], [s["sigma"] for s in layers])


def _head_to(surfs, trans) -> np.ndarray:
    """Head coordinates to those of the surfaces."""
    frames = {int(s["coord_frame"]) for s in surfs}
    if frames == {4}:
        return np.eye(4)
    if frames != {5}:
        raise InputError(f"surfaces are in coordinate frames {sorted(frames)}: give MRI (5) ones.")
    if trans is None:
        raise InputError("the surfaces are in MRI coordinates: give trans, from head to MRI.")
    if isinstance(trans, str) or hasattr(trans, "__fspath__"):
        trans = mne.read_trans(trans, verbose="ERROR")
    pair = (int(trans["from"]), int(trans["to"]))
    if pair not in ((4, 5), (5, 4)):
        raise InputError(f"trans goes from frame {pair[0]} to {pair[1]}: head (4) and MRI (5)?")
    matrix = np.asarray(trans["trans"], dtype=float)
    return matrix if pair == (4, 5) else np.linalg.inv(matrix)
