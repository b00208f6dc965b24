"""Values and how they are shown: colours, ends, thresholds; none hides from the colour-blind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from esijax._types import InputError
from esijax.viz import _mesh
from esijax.viz._surface import Cortex, Hemisphere

# maps whose lightness rises, or falls from the middle, whatever colours an eye can tell apart
SIZE, SPREAD, PROBABILITY, SIGNED = "plasma", "viridis", "magma", "RdBu_r"
# Okabe and Ito 2008: distinct to any eye
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


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
    spheres : bool
        A sphere at each location above the threshold, sized by its value: for maps of few places.
    """

    values: ArrayLike
    label: str = ""
    threshold: float | int | None = None
    cmap: str | None = None
    limits: Sequence[float | int] | None = None
    spheres: bool = False


class Style(NamedTuple):
    """A map with nothing left open: values, colour map, ends, threshold."""

    values: np.ndarray
    label: str
    threshold: float
    cmap: Callable[..., np.ndarray]
    limits: tuple[float, float]
    spheres: bool = False

    def rgb(self, hemi: Hemisphere):
        """Colours (vertices, 3) and values (vertices,) on one hemisphere."""
        bare = np.repeat(hemi.background[:, None], 3, axis=1)
        if self.spheres:
            return bare, np.full(len(bare), np.nan)
        seen = abs(hemi.spread).sum(axis=1) > 0
        values = np.where(seen, hemi.spread @ self.values, np.nan)
        colour = self.colours(values) * shine(hemi)[:, None]
        shown = np.isfinite(values) & (np.abs(np.nan_to_num(values)) >= self.threshold)
        return np.where(shown[:, None], colour, bare), values

    def colours(self, values) -> np.ndarray:
        """Colour of each value, (..., 3)."""
        low, high = self.limits
        return self.cmap((np.nan_to_num(values) - low) / (high - low))[..., :3]

    @property
    def active(self) -> np.ndarray:
        """Locations that are shown, the largest first."""
        size = np.abs(np.nan_to_num(self.values))
        order = np.argsort(-size, kind="stable")
        return order[(size[order] >= self.threshold) & (size[order] > 0)]

    def bar(self):
        """Colour map and norm of the colour bar: grey below the threshold."""
        from matplotlib.colors import ListedColormap, Normalize

        at = np.linspace(*self.limits, 512)
        colours = self.cmap(np.linspace(0, 1, 512))
        if not self.spheres:
            colours[np.abs(at) < self.threshold, :3] = _mesh.GREY
        return ListedColormap(colours), Normalize(*self.limits)


def shine(hemi: Hemisphere) -> np.ndarray:
    """By how much sulci darken the colours, through which they shine."""
    return 1 + 0.35 * np.minimum(hemi.background - _mesh.GREY, 0)


def style_of(name: str, item, where: Cortex | int) -> Style:
    """Check one map against the surfaces, or a number of locations; fill in what was left open."""
    from matplotlib import colormaps

    item = item if isinstance(item, Map) else Map(item)
    values = np.asarray(item.values, dtype=float)
    n = where if isinstance(where, int) else n_locations(where)
    if values.shape != (n,):
        raise InputError(
            f"map {name!r} must be ({n},), one value per location; got {values.shape}."
        )
    finite = values[np.isfinite(values)]
    top = float(np.abs(finite).max(initial=0)) or 1.0
    signed = bool((finite < 0).any())
    low, high = item.limits or ((-top, top) if signed else (0.0, top))
    cmap = colormaps[item.cmap or (SIGNED if signed else SIZE)]
    limits = (float(low), float(high))
    return Style(values, item.label, float(item.threshold or 0.0), cmap, limits, item.spheres)


def n_locations(cortex: Cortex) -> int:
    """How many locations the surfaces show."""
    return next(hemi.spread.shape[1] for hemi in cortex if hemi is not None)


def colour_bar(figure, axes, style: Style) -> None:
    """Draw the colour bar of a map, with its unit and a line at the threshold."""
    from matplotlib.cm import ScalarMappable

    cmap, norm = style.bar()
    bar = figure.colorbar(ScalarMappable(norm, cmap), cax=axes)
    bar.set_label(style.label, fontsize=10)
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_linewidth(0.5)
    if style.threshold and not style.spheres:
        bar.ax.axhline(style.threshold, color="k", linewidth=0.8)
