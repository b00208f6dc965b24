"""A page with a cortex to turn, from plain arrays."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from esijax._types import InputError
from esijax.viz._surface import SIDES, Cortex, Hemisphere
from esijax.viz.cortex import Map, Style, style_of

__all__ = ["view_maps"]


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
    styles = {name: style_of(name, item, cortex) for name, item in maps.items()}
    sides = [(side, hemi) for side, hemi in zip(SIDES, cortex, strict=True) if hemi is not None]
    traces = []
    for number, style in enumerate(styles.values()):
        shown = {"visible": number == 0}
        for side, hemi in sides:
            traces += [_mesh_trace(style, side, hemi) | shown, _name_trace(side) | shown]
        traces.append(_bar_trace(style) | shown)
    figure = go.Figure(traces)
    first = next(iter(styles.values()))
    _, peak = max((_peak(first, side, hemi) for side, hemi in sides), key=lambda p: p[0])
    figure.update_layout(_layout(list(styles), 2 * len(sides) + 1, peak, title))
    config = {"displaylogo": False, "responsive": True}
    page = figure.to_html(include_plotlyjs=True, full_html=True, config=config)
    return page.replace("<body>", '<body style="margin:0;height:100vh;overflow:hidden">', 1)


def _apart(side: str, coords):
    """Move a hemisphere sideways: inflated ones would overlap."""
    shift = -4 - coords[:, 0].max() if side == "left" else 4 - coords[:, 0].min()
    return coords + np.array([shift, 0.0, 0.0])


def _mesh_trace(style: Style, side: str, hemi: Hemisphere) -> dict:
    """One hemisphere with one map."""
    colours, values = style.rgb(hemi)
    i, j, k = hemi.faces.T.astype(np.int32)
    x, y, z = _apart(side, hemi.coords).T.astype(np.float32)
    return {
        "type": "mesh3d", "x": x, "y": y, "z": z, "i": i, "j": j, "k": k,
        "vertexcolor": (255 * np.clip(colours, 0, 1)).astype(np.uint8),
        "customdata": values.astype(np.float32),
        "hovertemplate": f"%{{customdata:.3g}} {style.label}<extra>{side}</extra>",
        "lighting": {"ambient": 0.72, "diffuse": 0.5, "specular": 0.06, "roughness": 0.9},
        "name": side, "legendgroup": side, "showlegend": False,
    }  # fmt: skip


def _peak(style: Style, side: str, hemi: Hemisphere) -> tuple[float, np.ndarray]:
    """Size and place of the largest value on one hemisphere."""
    size = np.abs(np.nan_to_num(hemi.spread @ style.values))
    return float(size.max()), _apart(side, hemi.coords)[np.argmax(size)]


def _name_trace(side: str) -> dict:
    """Empty trace that names a map in the legend: a mesh would show a black square there."""
    return {
        "type": "scatter3d", "x": [None], "y": [None], "z": [None], "mode": "markers",
        "marker": {"color": "silver", "symbol": "square"}, "hoverinfo": "skip",
        "name": f"{side} hemisphere", "legendgroup": side, "showlegend": True,
    }  # fmt: skip


def _bar_trace(style: Style) -> dict:
    """Empty trace that carries the colour bar."""
    from matplotlib.colors import to_hex

    cmap, _ = style.bar()
    scale = [[t, to_hex(cmap(t))] for t in np.linspace(0, 1, 65)]
    low, high = style.limits
    bar = {"title": {"text": style.label, "side": "right"}, "len": 0.7, "thickness": 16}
    marker = {"color": [low], "cmin": low, "cmax": high, "colorscale": scale, "colorbar": bar}
    return {
        "type": "scatter3d", "x": [None], "y": [None], "z": [None], "mode": "markers",
        "marker": marker | {"showscale": True}, "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip


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
