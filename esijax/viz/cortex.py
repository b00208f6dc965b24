"""Static pictures of maps on the cortex and of points in the head, from plain arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from esijax._types import InputError
from esijax.viz import _mesh
from esijax.viz._canvas import figure_for
from esijax.viz._spheres import Row, draw_spheres, draw_table
from esijax.viz._style import SIGNED, SIZE, Map, Style, colour_bar, style_of
from esijax.viz._surface import SIDES, Cortex, Hemisphere, cortex

__all__ = ["Cortex", "Hemisphere", "Map", "cortex", "glass_points", "plot_maps", "plot_view"]

VIEWS = ("left lateral", "left medial", "right lateral", "right medial")
DIRECTIONS = {  # from the brain to the viewer, and what is up; "lateral" is set by the side
    "dorsal": ((0, 0, 1), (0, 1, 0)),
    "ventral": ((0, 0, -1), (0, 1, 0)),
    "anterior": ((0, 1, 0), (0, 0, 1)),
    "posterior": ((0, -1, 0), (0, 0, 1)),
}
OUTLINED = 0.5  # level of the outline


def _frame(view: str):
    """Split a view such as "left lateral", and unit vectors right, up, towards the viewer."""
    side, _, aspect = view.partition(" ")
    lateral = {"lateral": -1, "medial": 1}
    if side not in SIDES or aspect not in (*lateral, *DIRECTIONS):
        raise InputError(
            f"view {view!r}: expected 'left' or 'right' and one of "
            f"{', '.join((*lateral, *DIRECTIONS))}."
        )
    if aspect in lateral:
        towards, up = (lateral[aspect] * (1 if side == "left" else -1), 0, 0), (0, 0, 1)
    else:
        towards, up = DIRECTIONS[aspect]
    return side, np.stack([np.cross(up, towards), up, towards]).astype(float)


def _draw_hemisphere(
    axes, hemi: Hemisphere, frame, style: Style, outline=None, numbered: bool = False
) -> None:
    """Paint one hemisphere, far triangles first, lit from the viewer and above."""
    from matplotlib.collections import TriMesh
    from matplotlib.tri import Triangulation

    x, y, depth = frame @ hemi.coords.T
    normals = _mesh.normals(hemi.coords, hemi.faces)
    light = normals @ (np.array([-0.25, 0.45, 0.86]) @ frame)
    colours, _ = style.rgb(hemi)
    shaded = np.clip(colours * (0.62 + 0.42 * np.clip(light, 0, 1))[:, None], 0, 1)
    facing = _mesh.face_normals(hemi.coords, hemi.faces) @ frame[2] > 0
    faces = hemi.faces[facing]
    faces = faces[np.argsort(depth[faces].mean(axis=1))]
    mesh = TriMesh(Triangulation(x, y, faces), rasterized=True)
    mesh.set(facecolor=np.column_stack([shaded, np.ones(len(shaded))]))
    axes.add_collection(mesh)
    if outline is not None:
        field = hemi.spread @ outline
        if field.min() < OUTLINED < field.max():
            for colour, width in (("k", 2.6), ("w", 1.1)):
                axes.tricontour(
                    Triangulation(x, y, faces), field, [OUTLINED], colors=colour, linewidths=width
                )
    if style.spheres:
        draw_spheres(axes, hemi, style, frame, normals, numbered)
    pad = 0.02 * np.ptp(x)
    axes.set(xlim=(x.min() - pad, x.max() + pad), ylim=(y.min() - pad, y.max() + pad))
    axes.set_aspect("equal")
    axes.set_axis_off()


def plot_maps(
    cortex: Cortex,
    maps: Mapping[str, Map | ArrayLike],
    *,
    views: Sequence[str] = VIEWS,
    title: str | None = None,
    outline: Any = None,
    table: Sequence[Row] = (),
    ax: Any = None,
):
    """Draw maps on the cortex, a row each.

    Parameters
    ----------
    cortex : Cortex
        Surfaces, from :func:`cortex`.
    maps : dict of Map or ndarray
        Title of the row: values (locations,), with style where a Map.
    views : sequence of str
        Columns: "left" or "right" and one of lateral, medial, dorsal, ventral, anterior,
        posterior. Views of a hemisphere without sources are left out.
    title : str | None
        Title of the figure.
    outline : (locations,) | None
        A line is drawn around what is above 0.5.
    table : sequence of Row
        What the numbered spheres of the first row are, written beside it.
    ax : Figure | SubFigure | None
        Where to draw; None: a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        Axes in order: for each row its views, then its colour bar; the table last.

    Raises
    ------
    InputError
        For a map of another size, an unknown view, or nothing to draw.

    Examples
    --------
    >>> fig = plot_maps(surfaces, {"mean": Map(x, "pA m", threshold=5.0)})  # doctest: +SKIP
    """
    frames = {v: _frame(v) for v in views}
    frames = {v: f for v, f in frames.items() if getattr(cortex, f[0]) is not None}
    if not maps or not frames:
        raise InputError("nothing to draw: give at least one map and one view with sources.")
    styles = {name: style_of(name, item, cortex) for name, item in maps.items()}
    rows, columns = len(styles), len(frames)
    widths = [1.0] * columns + [0.04] + [1.15] * bool(table)
    size = (2.55 * sum(widths) + 1.2, 2.05 * rows + 0.45 + 0.4 * bool(title))
    figure = figure_for(ax, size, tight=True)
    grid = figure.add_gridspec(rows, len(widths), width_ratios=widths)
    for row, (name, style) in enumerate(styles.items()):
        numbered = bool(table) and row == 0
        panels = [
            figure.add_subplot(grid[row, column], label=f"{name}: {view}")
            for column, view in enumerate(frames)
        ]
        for axes, (view, (side, frame)) in zip(panels, frames.items(), strict=True):
            _draw_hemisphere(axes, getattr(cortex, side), frame, style, outline, numbered)
            axes.set_title(view if row == 0 else "", fontsize=10, color="0.3")
        panels[0].annotate(
            name,
            (-0.04, 0.5),
            xycoords="axes fraction",
            fontsize=11,
            rotation=90,
            ha="right",
            va="center",
        )
        colour_bar(figure, figure.add_subplot(grid[row, columns]), style)
    if table:
        draw_table(figure.add_subplot(grid[0, -1], label="table"), table)
    if title:
        figure.suptitle(title, fontsize=13)
    return figure


def plot_view(cortex: Cortex, name: str, item, view: str | None, axes, outline: Any = None):
    """Draw one map from one side into the caller's Axes, with its colour bar beside.

    Parameters
    ----------
    cortex : Cortex
        Surfaces of both sides.
    name : str
        Of the map, for messages.
    item : Map | (locations,)
        Values, with or without limits and a unit.
    view : str | None
        As of `plot_maps`; None: the lateral view of the side with the largest value.
    axes : matplotlib.axes.Axes
        Where to draw.
    outline : (locations,) | None
        As of `plot_maps`.

    Returns
    -------
    matplotlib.axes.Axes
    """
    from matplotlib.cm import ScalarMappable

    style = style_of(name, item, cortex)
    if view is None:
        size = np.abs(np.nan_to_num(style.values))
        tops = [0 if h is None else (h.spread @ size).max() for h in cortex]
        view = f"{SIDES[int(np.argmax(tops))]} lateral"
    side, frame = _frame(view)
    if getattr(cortex, side) is None:
        raise InputError(f"view {view!r}: there are no sources on that side.")
    _draw_hemisphere(axes, getattr(cortex, side), frame, style, outline)
    axes.set_title(view, fontsize=10, color="0.3")
    cmap, norm = style.bar()
    axes.figure.colorbar(ScalarMappable(norm, cmap), ax=axes, label=style.label, shrink=0.7)
    return axes


def glass_points(
    positions, values, title: str | None = None, *, label: str = "", cmap=None, ax: Any = None
):
    """Draw values at points seen through the head: from the side, from behind and from above.

    For volume and discrete source spaces, which have no surface. The largest value is in front.

    Parameters
    ----------
    positions : (locations, 3)
        Head or MRI coordinates, m.
    values : (locations,)
        One number per location.
    title, label, cmap : str | None
        Title, label of the colour bar (with unit) and colour map.
    ax : Figure | SubFigure | None
        Where to draw; None: a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        Three projections with axes in mm, and a colour bar.

    Examples
    --------
    >>> figure = glass_points(positions, power, label="nA m")  # doctest: +SKIP
    """
    mm, values = 1e3 * np.asarray(positions, float), np.asarray(values, float)
    if values.shape != mm.shape[:1]:
        raise InputError(f"values must be ({len(mm)},), one per position; got {values.shape}.")
    size = np.abs(np.nan_to_num(values))
    top, order = size.max(initial=0) or 1.0, np.argsort(size)
    signed = bool((values < 0).any())
    figure = figure_for(ax, (10.5, 3.6))
    panels = figure.subplots(1, 3)
    planes = (("sagittal", 1, 2), ("coronal", 0, 2), ("axial", 0, 1))
    names = ("x, left to right (mm)", "y, back to front (mm)", "z, up (mm)")
    for axes, (plane, i, j) in zip(panels, planes, strict=True):
        axes.scatter(mm[:, i], mm[:, j], s=3, color="0.88", linewidths=0)
        drawn = axes.scatter(
            mm[order, i], mm[order, j], s=90 * (size[order] / top) ** 2, c=values[order],
            cmap=cmap or (SIGNED if signed else f"{SIZE}_r"),
            vmin=-top if signed else 0, vmax=top, linewidths=0,
        )  # fmt: skip
        axes.set(title=plane, xlabel=names[i], ylabel=names[j], aspect="equal")
        axes.spines[["top", "right"]].set_visible(False)
    figure.colorbar(drawn, ax=panels, label=label, shrink=0.85, pad=0.01)
    if title:
        figure.suptitle(title, fontsize=13)
    return figure
