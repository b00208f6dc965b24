"""What a user may hand over as a component."""

from typing import Any

from esijax._types import InputError
from esijax.models.components.component import IID, Component
from esijax.models.components.patches import Patches

NAMED = {"iid": IID, "patches": Patches}


def read(given: Any) -> tuple[Component, ...]:
    """Make a tuple of components of one, or of a list."""
    items = given if isinstance(given, list | tuple) else (given,)
    if not items:
        raise InputError("Components needs at least one component.")
    return tuple(_one(item) for item in items)


def _one(item: Any) -> Component:
    if isinstance(item, Component):
        return item
    if isinstance(item, str) and item in NAMED:
        return NAMED[item]()
    raise InputError(f"{item!r:.60} is no component: see esijax.models.components.")
