"""How a problem and an estimate show themselves: in a terminal, in a notebook, as a picture."""

import html
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from esijax._types import is_traced
from esijax.outcome import RESULT

KINDS = {"grad": "gradiometers", "mag": "magnetometers", "eeg": "EEG", "unknown": "channels"}
SIDES = ("left", "right")
UNSEEN = "whose numbers cannot be looked at here"  # traced, batched or without leaves


class Shown(eqx.Module):
    """Something that says in a few lines what it is."""

    def _facts(self) -> Iterator[tuple[str, str]]:
        """Give names and texts, one a line."""
        raise NotImplementedError

    def __repr__(self) -> str:
        name, facts = type(self).__name__, _told(self)
        if facts is None:
            return f"<{name} {UNSEEN}>"
        width = max(map(len, facts))
        lines = (f"  {key + ':':{width + 1}} {value}" for key, value in facts.items())
        return "\n".join((f"<{name}", *lines)) + ">"

    def _repr_html_(self) -> str:
        name, facts = type(self).__name__, _told(self)
        if facts is None:
            return f"<p>{name} {UNSEEN}</p>"
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{html.escape(key)}</th>'
            f'<td style="text-align:left">{html.escape(value)}</td></tr>'
            for key, value in facts.items()
        )
        return f'<table><caption style="text-align:left"><b>{name}</b></caption>{rows}</table>'


class ShownProblem(Shown):
    """The lines of a problem."""

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield from problem_facts(self)


class ShownEstimate(Shown):
    """The lines of an estimate, and its picture."""

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield from estimate_facts(self)

    def plot(self, time: Any = None, **how: Any):
        """Draw the map at its peak, or at a time: `esijax.plot.map` of this estimate.

        Parameters
        ----------
        time : float, optional
            s; by default that of the largest amplitude.
        **how
            Further arguments of `esijax.plot.map`.

        Returns
        -------
        matplotlib.figure.Figure | matplotlib.axes.Axes
            What was given as `ax`, or a new figure.

        Examples
        --------
        >>> estimate.plot(0.092)  # doctest: +SKIP
        """
        pictures: Any = import_module("esijax.plot")  # loaded when asked for: it stands below
        return pictures.map(self, time, **how)


def _told(shown: Shown) -> dict[str, str] | None:
    """Facts by name; None where values are those of a transformation, or of many at once."""
    if is_traced(shown):
        return None
    try:
        return dict(shown._facts())
    except Exception:  # a repr never fails: batches of vmap, trees of shapes or of nothing
        return None


def problem_facts(problem: Any) -> Iterator[tuple[str, str]]:
    """Sensors, times, locations, orientation and noise of a problem."""
    labels, (_, n, n_orients) = problem.labels, problem.gain.shape
    if labels.comment or labels.subject:
        of = f" of {labels.subject}" if labels.subject else ""
        yield "condition", (labels.comment or "-") + of
    yield "sensors", f"{sensors_text(labels.ch_types)}; rank {problem.rank}"
    yield "times", times_text(problem)
    yield "locations", str(n) + spaces_text(labels)
    yield "orientation", orientation_text(np.asarray(problem.orient_scale), n_orients)
    together = "" if problem.noise_time is None else ", samples go together (noise_time)"
    nave = float(problem.whitener.nave)
    yield "noise", f"whitened, average of {nave:g} trial{'s' * (nave != 1)}{together}"


def estimate_facts(estimate: Any) -> Iterator[tuple[str, str]]:
    """What was assumed and computed, how it ended, where the map is largest."""
    yield "model", estimate.model or "-"
    yield "method", estimate.method or "-"
    yield "result", RESULT[estimate.result]
    if estimate.evidence is not None:
        yield "log-evidence", f"{float(estimate.evidence):.1f}"
    yield "peak", peak_text(estimate)
    yield from problem_facts(estimate.problem)


def sensors_text(types: tuple[str, ...]) -> str:
    """How many channels of each type."""
    return ", ".join(f"{types.count(k)} {KINDS.get(k, k)}" for k in dict.fromkeys(types))


def spaces_text(labels: Any) -> str:
    """How many locations each source space has; nothing where there is one of no known kind."""
    if set(labels.kinds) <= {"discrete"}:
        return ""
    names = list(labels.kinds)
    if names[:2] == ["surface", "surface"]:
        names[:2] = SIDES
    return f" ({', '.join(f'{len(v)} {k}' for v, k in zip(labels.vertices, names, strict=True))})"


def times_text(problem: Any) -> str:
    """First and last sample and how many; trials where there are some."""
    n, rate = problem.n_times, problem.labels.sfreq
    first, last = 1e3 * problem.times[[0, -1]]
    trials = f"{problem.data.shape[0]} trials of " if problem.data.ndim == 3 else ""
    if n == 1:
        return f"{trials}1 sample at {first:.0f} ms"
    return f"{trials}{n} samples, {first:.0f} to {last:.0f} ms, at {rate:.4g} Hz"


def orientation_text(scale: np.ndarray, n_orients: int) -> str:
    """Fixed, loose or free; both where kinds of source spaces differ."""
    if n_orients == 1:
        return "fixed, 1 per location"
    found = np.unique(np.round(scale[:, 0] ** 2, 6))
    names = ("free" if loose == 1 else f"loose {loose:.3g}" for loose in found)
    return f"{' and '.join(names)}, {n_orients} per location"


def display_unit(estimate: Any, largest: float) -> tuple[float, str]:
    """Factor and name of a unit in which the map has readable numbers."""
    if estimate.norm is not None:
        return 1.0, estimate.method
    if largest > 1e-4:  # no brain: arrays in units of their own
        return 1.0, estimate.unit
    return (1e9, "nA m") if largest >= 1e-10 else (1e12, "pA m")


def peak_text(estimate: Any) -> str:
    """Largest amplitude over orients of the mean: how large, when and where."""
    mean = estimate.mean
    mean = jnp.mean(mean, axis=0) if mean.ndim == 4 else mean
    size = np.asarray(jnp.linalg.norm(mean, axis=-2))
    if not size.max() > 0:
        return "none, the map is zero everywhere"
    where, when = np.unravel_index(size.argmax(), size.shape)
    problem, largest = estimate.problem, float(size.max())
    factor, unit = display_unit(estimate, largest)
    told = f"{factor * largest:.3g} {unit} at {1e3 * problem.times[when]:.0f} ms, location {where}"
    if problem.geometry.positions is None:
        return told
    x, y, z = 1e3 * np.asarray(problem.geometry.positions)[where]
    return f"{told}, {side_text(problem.labels, int(where))}({x:.0f}, {y:.0f}, {z:.0f}) mm, head"


def side_text(labels: Any, location: int) -> str:
    """Hemisphere by source space: the first of two surfaces is the left one."""
    if labels.kinds[:2] != ("surface", "surface"):
        return ""
    ends = np.cumsum([len(v) for v in labels.vertices[:2]])
    side = int(np.searchsorted(ends, location, side="right"))
    return f"{SIDES[side]} " if side < 2 else ""
