"""Maps of few places: a sphere at each, sized by its value, and a table of the largest."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from esijax.viz._style import Style
from esijax.viz._surface import Hemisphere

LARGEST = 260.0  # points squared, of the sphere of the largest value
SMALLEST = 0.05  # of it, so that none is lost
NUMBERED = 6


class Row(NamedTuple):
    """One line of the table beside a map of few places."""

    number: str
    side: str
    where: str
    value: str


def areas(values, top: float) -> np.ndarray:
    """Area of the sphere of each value, proportional to it, points squared."""
    return LARGEST * np.maximum(np.abs(values) / (top or 1.0), SMALLEST)


def places(hemi: Hemisphere, locations) -> np.ndarray:
    """Vertex at which each location is shown; -1 on the other hemisphere."""
    shown = hemi.spread.tocsc()[:, locations]
    return np.where(np.diff(shown.indptr) > 0, np.asarray(shown.argmax(axis=0)).ravel(), -1)


def draw_spheres(axes, hemi: Hemisphere, style: Style, frame, normals, numbered: bool) -> None:
    """Draw the spheres that face the viewer, the largest in front; numbers at the first few."""
    from matplotlib import patheffects

    active = style.active
    vertex = places(hemi, active)
    towards = np.where(vertex >= 0, normals[vertex] @ frame[2], -1.0)
    kept = np.flatnonzero(towards > 0)[::-1]  # small ones first, and large ones over them
    size = areas(style.values[active], max(map(abs, style.limits)))
    x, y, _ = frame @ hemi.coords[vertex[kept]].T
    shown = style.colours(style.values[active[kept]])
    axes.scatter(
        x, y, s=size[kept], c=shown, edgecolors="k", linewidths=0.6, zorder=5, clip_on=False
    )
    halo = [patheffects.withStroke(linewidth=2, foreground="w")]
    for u, v, rank, radius in zip(x, y, kept, np.sqrt(size[kept] / np.pi), strict=True):
        points = {"xy": (u, v), "textcoords": "offset points", "va": "center"}
        axes.annotate(
            "●", xytext=(-0.35 * radius, 0.35 * radius), fontsize=0.45 * radius, ha="center",
            color="w", alpha=0.7, zorder=6, **points,
        )  # fmt: skip
        if numbered and rank < NUMBERED:
            text = {"fontsize": 9, "path_effects": halo, "zorder": 7}
            axes.annotate(str(rank + 1), xytext=(radius + 1, radius), **text, **points)


def draw_table(axes, rows: Sequence[Row]) -> None:
    """Write the rows as a table, the first one as its head."""
    axes.set_axis_off()
    table = axes.table(
        [list(row) for row in rows], loc="center left", cellLoc="right", edges="horizontal"
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8.5)
    table.auto_set_column_width(list(range(len(rows[0]))))
    for (row, _), cell in table.get_celld().items():
        cell.set_linewidth(0.8 if row == 0 else 0.0)
        cell.set_text_props(color="0.3" if row == 0 else "k")
