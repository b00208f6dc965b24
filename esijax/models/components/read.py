"""What a user may hand over as a component."""

from typing import Any

import numpy as np
from scipy import sparse

from esijax._types import InputError
from esijax.models.components.component import IID, Component, Fixed
from esijax.models.components.kernels import Kernels
from esijax.models.components.labels import Label, Labels
from esijax.models.components.matrix import Covariance, Factor, Map
from esijax.models.components.patches import Patches
from esijax.models.components.smooth import Smooth
from esijax.models.components.weighted import EBB, DepthWeighted
from esijax.models.source_cov import SourceCov

NAMED_COMPONENTS = {
    "iid": IID,
    "smooth": Smooth,
    "coh": Smooth,
    "loreta": Smooth,
    "depth": DepthWeighted,
    "ebb": EBB,
    "patches": Patches,
    "msp": Kernels,
}


def read_components(given: Any) -> tuple[Component, ...]:
    """Make a tuple of components of one, or of a list; neighbouring labels become one family."""
    items = list(given) if isinstance(given, list | tuple) else [given]
    out: list[Component] = []
    labels: list[Label] = []
    for i, item in enumerate(items):
        read_item = _read_one(item, i)
        if isinstance(read_item, Label):
            labels.append(read_item)
            continue
        out += [Labels(labels), read_item] if labels else [read_item]
        labels = []
    return tuple([*out, Labels(labels)] if labels else out)


def _read_one(item: Any, i: int) -> Component | Label:
    if isinstance(item, Component):
        return item
    if isinstance(item, str):
        return _component_of_name(item)
    if isinstance(item, SourceCov):
        return Fixed(item)
    if hasattr(item, "vertices"):
        return Map(item) if hasattr(item, "data") else Label.read(item, i)
    if hasattr(item, "lh") and hasattr(item, "rh"):
        return Label.read(item, i)
    if sparse.issparse(item) or isinstance(item, np.ndarray) or hasattr(item, "__array__"):
        return _component_of_array(item, i)
    raise InputError(
        f"{item!r:.60} is no component: give one of esijax.models.components, a name "
        f"{sorted(NAMED_COMPONENTS)}, an array or a label."
    )


def _component_of_name(name: str) -> Component:
    if name.lower() not in NAMED_COMPONENTS:
        raise InputError(f"{name!r} is no component: known are {sorted(NAMED_COMPONENTS)}.")
    return NAMED_COMPONENTS[name.lower()]()


def _component_of_array(array: Any, i: int) -> Component | Label:
    """1 axis: location numbers or a mask (whole numbers, truth values), or a map; 2: a matrix."""
    ndim, kind = array.ndim, np.dtype(array.dtype).kind
    if ndim == 1:
        return Label.read(np.asarray(array), i) if kind in "iub" else Map(array)
    if ndim == 2:
        return Covariance(array) if array.shape[0] == array.shape[1] else Factor(array)
    raise InputError(f"an array with the shape {array.shape} is no component.")
