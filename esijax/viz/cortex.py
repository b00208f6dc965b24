"""Static pictures of maps on the cortex and of points in the head, from plain arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from esijax._types import InputError
from esijax.viz import _mesh
from esijax.viz._surface import SIDES, Cortex, Hemisphere, cortex

__all__ = ["Cortex", "Hemisphere", "Map", "cortex", "glass_points", "plot_maps"]

VIEWS = ("left lateral", "left medial", "right lateral", "right medial")
DIRECTIONS = {  # from the brain to the viewer, and what is up; "lateral" is set by the side
    "dorsal": ((0, 0, 1), (0, 1, 0)),
    "ventral": ((0, 0, -1), (0, 1, 0)),
    "anterior": ((0, 1, 0), (0, 0, 1)),
    "posterior": ((0, -1, 0), (0, 0, 1)),
}


@dataclass(frozen=True, eq=False)
class Map:
    """Values on the cortex and how they are shown.

    Parameters
    ----------
    values : (locations,)
        One finite number per location; NaN is shown as bare cortex.
    label : str
        Label of the colour bar, with the unit.
    threshold : float | None
        Bare cortex is shown where the magnitude is below; None: all is shown.
    cmap : str | None
        Name of a matplotlib colour map; None: diverging for values of both signs.
    limits : tuple of float | None
        Ends of the colour bar; None: from the values.
    """

    values: ArrayLike
    label: str = ""
    threshold: float | int | None = None
    cmap: str | None = None
    limits: Sequence[float | int] | None = None


# Colours


class Style(NamedTuple):
    """A map with nothing left open: values, colour map, ends, threshold."""

    values: np.ndarray
    label: str
    threshold: float
    cmap: Callable[..., np.ndarray]
    limits: tuple[float, float]

    def rgb(self, hemi: Hemisphere):
        """Colours (vertices, 3) and values (vertices,) on one hemisphere."""
        bare = np.repeat(hemi.background[:, None], 3, axis=1)
        seen = abs(hemi.spread).sum(axis=1) > 0
        values = np.where(seen, hemi.spread @ self.values, np.nan)
        low, high = self.limits
        colour = self.cmap((np.nan_to_num(values) - low) / (high - low))[:, :3]
        sulci = np.minimum(hemi.background - _mesh.GREY, 0)[:, None]
        colour *= 1 + 0.35 * sulci  # they shine through
        shown = np.isfinite(values) & (np.abs(np.nan_to_num(values)) >= self.threshold)
        return np.where(shown[:, None], colour, bare), values

    def bar(self):
        """Colour map and norm of the colour bar: grey below the threshold."""
        from matplotlib.colors import ListedColormap, Normalize

        at = np.linspace(*self.limits, 512)
        colours = self.cmap(np.linspace(0, 1, 512))
        colours[np.abs(at) < self.threshold, :3] = _mesh.GREY
        return ListedColormap(colours), Normalize(*self.limits)


def style_of(name: str, item, cortex: Cortex) -> Style:
    """Check one map against the surfaces and fill in what was left open."""
    from matplotlib import colormaps

    item = item if isinstance(item, Map) else Map(item)
    values = np.asarray(item.values, dtype=float)
    n_locations = next(hemi.spread.shape[1] for hemi in cortex if hemi is not None)
    if values.shape != (n_locations,):
        raise InputError(
            f"map {name!r} must be ({n_locations},), one value per location; got {values.shape}."
        )
    finite = values[np.isfinite(values)]
    top = float(np.abs(finite).max(initial=0)) or 1.0
    signed = bool((finite < 0).any())
    low, high = item.limits or ((-top, top) if signed else (0.0, top))
    cmap = colormaps[item.cmap or ("RdBu_r" if signed else "inferno")]
    return Style(values, item.label, float(item.threshold or 0.0), cmap, (float(low), float(high)))


# Figures


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


def _draw_hemisphere(axes, hemi: Hemisphere, frame, colours) -> None:
    """Paint one hemisphere, far triangles first, lit from the viewer and above."""
    from matplotlib.collections import TriMesh
    from matplotlib.tri import Triangulation

    x, y, depth = frame @ hemi.coords.T
    light = _mesh.normals(hemi.coords, hemi.faces) @ (np.array([-0.25, 0.45, 0.86]) @ frame)
    shaded = np.clip(colours * (0.62 + 0.42 * np.clip(light, 0, 1))[:, None], 0, 1)
    facing = _mesh.face_normals(hemi.coords, hemi.faces) @ frame[2] > 0
    faces = hemi.faces[facing]
    faces = faces[np.argsort(depth[faces].mean(axis=1))]
    mesh = TriMesh(Triangulation(x, y, faces), rasterized=True)
    mesh.set(facecolor=np.column_stack([shaded, np.ones(len(shaded))]))
    axes.add_collection(mesh)
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

    Returns
    -------
    matplotlib.figure.Figure
        Axes in order: for each row its views, then its colour bar.

    Raises
    ------
    InputError
        For a map of another size, an unknown view, or nothing to draw.

    Examples
    --------
    >>> fig = plot_maps(surfaces, {"mean": Map(x, "pA m", threshold=5.0)})  # doctest: +SKIP
    """
    import matplotlib.pyplot as plt

    frames = {v: _frame(v) for v in views}
    frames = {v: f for v, f in frames.items() if getattr(cortex, f[0]) is not None}
    if not maps or not frames:
        raise InputError("nothing to draw: give at least one map and one view with sources.")
    styles = {name: style_of(name, item, cortex) for name, item in maps.items()}
    rows, columns = len(styles), len(frames)
    figure = plt.figure(figsize=(2.55 * columns + 1.3, 2.05 * rows + 0.45 + 0.4 * bool(title)))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.06, wspace=0.0, hspace=0.0)
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[1.0] * columns + [0.04])
    for row, (name, style) in enumerate(styles.items()):
        panels = [
            figure.add_subplot(grid[row, column], label=f"{name}: {view}")
            for column, view in enumerate(frames)
        ]
        for axes, (view, (side, frame)) in zip(panels, frames.items(), strict=True):
            hemi = getattr(cortex, side)
            _draw_hemisphere(axes, hemi, frame, style.rgb(hemi)[0])
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
        _colour_bar(figure, figure.add_subplot(grid[row, columns]), style)
    if title:
        figure.suptitle(title, fontsize=13)
    return figure


def _colour_bar(figure, axes, style: Style) -> None:
    from matplotlib.cm import ScalarMappable

    cmap, norm = style.bar()
    bar = figure.colorbar(ScalarMappable(norm, cmap), cax=axes)
    bar.set_label(style.label, fontsize=10)
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_linewidth(0.5)
    if style.threshold:
        bar.ax.axhline(style.threshold, color="k", linewidth=0.8)


def glass_points(positions, values, title: str | None = None, *, label: str = "", cmap=None):
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

    Returns
    -------
    matplotlib.figure.Figure
        Three projections with axes in mm, and a colour bar.

    Examples
    --------
    >>> figure = glass_points(positions, power, label="nA m")  # doctest: +SKIP
    """
    import matplotlib.pyplot as plt

    mm, values = 1e3 * np.asarray(positions, float), np.asarray(values, float)
    if values.shape != mm.shape[:1]:
        raise InputError(f"values must be ({len(mm)},), one per position; got {values.shape}.")
    size = np.abs(np.nan_to_num(values))
    top, order = size.max(initial=0) or 1.0, np.argsort(size)
    signed = bool((values < 0).any())
    figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.6), layout="constrained")
    planes = (("sagittal", 1, 2), ("coronal", 0, 2), ("axial", 0, 1))
    names = ("x, left to right (mm)", "y, back to front (mm)", "z, up (mm)")
    for axes, (plane, i, j) in zip(panels, planes, strict=True):
        axes.scatter(mm[:, i], mm[:, j], s=3, color="0.88", linewidths=0)
        drawn = axes.scatter(
            mm[order, i], mm[order, j], s=90 * (size[order] / top) ** 2, c=values[order],
            cmap=cmap or ("RdBu_r" if signed else "inferno_r"),
            vmin=-top if signed else 0, vmax=top, linewidths=0,
        )  # fmt: skip
        axes.set(title=plane, xlabel=names[i], ylabel=names[j], aspect="equal")
        axes.spines[["top", "right"]].set_visible(False)
    figure.colorbar(drawn, ax=panels, label=label, shrink=0.85, pad=0.01)
    if title:
        figure.suptitle(title, fontsize=13)
    return figure
