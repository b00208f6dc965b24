"""Places and courses of regions on the command line: files, and the table on the screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from esijax.app.console import print_table, spoken
from esijax.app.output import Output
from esijax.estimate import Estimate
from esijax.io.regions_in import labelled
from esijax.io.subject import subject_of
from esijax.problem import Problem
from esijax.tables.courses import courses_of, write_courses
from esijax.tables.places import Places
from esijax.viz.places import caption, place_rows, plot_region_courses

PLACES_WRITES = ("places.csv", "courses.csv", "courses.png")
ON_SCREEN = 6  # rows; the page and the csv file have all


def chosen_regions(
    problem: Problem, asked: Sequence[str], parc: str, subjects_dir: Path | None, trans: Any
) -> dict[str, Any]:
    """Regions of `--label`, looked up before anything is computed, as is the folder."""
    subject = subject_of(problem, subjects_dir, trans)
    return labelled(problem, asked, parc, subject) if asked else {}


def write_places(
    estimate: Estimate, places: Places, regions: Mapping[str, Any], out: Output
) -> list[Path]:
    """Write places.csv, and courses.csv and courses.png where regions were asked for."""
    files = [places.to_csv(out.folder / "places.csv")]
    if regions:
        courses = courses_of(estimate, regions)
        unit = estimate.unit or estimate.method
        files.append(write_courses(courses, out.folder / "courses.csv", unit))
        files.append(out.picture(plot_region_courses(courses, estimate), "courses"))
    return files


def print_places(screen: Console, estimate: Estimate, places: Places) -> None:
    """Print the first rows of the table."""
    rows = place_rows(places, estimate, ON_SCREEN)
    if rows:
        print_table(screen, rows, "Places", spoken(caption(places, len(rows))))
