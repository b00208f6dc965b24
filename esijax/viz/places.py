"""Places and courses of regions for people: rows of text, a picture."""

from collections.abc import Mapping

import numpy as np

from esijax._types import InputError
from esijax.courses import Course
from esijax.estimate import Estimate
from esijax.tables.places import Place, Places
from esijax.viz.summary import display_unit

MOST_PANELS = 24
COLUMNS = (
    "cm²: of cortex above half of the peak around it (of a sparse map, the active locations); then "
    "its latency, its amplitude, the interval of the component along the mean, and the probability "
    "that this component exceeds half of the largest amplitude. Neither knows that the place was "
    "chosen for its height."
)


def place_rows(places: Places, estimate: Estimate, n: int | None = None) -> list[dict[str, str]]:
    """Rows of a table for the terminal and the page; columns that say nothing are left out.

    Parameters
    ----------
    places : Places
    estimate : Estimate
        For the unit.
    n : int, optional
        The first n places.
    """
    largest = max((place.amplitude for place in places), default=0.0)
    factor, unit = display_unit(estimate, largest)
    chance = "Pr(active)" if places.probability_of == "active" else _exceeds(places, factor)
    rows = [_row(place, places, factor, unit, chance) for place in places[:n]]
    told = {key for row in rows for key, text in row.items() if text}
    return [{key: text for key, text in row.items() if key in told} for row in rows]


def _exceeds(places: Places, factor: float) -> str:
    return f"Pr > {_short(factor * places.threshold)}"


def _row(place: Place, places: Places, factor: float, unit: str, chance: str) -> dict[str, str]:
    lower, upper = place.lower, place.upper
    band = ""
    if lower is not None and upper is not None:
        band = f"{_short(factor * lower)} to {_short(factor * upper)}"
    return {
        "side": place.hemisphere,
        "region": place.region or "",
        "vertex": "" if place.vertex is None else str(place.vertex),
        "head (mm)": _point(place.head),
        f"{places.mni_space or 'MNI'} (mm)": _point(place.mni),
        "cm²": "" if place.area is None else f"{place.area:.1f}",
        "ms": f"{1e3 * place.latency:.0f}",
        unit: f"{factor * place.amplitude:.3g}",
        f"{100 * places.level:.0f} %": band,
        chance: "" if place.probability is None else f"{place.probability:.2f}",
    }


def _short(number: float) -> str:
    """Two digits, whole where there are more before the point."""
    return f"{number:.0f}" if abs(number) >= 99.5 else f"{number:.2g}"


def _point(point) -> str:
    return "" if point is None else " ".join(f"{x:.0f}" for x in point)


def caption(places: Places, shown: int | None = None) -> str:
    """What the table is of, and what is not known."""
    n = len(places)
    many = "" if n == 1 else "s"
    what = f"{n} peak{many} of the map over time"
    if places.sparse:
        what = f"all {n} active place{many}"
    if shown is not None and shown < n:
        what = f"the first {shown} of {what}"
    texts = [what]
    if places.atlas:
        texts.append(f"regions: {places.atlas}")
    return "; ".join([*texts, *places.notes])


def plot_region_courses(courses: Mapping[str, Course], estimate: Estimate):
    """Draw courses of regions with their bands, a panel each, the strongest 24 at most.

    Parameters
    ----------
    courses : dict of Course
        By name, from `Estimate.label`; without trials.
    estimate : Estimate
        For unit and words.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        Where there is nothing to draw.
    """
    import matplotlib.pyplot as plt

    if not courses:
        raise InputError("nothing to draw: give at least one region.")
    strength = {name: float(np.abs(course.mean).max()) for name, course in courses.items()}
    factor, unit = display_unit(estimate, max(strength.values()))
    names = sorted(courses, key=lambda name: -strength[name])[:MOST_PANELS]
    if len(courses) <= MOST_PANELS:
        names = list(courses)
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.1 * columns + 0.6, 2.1 * rows + 0.7),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for name, panel in zip(names, axes.flat, strict=False):
        _draw_course(panel, courses[name], factor)
        panel.set_title(name, fontsize=10)
    for panel in list(axes.flat)[len(names) :]:
        panel.set_visible(False)
    for column in range(columns):
        axes[(len(names) - 1 - column) // columns, column].set_xlabel("time (ms)")
        axes[(len(names) - 1 - column) // columns, column].tick_params(labelbottom=True)
    figure.supylabel(f"along the normal ({unit})", fontsize=10)
    figure.suptitle(_courses_title(courses, estimate, len(names)), fontsize=11)
    return figure


def _draw_course(axes, course: Course, factor: float) -> None:
    """One course and its band; one sample is a point with a bar."""
    times = 1e3 * course.times
    mean, low, high = (factor * x for x in (course.mean, course.lower, course.upper))
    axes.fill_between(times, low, high, color="C0", alpha=0.25, lw=0)
    dot = {"marker": "o"} if len(times) == 1 else {}
    if dot:
        axes.vlines(times, low, high, color="C0", alpha=0.25, lw=6)
    axes.plot(times, mean, color="C0", lw=1.4, **dot)
    axes.axhline(0, color="0.5", lw=0.6)


def _courses_title(courses: Mapping[str, Course], estimate: Estimate, shown: int) -> str:
    level = next(iter(courses.values())).level
    if not estimate.posterior.spread:
        text = "most probable mean over each region"
    else:
        text = f"posterior mean over each region with its {100 * level:.0f} % band"
    return text if shown == len(courses) else f"{text}; the strongest {shown} of {len(courses)}"
