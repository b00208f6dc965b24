"""A page with a cortex to turn and a time to choose, from plain arrays."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from esijax._types import InputError
from esijax.viz import _mesh
from esijax.viz._spheres import places
from esijax.viz._style import Map, Style, n_locations, shine, style_of
from esijax.viz._surface import SIDES, Cortex, Hemisphere

__all__ = ["Film", "view_maps"]

GAP = 12.0  # mm, between the cortex and what lies deep, shown below it
LIFTED = 1.5  # mm, by which a sphere stands out of the cortex
CODES, MISSING = 65534, 65535  # values are kept as whole numbers; the last says that there is none
EYES = {"left": "-1.8 0 0.3", "right": "1.8 0 0.3", "above": "0 -0.01 1.9", "front": "0 1.8 0.3",
        "behind": "0 -1.8 0.3"}  # fmt: skip
STYLE = """
html { height: 100%; overflow: hidden }
body { margin: 0; height: 100%; overflow: hidden; font: 15px system-ui, sans-serif;
       display: flex; flex-direction: column }
form { display: flex; flex-wrap: wrap; gap: .3em 1.1em; padding: .5em; align-items: center }
#time { width: min(26em, 40vw) } #now { display: inline-block; min-width: 6em }
#plot { flex: 1; min-height: 0; overflow: hidden } h1 { font-size: 1.1em; margin: .4em .5em 0 }
:focus-visible { outline: 3px solid #0072B2; outline-offset: 2px }
"""


class Film(NamedTuple):
    """A map at several times; one frame stands for all of them where it is `steady`.

    Parameters
    ----------
    map : Map
        How it is shown, and its values at the first time that is shown.
    frames : (times, locations)
        Or (1, locations) where only that time is known.
    steady : bool
        Whether the one frame holds at all times.
    """

    map: Map
    frames: np.ndarray
    steady: bool = False


def view_maps(
    cortex: Cortex | None,
    maps: Mapping[str, Map | Film | ArrayLike],
    *,
    times: Sequence[float] = (),
    start: int = 0,
    positions: Any = None,
    title: str | None = None,
) -> str:
    """Make a page with a cortex to turn, that needs no network.

    Parameters
    ----------
    cortex : Cortex | None
        Surfaces, from :func:`cortex`. None: sources are shown as spheres in the head.
    maps : dict of Map, Film or ndarray
        Maps to choose from; the first is shown, seen from where it peaks.
    times : sequence of float
        ms, of the frames of the films: what the slider goes through.
    start : int
        Frame that is shown first.
    positions : (locations, 3), optional
        Head coordinates, m; needed for locations that lie on no surface.
    title : str | None
        Title.

    Returns
    -------
    str
        A standalone HTML document. All that can be chosen is a labelled control that the
        keyboard reaches: map, time, hemispheres, point of view.

    Raises
    ------
    InputError
        For a map of another size, or no map.

    Examples
    --------
    >>> pathlib.Path("map.html").write_text(view_maps(surfaces, {"mean": x}))  # doctest: +SKIP
    """
    from plotly.offline import get_plotlyjs

    if not maps:
        raise InputError("nothing to show: give at least one map.")
    n = len(np.asarray(positions)) if cortex is None else n_locations(cortex)
    sides = _sides(cortex)
    made = [_map(name, item, n, len(times)) for name, item in maps.items()]
    anchors, side_of = _anchors(sides, positions, n)
    deep = np.flatnonzero(side_of == len(SIDES)).tolist()
    first = next(iter(maps.values()))
    style = style_of("first", first.map if isinstance(first, Film) else first, n)
    data = {
        "n": n,
        "times": [round(float(t), 1) for t in times],
        "start": start,
        "sides": [_side(name, hemi) for name, hemi in sides.items()],
        "anchors": [_packed(a, np.float32) for a in anchors.T],
        "deep": deep,
        "side_of": _packed(side_of, np.uint8),
        "maps": made,
        "eye": _eye(anchors, style),
    }
    script = Path(__file__).with_name("viewer.js").read_text(encoding="utf-8")
    head = f"<h1>{html.escape(title)}</h1>" if title else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title or 'source maps')}</title><style>{STYLE}</style></head>"
        f"<body>{head}{_controls(list(sides), len(times), start)}"
        '<div id="plot" role="img" aria-label="source maps on the cortex"></div>'
        f"<script>{get_plotlyjs()}</script>"
        f"<script>const DATA = {json.dumps(data).replace('<', chr(92) + 'u003c')};\n{script}"
        "</script></body></html>"
    )


def _controls(sides: list[str], n_times: int, start: int) -> str:
    """Controls of the page, each with its label."""
    parts = ['<label>map <select id="map"></select></label>']
    if n_times > 1:
        parts.append(
            f'<label>time <input id="time" type="range" min="0" max="{n_times - 1}" step="1" '
            f'value="{start}"></label>'
        )
    parts.append('<output id="now" for="time" aria-live="polite"></output>')
    parts += [
        f'<label><input id="{side}" type="checkbox" checked> {side} hemisphere</label>'
        for side in sides
    ]
    views = "".join(
        f'<button type="button" data-eye="{eye}">{name}</button>' for name, eye in EYES.items()
    )
    parts.append(f'<span role="group" aria-label="seen from">seen from {views}</span>')
    return f'<form onsubmit="return false">{"".join(parts)}</form>'


def _packed(array, dtype) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode()


def _sides(cortex: Cortex | None) -> dict[str, Hemisphere]:
    """The hemispheres that are there, moved sideways."""
    pairs = () if cortex is None else zip(SIDES, cortex, strict=True)
    return {
        side: hemi._replace(coords=_apart(side, hemi.coords))
        for side, hemi in pairs
        if hemi is not None
    }


def _apart(side: str, coords):
    """Move a hemisphere sideways: inflated ones would overlap."""
    shift = -4 - coords[:, 0].max() if side == "left" else 4 - coords[:, 0].min()
    return coords + np.array([shift, 0.0, 0.0])


def _side(name: str, hemi: Hemisphere) -> dict:
    """One surface and the way from locations to it, packed."""
    spread = hemi.spread.tocsr()
    return {
        "name": name,
        **{k: _packed(c, np.float32) for k, c in zip("xyz", hemi.coords.T, strict=True)},
        **{k: _packed(f, np.int32) for k, f in zip("ijk", hemi.faces.T, strict=True)},
        "grey": _packed(255 * np.clip(hemi.background, 0, 1), np.uint8),
        "shine": _packed(shine(hemi), np.float32),
        "start": _packed(spread.indptr, np.int32),
        "at": _packed(spread.indices, np.int32),
        "weight": _packed(spread.data, np.float32),
    }


def _anchors(sides: Mapping[str, Hemisphere], positions, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each location has its sphere, mm, and on which side (2: on none)."""
    anchors = np.zeros((n, 3)) if positions is None else 1e3 * np.asarray(positions, float)
    side_of = np.full(n, len(SIDES))
    for side, hemi in sides.items():
        vertex = places(hemi, np.arange(n))
        own = vertex >= 0
        out = _mesh.normals(hemi.coords, hemi.faces)
        anchors[own] = (hemi.coords + LIFTED * out)[vertex[own]]
        side_of[own] = SIDES.index(side)
    deep = side_of == len(SIDES)
    if sides and deep.any():  # surfaces are inflated and apart: what lies deep is shown below them
        middle = np.mean([h.coords.mean(axis=0) for h in sides.values()], axis=0)
        anchors[deep] += middle - anchors[deep].mean(axis=0)
        floor = min(h.coords[:, 2].min() for h in sides.values()) - GAP
        anchors[deep, 2] += floor - anchors[deep, 2].max()
    return anchors, side_of


def _map(name: str, item, n: int, n_times: int) -> dict:
    """One map: its style, and its values at each time as whole numbers."""
    film = item if isinstance(item, Film) else Film(item, np.zeros((0, n)))
    style: Style = style_of(name, film.map, n)
    frames = film.frames if len(film.frames) else style.values[None]
    if frames.shape not in ((n_times, n), (1, n)):
        raise InputError(f"film {name!r} must be ({n_times}, {n}), got {frames.shape}.")
    low, high = float(np.nanmin(frames, initial=0.0)), float(np.nanmax(frames, initial=0.0))
    high = high if high > low else low + 1.0
    with np.errstate(invalid="ignore"):
        codes = np.round(CODES * (frames - low) / (high - low))
    codes = np.where(np.isfinite(frames), codes, MISSING)
    return {
        "name": name,
        "label": style.label,
        "limits": style.limits,
        "threshold": style.threshold,
        "spheres": style.spheres,
        "frames": len(frames),
        "steady": film.steady or not n_times,
        "low": low,
        "high": high,
        "lut": _packed(np.round(255 * style.cmap(np.linspace(0, 1, 256))[:, :3]), np.uint8),
        "codes": _packed(codes, np.uint16),
    }


def _eye(anchors: np.ndarray, style: Style) -> dict[str, float]:
    """Point of view towards the largest value."""
    peak = anchors[np.argmax(np.abs(np.nan_to_num(style.values)))] - anchors.mean(axis=0)
    x, y = 1.5 * peak[:2] / max(np.hypot(peak[0], peak[1]), 1.0)
    return {"x": float(x), "y": float(y), "z": 0.45}
