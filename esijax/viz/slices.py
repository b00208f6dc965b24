"""Maps of volumes on slices: each source fills the space nearest to it; nothing is interpolated."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import KDTree

from esijax._types import InputError
from esijax.viz._canvas import figure_for
from esijax.viz._style import Map, Style, colour_bar, style_of

FILLED = 0.87  # of the distance between sources: how far from one space still belongs to it
FEWEST = 30  # sources of a grid
FINEST = 1.5  # mm, edge of a voxel
LEFT, WIDTH, BAR = 0.06, 0.78, 0.875  # of the figure: where slices begin, how wide, the colour bar


class Grid(NamedTuple):
    """Voxels around the sources, along the axes of their coordinates.

    Parameters
    ----------
    affine : (4, 4)
        From voxels to mm.
    nearest : (x, y, z)
        Source that fills each voxel, -1 where none is near.
    """

    affine: np.ndarray
    nearest: np.ndarray

    def image(self, values):
        """Give an image with these values (sources,), 0 where there is none."""
        from nibabel.nifti1 import Nifti1Image

        known = np.append(np.nan_to_num(np.asarray(values, float)), 0.0)
        return Nifti1Image(known[self.nearest], self.affine)


def grid_of(points) -> Grid:
    """Fill the space around points (n, 3), mm, each as far as its neighbours are."""
    points = np.asarray(points, float)
    tree = KDTree(points)
    apart = tree.query(points, k=min(2, len(points)))[0].reshape(len(points), -1)[:, -1]
    spacing = float(np.median(apart)) or 10.0
    edge, low = max(spacing / 4, FINEST), points.min(axis=0) - spacing
    shape = np.ceil((np.ptp(points, axis=0) + 2 * spacing) / edge).astype(int) + 1
    affine = np.diag([edge, edge, edge, 1.0])
    affine[:3, 3] = low
    voxels = edge * np.moveaxis(np.indices(tuple(shape.tolist())), 0, -1) + low
    far, nearest = tree.query(voxels, distance_upper_bound=FILLED * spacing)
    return Grid(affine, np.where(np.isfinite(far), nearest, -1))


def is_grid(points) -> bool:
    """Whether points (n, 3) are equally far from their neighbours, as those of a volume are."""
    points = np.asarray(points, float)
    if len(points) < FEWEST:
        return False
    apart = KDTree(points).query(points, k=2)[0][:, 1]
    return bool((np.abs(apart / np.median(apart) - 1) < 0.02).mean() > 0.9)


def plot_slices(
    positions,
    maps: Mapping[str, Map | Any],
    *,
    title: str | None = None,
    mri: Any = None,
    trans: Any = None,
    ax: Any = None,
    part: tuple[float, float] = (0.0, 1.0),
    together: bool = True,
):
    """Draw maps of a volume on three slices through a largest value, a row each.

    Parameters
    ----------
    positions : (locations, 3)
        m, head coordinates; MRI coordinates after `trans`.
    maps : dict of Map or ndarray
        Title of the row: values (locations,).
    title : str | None
    mri : path | image | None
        What is seen behind; None: the sources themselves, grey, on their own grid.
    trans : (4, 4) | mne.Transform | None
        Head to MRI, for `mri`.
    ax : Figure | None
        Where to draw; None: a new figure.
    part : tuple of float
        Lower and upper end of the part of the figure's height that is drawn into.
    together : bool
        All rows are cut where the first is largest, or each where it is itself.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from nilearn.plotting import plot_anat, plot_img

    points = 1e3 * np.asarray(positions, float)
    styles = {name: style_of(name, item, len(points)) for name, item in maps.items()}
    if not styles:
        raise InputError("nothing to draw: give at least one map.")
    behind = None if mri is None else anatomy(mri)
    if behind is not None:
        points = in_mri(points, trans)
    grid = grid_of(points)
    rows = len(styles)
    figure = _whole(figure_for(ax, (9.0, 2.5 * rows + 0.5)))
    if ax is None:
        figure.set_layout_engine("none")  # nilearn places its panels itself
    low, high = part
    high -= (0.45 / figure.get_figheight()) if title else 0.0
    height = (high - low) / rows
    first = next(iter(styles.values()))
    for row, (name, style) in enumerate(styles.items()):
        largest = np.abs(np.nan_to_num((first if together else style).values)).argmax()
        cut = tuple(points[largest].tolist())
        bottom = high - (row + 1) * height
        place = {"figure": figure, "axes": (LEFT, bottom, WIDTH, 0.95 * height)}
        shown = {"cut_coords": cut, "colorbar": False, "annotate": True, "draw_cross": False}
        if behind is None:
            whole = grid.image(np.ones(len(points)))
            bare = {"cmap": "Greys", "vmin": 0.0, "vmax": 3.5, "threshold": 0.5}
            display = plot_img(whole, **bare, **place, **shown, resampling_interpolation="nearest")
        else:
            display = plot_anat(behind, **place, **shown)
        _overlay(display, grid, style)
        figure.text(
            0.02, bottom + height / 2, name, rotation=90, ha="left", va="center", fontsize=11
        )
        bar = figure.add_axes((BAR, bottom + 0.16 * height, 0.016, 0.66 * height), label=name)
        colour_bar(figure, bar, style)
    if title:
        figure.text(0.5, high + 0.1 / figure.get_figheight(), title, fontsize=13, ha="center")
    frame = "MRI" if mri is not None else "head"
    figure.text(BAR, low + 0.01, f"mm, {frame}\ncoordinates", fontsize=8)
    return figure


def _overlay(display, grid: Grid, style: Style) -> None:
    """Lay a map over the slices, clear below its threshold."""
    low, high = style.limits
    values = np.where(np.abs(style.values) >= style.threshold, style.values, 0.0)
    display.add_overlay(
        grid.image(values), threshold=1e-9 * max(abs(low), abs(high)), cmap=style.cmap,
        vmin=low, vmax=high, resampling_interpolation="nearest",
    )  # fmt: skip


def _whole(figure):
    """Refuse a part of a figure: nilearn places its slices in whole ones."""
    from matplotlib.figure import Figure

    if not isinstance(figure, Figure):
        raise InputError("slices need a whole matplotlib Figure as ax, not a SubFigure.")
    return figure


def anatomy(mri: Any):
    """Read an image; FreeSurfer's are put into the coordinates of its surfaces.

    Raises
    ------
    InputError
        For what nibabel does not read.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    if not hasattr(mri, "affine"):
        try:
            mri = nibabel.load(mri)
        except (OSError, TypeError, ImageFileError) as error:
            raise InputError(f"mri {mri!r:.80} is no image that nibabel reads: {error}") from error
    return _in_surface_coordinates(mri)


def _in_surface_coordinates(image: Any):
    """Give FreeSurfer's images the coordinates of its surfaces; others keep theirs."""
    from nibabel.nifti1 import Nifti1Image

    tkr = getattr(image.header, "get_vox2ras_tkr", None)
    affine = image.affine if tkr is None else tkr()
    return Nifti1Image(np.asarray(image.dataobj, dtype=np.float32), affine)


def in_mri(points: np.ndarray, trans: Any) -> np.ndarray:
    """Take points (n, 3), mm, from head to MRI coordinates.

    Raises
    ------
    InputError
        Without a transform, or one of the other direction.
    """
    if trans is None:
        raise InputError("mri needs trans, the head-to-MRI transform (mne.read_trans).")
    if isinstance(trans, Mapping):  # MNE's
        if (int(trans["from"]), int(trans["to"])) == (5, 4):
            trans = np.linalg.inv(trans["trans"])
        else:
            trans = trans["trans"]
    trans = np.asarray(trans, float)
    if trans.shape != (4, 4):
        raise InputError(f"trans must be (4, 4), head to MRI, m; got {trans.shape}.")
    return points @ trans[:3, :3].T + 1e3 * trans[:3, 3]
