"""Pictures of maps on the cortex, from plain arrays: static figures and interactive pages.

A map has one value per location. It is interpolated linearly over the triangles of the source
space, so that each location shows its own value and nothing exceeds the largest one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from esijax._types import InputError

__all__ = ["Cortex", "Hemisphere", "Map", "cortex", "glass_points", "plot_maps", "view_maps"]

VIEWS = ("left lateral", "left medial", "right lateral", "right medial")
SIDES = ("left", "right")
DIRECTIONS = {  # from the brain to the viewer, and what is up; "lateral" is set by the side
    "dorsal": ((0, 0, 1), (0, 1, 0)),
    "ventral": ((0, 0, -1), (0, 1, 0)),
    "anterior": ((0, 1, 0), (0, 0, 1)),
    "posterior": ((0, -1, 0), (0, 0, 1)),
}
LONGEST_LOOP = 60  # open edges; a larger gap is meant
GREY = 0.72  # of a gyrus; a sulcus is darker


class Hemisphere(NamedTuple):
    """A displayed surface and the way from locations to it.

    Parameters
    ----------
    coords : (vertices, 3)
        Display positions, mm (x right, y anterior, z superior).
    faces : (faces, 3)
        Triangles, outward.
    background : (vertices,)
        Brightness, from dark (sulci) to light (gyri), in [0, 1].
    spread : sparse (vertices, locations)
        Interpolation weights; an empty row where no location is near.
    """

    coords: np.ndarray
    faces: np.ndarray
    background: np.ndarray
    spread: sparse.csr_array


class Cortex(NamedTuple):
    """The two hemispheres; None where a source space has only one."""

    left: Hemisphere | None
    right: Hemisphere | None


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


def cortex(positions, triangles, vertno, subject, hemi) -> Cortex:
    """Prepare the surfaces on which maps are shown.

    On fsaverage (vertex numbers below 10242) this is the inflated fsaverage5; on any other
    subject the mesh of the source space itself, refined and smoothed until sulci open up.

    Parameters
    ----------
    positions : (locations, 3)
        Where the sources are, m, head or MRI coordinates.
    triangles : (triangles, 3)
        Mesh over the locations.
    vertno : (locations,)
        Vertex numbers on the subject's surfaces; None where unknown.
    subject : str | None
        Name of the subject.
    hemi : (locations,)
        0 left, 1 right.

    Returns
    -------
    Cortex
        Both hemispheres.

    Raises
    ------
    InputError
        Without triangles on a subject other than fsaverage (see `glass_points`).
    """
    positions, hemi = np.asarray(positions, float), np.asarray(hemi)
    triangles = np.zeros((0, 3), int) if triangles is None else np.asarray(triangles)
    known = subject == "fsaverage" and vertno is not None and np.max(vertno) < 10242
    if not known and not len(triangles):
        raise InputError("a map on the cortex needs triangles; show glass_points instead.")
    sides = []
    for side in (0, 1):
        where = np.flatnonzero(hemi == side)
        own = np.full(len(positions), -1)
        own[where] = np.arange(len(where))
        tris = own[triangles]
        tris = tris[(tris >= 0).all(axis=1)]
        if known:
            made = _fsaverage(np.asarray(vertno)[where], tris, SIDES[side]) if len(where) else None
        else:
            made = _smooth_subject(positions[where], tris) if len(tris) else None
        if made is not None:
            to_own = sparse.csr_array(
                (np.ones(len(where)), (np.arange(len(where)), where)), (len(where), len(positions))
            )
            made = made._replace(spread=(made.spread @ to_own).tocsr())
        sides.append(made)
    return Cortex(*sides)


def _fsaverage(vertno, tris, side: str) -> Hemisphere:
    """Inflated fsaverage5 with its sulcal depth; interpolated on the sphere."""
    import nibabel
    from nilearn.datasets import fetch_surf_fsaverage

    files = fetch_surf_fsaverage("fsaverage5")
    coords, faces = (a.data for a in nibabel.load(files[f"infl_{side}"]).darrays)
    sphere = nibabel.load(files[f"sphere_{side}"]).darrays[0].data.astype(float)
    depth = nibabel.load(files[f"sulc_{side}"]).darrays[0].data
    coords = coords.astype(float)
    return Hemisphere(
        coords, _outward(coords, faces), _brightness(-depth), _on_sphere(sphere, vertno, tris)
    )


def _on_sphere(sphere, vertno, tris) -> sparse.csr_array:
    """Barycentric weights of all vertices in the triangles of a few; the nearest one in gaps."""
    nodes, rows = sphere[vertno], np.arange(len(sphere))
    gap, near = cKDTree(nodes).query(sphere)
    spacing = np.median(cKDTree(nodes).query(nodes, k=min(2, len(nodes)))[0][..., -1])
    corner = np.repeat(near[:, None], 3, axis=1)
    weight = np.tile([1.0, 0.0, 0.0], (len(sphere), 1)) * (gap < 2 * spacing + 5)[:, None]
    if len(tris):
        centre = nodes[tris].mean(axis=1)
        few = min(16, len(tris))
        _, cand = cKDTree(centre).query(sphere, k=few)
        cand = cand.reshape(len(sphere), few)
        a, b, c = np.moveaxis(nodes[tris[cand]], 2, 0)
        p = sphere[:, None]
        w = np.stack([(p * np.cross(*e)).sum(-1) for e in ((b, c), (c, a), (a, b))], axis=-1)
        w /= w.sum(axis=-1, keepdims=True)
        best = np.argmax(w.min(axis=-1), axis=1)
        w, cand = w[rows, best], cand[rows, best]
        inside = w.min(axis=1) > -0.02
        corner[inside] = tris[cand[inside]]
        weight[inside] = np.maximum(w[inside], 0) / np.maximum(w[inside], 0).sum(1, keepdims=True)
    index = (np.repeat(rows, 3), corner.ravel())
    out = sparse.csr_array((weight.ravel(), index), (len(sphere), len(nodes)))
    out.eliminate_zeros()
    return out


def _smooth_subject(positions, tris) -> Hemisphere:
    """Refine and smooth the source mesh; what stood out of the smooth surface is a gyrus."""
    faces = _close_holes(positions, _without_crumbs(len(positions), tris))
    spread = _with_loose(positions, faces)
    while spread.shape[0] < 9000:
        finer, faces = _refine(spread.shape[0], faces)
        spread = (finer @ spread).tocsr()
    used, faces = np.unique(faces, return_inverse=True)
    faces, spread = faces.reshape(-1, 3), spread[used]
    folded = 1e3 * (spread @ positions)
    laplacian = _laplacian(len(folded), faces)
    folded = _relax(folded, laplacian, 0.5 * len(folded) / len(positions))  # rounds the facets
    smooth = _relax(folded, laplacian, 2e-3 * len(folded))  # the same width (mm) on any mesh
    size = np.ptp(folded, axis=0) / np.ptp(smooth, axis=0)
    smooth = (smooth - smooth.mean(axis=0)) * size + folded.mean(axis=0)
    faces = _outward(smooth, faces)
    height = ((folded - smooth) * _normals(smooth, faces)).sum(axis=1)
    return Hemisphere(smooth, faces, _brightness(height), spread)


# Meshes


def _edges(faces):
    """All directed edges (3 faces, 2)."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def _with_loose(positions, faces):
    """Show a location outside the mesh too: its nearest vertex takes the average with it."""
    used = np.unique(faces)
    loose = np.setdiff1d(np.arange(len(positions)), used)
    near = used[cKDTree(positions[used]).query(positions[loose])[1]]
    extra = sparse.csr_array((np.ones(len(loose)), (near, loose)), (len(positions),) * 2)
    weights = (sparse.eye_array(len(positions)) + extra).tocsr()
    return sparse.diags_array(1.0 / weights.sum(axis=1)) @ weights


def _without_crumbs(n: int, faces):
    """Leave out pieces of a few triangles that hang nowhere."""
    _, piece = sparse.csgraph.connected_components(_laplacian(n, faces))
    size = np.bincount(piece[faces[:, 0]], minlength=piece.max() + 1)
    return faces[size[piece[faces[:, 0]]] > 0.01 * len(faces)]


def _close_holes(positions, faces):
    """Fill the gaps that left-out locations leave, around a loose location where one is inside."""
    loose = np.setdiff1d(np.arange(len(positions)), faces)
    fans = []
    for loop in _open_loops(faces):
        centre = positions[loop].mean(axis=0)
        reach = np.linalg.norm(positions[loop] - centre, axis=1).max()
        away = np.linalg.norm(positions[loose] - centre, axis=1)
        if away.min(initial=np.inf) < reach:
            hub, loose = loose[away.argmin()], np.delete(loose, away.argmin())
            fans += [(hub, i, j) for i, j in zip(loop, loop[1:] + loop[:1], strict=True)]
        else:
            fans += [(loop[0], i, j) for i, j in pairwise(loop[1:])]
    return np.concatenate([faces, np.array(fans, dtype=faces.dtype).reshape(-1, 3)])


def _open_loops(faces) -> list[list[int]]:
    """Follow the edges that have a triangle on one side only, against its direction."""
    directed = {tuple(e) for e in _edges(faces).tolist()}
    follow: dict[int, list[int]] = {}
    for a, b in sorted(directed):
        if (b, a) not in directed:
            follow.setdefault(b, []).append(a)
    loops = []
    for start in follow:
        path = [start]
        while follow.get(path[-1]):
            there = follow[path[-1]].pop()
            if there in path:  # a loop is closed, perhaps a smaller one on the way
                loops.append(path[path.index(there) :])
                path = path[: path.index(there)]
            path.append(there)
        loops.append(path)  # what is left of it, where edges with three triangles cut the walk
    return [loop for loop in loops if 3 <= len(loop) <= LONGEST_LOOP]


def _refine(n: int, faces):
    """Split each triangle into four; weights (n + edges, n) that put vertices at midpoints."""
    pairs, back = np.unique(np.sort(_edges(faces), axis=1), axis=0, return_inverse=True)
    ab, bc, ca = n + back.reshape(3, -1)
    a, b, c = faces.T
    quads = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    rows = np.repeat(np.arange(len(pairs)), 2)
    half = sparse.csr_array((np.full(pairs.size, 0.5), (rows, pairs.ravel())), (len(pairs), n))
    finer = sparse.vstack([sparse.eye_array(n), half]).tocsr()
    return finer, np.concatenate([np.stack(q, axis=1) for q in quads])


def _laplacian(n: int, faces):
    i, j = _edges(faces).T
    adjacency = sparse.csr_array((np.ones(len(i)), (i, j)), (n, n))
    return sparse.csgraph.laplacian(((adjacency + adjacency.T) > 0).astype(float)).tocsc()


def _relax(coords, laplacian, amount: float):
    """Smooth a surface by one implicit step of diffusion."""
    return splu((sparse.eye_array(len(coords)) + amount * laplacian).tocsc()).solve(coords)


def _face_normals(coords, faces):
    a, b, c = coords[faces[:, 0]], coords[faces[:, 1]], coords[faces[:, 2]]
    return np.cross(b - a, c - a)


def _normals(coords, faces):
    """Give each vertex its unit normal, (vertices, 3)."""
    area = np.repeat(_face_normals(coords, faces), 3, axis=0)
    total = np.stack([np.bincount(faces.ravel(), x, len(coords)) for x in area.T], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _outward(coords, faces):
    """Order the triangles so that the enclosed volume is positive."""
    centred = coords - coords.mean(axis=0)
    volume = (centred[faces[:, 0]] * _face_normals(centred, faces)).sum()
    return faces if volume > 0 else faces[:, ::-1]


def _brightness(height):
    """Grey of gyri (positive height) and sulci."""
    return GREY + 0.16 * np.tanh(1.5 * (height - np.median(height)) / np.std(height))


# Colours


class _Style(NamedTuple):
    """A map with nothing left open: values, colour map, ends, threshold."""

    values: np.ndarray
    label: str
    threshold: float
    cmap: object
    limits: tuple[float, float]

    def rgb(self, hemi: Hemisphere):
        """Colours (vertices, 3) and values (vertices,) on one hemisphere."""
        bare = np.repeat(hemi.background[:, None], 3, axis=1)
        seen = np.abs(hemi.spread).sum(axis=1) > 0
        values = np.where(seen, hemi.spread @ self.values, np.nan)
        low, high = self.limits
        colour = self.cmap((np.nan_to_num(values) - low) / (high - low))[:, :3]
        colour *= 1 + 0.35 * np.minimum(hemi.background - GREY, 0)[:, None]  # sulci shine through
        shown = np.isfinite(values) & (np.abs(np.nan_to_num(values)) >= self.threshold)
        return np.where(shown[:, None], colour, bare), values

    def bar(self):
        """Colour map and norm of the colour bar: grey below the threshold."""
        from matplotlib.colors import ListedColormap, Normalize

        at = np.linspace(*self.limits, 512)
        colours = self.cmap(np.linspace(0, 1, 512))
        colours[np.abs(at) < self.threshold, :3] = GREY
        return ListedColormap(colours), Normalize(*self.limits)


def _style(name: str, item, cortex: Cortex) -> _Style:
    """Check one map against the surfaces and fill in what was left open."""
    from matplotlib import colormaps

    item = item if isinstance(item, Map) else Map(item)
    values = np.asarray(item.values, dtype=float)
    hemi = cortex.left or cortex.right
    if values.shape != (hemi.spread.shape[1],):
        raise InputError(
            f"map {name!r} must be ({hemi.spread.shape[1]},), one value per location; "
            f"got {values.shape}."
        )
    finite = values[np.isfinite(values)]
    top = float(np.abs(finite).max(initial=0)) or 1.0
    signed = bool((finite < 0).any())
    limits = item.limits or ((-top, top) if signed else (0.0, top))
    cmap = colormaps[item.cmap or ("RdBu_r" if signed else "inferno")]
    return _Style(values, item.label, item.threshold or 0.0, cmap, limits)


# Figures


def _frame(view: str):
    """Side of a view such as "left lateral", and unit vectors right, up, towards the viewer."""
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


def _draw(axes, hemi: Hemisphere, frame, colours) -> None:
    """Paint one hemisphere, far triangles first, lit from the viewer and above."""
    from matplotlib.collections import TriMesh
    from matplotlib.tri import Triangulation

    x, y, depth = frame @ hemi.coords.T
    light = _normals(hemi.coords, hemi.faces) @ (np.array([-0.25, 0.45, 0.86]) @ frame)
    shaded = np.clip(colours * (0.62 + 0.42 * np.clip(light, 0, 1))[:, None], 0, 1)
    facing = _face_normals(hemi.coords, hemi.faces) @ frame[2] > 0
    faces = hemi.faces[facing]
    faces = faces[np.argsort(depth[faces].mean(axis=1))]
    mesh = TriMesh(Triangulation(x, y, faces), rasterized=True)
    mesh.set_facecolor(np.column_stack([shaded, np.ones(len(shaded))]))
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
    styles = {name: _style(name, item, cortex) for name, item in maps.items()}
    rows, columns = len(styles), len(frames)
    figure = plt.figure(figsize=(2.55 * columns + 1.3, 2.05 * rows + 0.45 + 0.4 * bool(title)))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.06, wspace=0.0, hspace=0.0)
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[1.0] * columns + [0.04])
    for row, (name, style) in enumerate(styles.items()):
        for column, (view, (side, frame)) in enumerate(frames.items()):
            axes = figure.add_subplot(grid[row, column], label=f"{name}: {view}")
            hemi = getattr(cortex, side)
            _draw(axes, hemi, frame, style.rgb(hemi)[0])
            if row == 0:
                axes.set_title(view, fontsize=10, color="0.3")
            if column == 0:
                axes.text(
                    -0.04,
                    0.5,
                    name,
                    fontsize=11,
                    rotation=90,
                    ha="right",
                    va="center",
                    transform=axes.transAxes,
                )
        _colour_bar(figure, figure.add_subplot(grid[row, columns]), style)
    if title:
        figure.suptitle(title, fontsize=13)
    return figure


def _colour_bar(figure, axes, style: _Style) -> None:
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


# Interactive


def view_maps(
    cortex: Cortex, maps: Mapping[str, Map | ArrayLike], *, title: str | None = None
) -> str:
    """Make a page with a cortex to turn, that needs no network.

    Parameters
    ----------
    cortex : Cortex
        Surfaces, from :func:`cortex`.
    maps : dict of Map or ndarray
        Maps to choose from in a drop-down; the first is shown, seen from where it peaks.
    title : str | None
        Title.

    Returns
    -------
    str
        A standalone HTML document. A click on a hemisphere's name hides it, which uncovers the
        other's medial side.

    Raises
    ------
    InputError
        For a map of another size, or no map.

    Examples
    --------
    >>> pathlib.Path("map.html").write_text(view_maps(surfaces, {"mean": x}))  # doctest: +SKIP
    """
    import plotly.graph_objects as go

    if not maps:
        raise InputError("nothing to show: give at least one map.")
    styles = {name: _style(name, item, cortex) for name, item in maps.items()}
    sides = [(side, hemi) for side, hemi in zip(SIDES, cortex, strict=True) if hemi is not None]
    traces, peak = [], None
    for number, style in enumerate(styles.values()):
        shown = [_trace(style, side, hemi, visible=number == 0) for side, hemi in sides]
        traces += [trace for trace, _ in shown] + [_bar_trace(style, visible=number == 0)]
        peak = peak or max((p for _, p in shown), key=lambda p: p[0])
    figure = go.Figure(traces)
    figure.update_layout(_layout(list(styles), len(sides) + 1, peak[1], title))
    config = {"displaylogo": False, "responsive": True}
    page = figure.to_html(include_plotlyjs=True, full_html=True, config=config)
    return page.replace("<body>", '<body style="margin:0;height:100vh;overflow:hidden">', 1)


def _apart(side: str, coords):
    """Move a hemisphere beside the other, which inflated ones would overlap."""
    shift = -4 - coords[:, 0].max() if side == "left" else 4 - coords[:, 0].min()
    return coords + np.array([shift, 0.0, 0.0])


def _trace(style: _Style, side: str, hemi: Hemisphere, visible: bool):
    """One hemisphere with one map; and the size and the place of its peak."""
    import plotly.graph_objects as go

    colours, values = style.rgb(hemi)
    coords = _apart(side, hemi.coords)
    i, j, k = hemi.faces.T.astype(np.int32)
    x, y, z = coords.T.astype(np.float32)
    trace = go.Mesh3d(
        x=x, y=y, z=z, i=i, j=j, k=k, visible=visible, name=side, showlegend=True,
        vertexcolor=(255 * np.clip(colours, 0, 1)).astype(np.uint8),
        customdata=values.astype(np.float32),
        hovertemplate=f"%{{customdata:.3g}} {style.label}<extra>{side}</extra>",
        lighting={"ambient": 0.72, "diffuse": 0.5, "specular": 0.06, "roughness": 0.9},
        color="silver",
    )  # fmt: skip
    size = np.abs(np.nan_to_num(values))
    return trace, (size.max(), coords[np.argmax(size)])


def _bar_trace(style: _Style, visible: bool):
    """No points, only a colour bar."""
    import plotly.graph_objects as go
    from matplotlib.colors import to_hex

    cmap, _ = style.bar()
    scale = [[t, to_hex(cmap(t))] for t in np.linspace(0, 1, 65)]
    low, high = style.limits
    bar = {"title": {"text": style.label, "side": "right"}, "len": 0.7, "thickness": 16}
    marker = {"color": [low], "cmin": low, "cmax": high, "colorscale": scale, "colorbar": bar}
    return go.Scatter3d(
        x=[None], y=[None], z=[None], mode="markers", visible=visible, showlegend=False,
        marker=marker | {"showscale": True}, hoverinfo="skip",
    )  # fmt: skip


def _layout(names: list[str], per_map: int, peak, title: str | None) -> dict:
    """Camera towards the peak, a drop-down of the maps, no axes."""
    eye = np.array([peak[0], peak[1], 0.0]) / max(np.hypot(peak[0], peak[1]), 1.0)
    eye = 1.4 * eye + [0, 0, 0.45]
    buttons = [
        {"label": name, "method": "update",
         "args": [{"visible": list(np.repeat(np.arange(len(names)) == n, per_map).tolist())}]}
        for n, name in enumerate(names)
    ]  # fmt: skip
    off = {"visible": False}
    menu = {"buttons": buttons, "x": 0.01, "xanchor": "left", "y": 0.99, "yanchor": "top"}
    return {
        "title": {"text": title or (names[0] if len(names) == 1 else ""), "x": 0.5},
        "scene": {"xaxis": off, "yaxis": off, "zaxis": off, "aspectmode": "data",
                  "camera": {"eye": dict(zip("xyz", eye.tolist(), strict=True))}},
        "updatemenus": [menu] if len(names) > 1 else [],
        "legend": {"x": 0.01, "y": 0.02, "yanchor": "bottom"},
        "margin": {"l": 0, "r": 0, "t": 50 if title or len(names) == 1 else 10, "b": 0},
        "font": {"family": "system-ui, sans-serif", "size": 14},
        "paper_bgcolor": "white",
    }  # fmt: skip
