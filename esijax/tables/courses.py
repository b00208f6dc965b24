"""Courses of regions, in rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from esijax._files import replacing, require_folder
from esijax.courses import Course
from esijax.estimate import Estimate


def courses_of(estimate: Estimate, labels: Mapping[str, Any], level: float = 0.9) -> dict:
    """Course of each region by name; `labels` as of `esijax.io.regions`."""
    return {name: estimate.label(label, level) for name, label in labels.items()}


def write_courses(courses: Mapping[str, Course], path: Any, unit: str) -> Path:
    """Write courses as a csv file: label, time_s, mean, lower, upper, std, level, unit.

    Parameters
    ----------
    courses : dict of Course
        By name, without trials.
    path : path
        Replaced only when it is complete.
    unit : str
        Of the courses.

    Returns
    -------
    path : Path
    """
    import pandas as pd

    path = Path(path)
    require_folder(path.parent)
    frames = [
        pd.DataFrame(
            {
                "label": name,
                "time_s": np.round(course.times, 9),
                **{key: getattr(course, key) for key in ("mean", "lower", "upper", "std")},
                "level": course.level,
                "unit": unit,
            }
        )
        for name, course in courses.items()
    ]
    with replacing(path) as temporary:
        pd.concat(frames).to_csv(temporary, index=False)
    return path
