"""Where a picture is drawn: into what the caller gives, or into a new figure."""

from typing import Any

from esijax._types import InputError


def figure_for(ax: Any, size: tuple[float, float], tight: bool = False):
    """Give the caller's Figure or SubFigure, or a new one of this size (inches).

    Without axes around panels they may stand close to each other (`tight`).

    Raises
    ------
    InputError
        For an Axes, where several are needed, and anything else.
    """
    import matplotlib.pyplot as plt
    from matplotlib.figure import FigureBase

    if ax is None:
        figure = plt.figure(figsize=size)
        pads = {"w_pad": 0.02, "h_pad": 0.06, "wspace": 0.0, "hspace": 0.0} if tight else {}
        figure.set_layout_engine("constrained", **pads)
        return figure
    if not isinstance(ax, FigureBase):
        raise InputError(
            f"this picture has several panels: give a matplotlib Figure or SubFigure as ax, not "
            f"{type(ax).__name__}."
        )
    return ax


def is_axes(ax: Any) -> bool:
    """Whether it is one Axes (a picture of one panel); None and figures are not.

    Raises
    ------
    InputError
        For what is no place of Matplotlib's.
    """
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    if ax is not None and not isinstance(ax, Axes | FigureBase):
        raise InputError(
            f"ax must be a matplotlib Axes or Figure, or None, got {type(ax).__name__}."
        )
    return isinstance(ax, Axes)
