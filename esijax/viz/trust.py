"""Whether a map can be believed, as a picture: a light, a sentence, the checks behind them."""

import textwrap
from typing import Any

import numpy as np

from esijax._types import InputError
from esijax.viz._canvas import is_axes

# colour, sign and word of each light: no colour speaks alone
LIGHTS = {
    "green": ("#009E73", "o", "yes"),
    "amber": ("#E69F00", "^", "with care"),
    "red": ("#D55E00", "X", "no"),
}
OTHER = {"yellow": "amber", "orange": "amber"}
UNKNOWN = ("0.6", "s", "unknown")
LINE = 0.34  # inch


def plot_trust(trust: Any, ax: Any = None):
    """Draw what `estimate.trust()` gives: `esijax.plot.trust`."""
    import matplotlib.pyplot as plt

    made = getattr(trust, "trust", None)
    trust = made() if callable(made) else trust
    if not all(hasattr(trust, name) for name in ("light", "sentence", "checks")):
        raise InputError(
            f"give estimate.trust() or an estimate that has one, got {type(trust).__name__}."
        )
    checks = list(trust.checks)
    sentence = textwrap.wrap(str(trust.sentence), 84) or [""]
    lines = len(sentence) + len(checks) + 1.6
    if not is_axes(ax):
        figure = ax or plt.figure(figsize=(8.4, LINE * lines + 0.2), layout="constrained")
        ax = figure.add_subplot()
    ax.set(xlim=(0, 1), ylim=(lines, 0))
    ax.set_axis_off()
    colour, sign, word = _light(trust.light)
    middle = len(sentence) / 2 + 0.1
    ax.plot(0.03, middle, sign, color=colour, ms=20, mec="k", mew=0.8)
    ax.text(0.07, middle, word, weight="bold", va="center", fontsize=12)
    for i, line in enumerate(sentence):
        ax.text(0.2, i + 0.6, line, va="center", fontsize=10)
    top = len(sentence) + 0.9
    for x, text, side in (
        (0.07, "check", "left"),
        (0.72, "value", "right"),
        (0.9, "limit", "right"),
    ):
        ax.text(x, top, text, ha=side, va="center", fontsize=9, color="0.3")
    ax.axhline(top + 0.4, color="0.3", lw=0.8)
    for i, check in enumerate(checks):
        y = top + 0.9 + i
        colour, sign, _ = _light(check.light)
        ax.plot(0.03, y, sign, color=colour, ms=8, mec="k", mew=0.5)
        ax.text(0.07, y, str(check.name).replace("_", " "), va="center", fontsize=10)
        ax.text(0.72, y, _text(check.value), ha="right", va="center", fontsize=10)
        ax.text(0.9, y, _text(check.limit), ha="right", va="center", fontsize=10, color="0.3")
    return ax


def _light(name: Any) -> tuple[str, str, str]:
    key = str(getattr(name, "value", name)).lower()
    return LIGHTS.get(OTHER.get(key, key), UNKNOWN)


def _text(value: Any) -> str:
    """A number in three digits, a word as it is, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    if isinstance(value, tuple | list):
        return " to ".join(_text(v) for v in value)
    try:
        return f"{float(value):.3g}"
    except (TypeError, ValueError):
        return str(value)
