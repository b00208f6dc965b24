"""MNE's readers with one error for every way a file can be broken."""

import gzip
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import numpy as np

from esijax._types import InputError


def read_evoked(path, condition: Any = None) -> mne.Evoked:
    """Read one condition of an evoked file.

    A text is the name of an average first, as in MNE-Python; a text that is no name may be a
    number ("1"), and with a hash ("#1") it always is one. Numbers count all that the file holds
    from zero, standard errors among them.

    Parameters
    ----------
    path : path
        A -ave.fif file.
    condition : str | int, optional
        Name or number; may be left out where there is only one average.

    Returns
    -------
    mne.Evoked
        The condition.

    Raises
    ------
    InputError
        If the file is missing or broken, or the condition is not in it, or in it more than once
        (the message lists them).
    """
    if isinstance(condition, bool | np.bool_) or not (
        condition is None or isinstance(condition, str | int | np.integer)
    ):
        raise InputError(f"condition must be a name or a number, got {condition!r}.")
    evokeds = _read_by_mne(mne.read_evokeds, path)
    if isinstance(condition, str):
        condition = _number_of(condition, evokeds, path)
    if condition is None:
        averages = [i for i, e in enumerate(evokeds) if e.kind == "average"]
        if len(averages) != 1:
            raise InputError(
                f"{path} holds {len(averages)} conditions, name one of: {_listed(evokeds)}."
            )
        condition = averages[0]
    if not 0 <= condition < len(evokeds):
        raise InputError(
            f"{path} holds {len(evokeds)} conditions, there is no {condition}: {_listed(evokeds)}."
        )
    return evokeds[condition]


def _number_of(condition: str, evokeds: list[mne.Evoked], path) -> int:
    """Number of the only average of that name; names win over numbers."""
    named = [i for i, e in enumerate(evokeds) if e.comment == condition]
    averages = [i for i in named if evokeds[i].kind == "average"]
    if len(averages) == 1:
        return averages[0]
    if named:
        what = f"{len(averages)} averages" if averages else "no average, but a standard error,"
        ways = " or ".join(f"'#{i}'" for i in averages or named)
        raise InputError(f"{path} holds {what} named {condition!r}: choose by number, {ways}.")
    number = condition.removeprefix("#")
    if number.isascii() and number.isdigit():
        return int(number)
    raise InputError(f"{path} has no condition {condition!r}; it has {_listed(evokeds)}.")


def _listed(evokeds: list[mne.Evoked]) -> str:
    """What a file holds: number, name, and what is no average."""
    return ", ".join(
        f"{i} {e.comment!r}" + ("" if e.kind == "average" else " (standard error)")
        for i, e in enumerate(evokeds)
    )


def read_forward(path) -> mne.Forward:
    """Read a forward solution.

    Parameters
    ----------
    path : path
        A -fwd.fif file.

    Returns
    -------
    mne.Forward
        As MNE-Python reads it.

    Raises
    ------
    InputError
        If the file is missing or broken.
    """
    return _read_by_mne(mne.read_forward_solution, path)


def read_noise_cov(path) -> mne.Covariance:
    """Read a noise covariance.

    Parameters
    ----------
    path : path
        A -cov.fif file.

    Returns
    -------
    mne.Covariance
        As MNE-Python reads it.

    Raises
    ------
    InputError
        If the file is missing or broken.
    """
    return _read_by_mne(mne.read_cov, path)


def _read_by_mne(reader: Callable, path):
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    try:
        _check_chain(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # MNE's naming conventions
            return reader(path, verbose="ERROR")
    except InputError:
        raise
    except Exception as error:  # MNE raises whatever its parser trips over
        what = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise InputError(
            f"{path}: truncated or corrupt, or not the expected kind of file ({what})."
        ) from error


def _check_chain(path: Path) -> None:
    """Refuse a FIF file whose tags lead back to one before: a reader would follow them for ever."""
    if path.suffix not in (".fif", ".gz"):
        return
    opened = gzip.open if path.suffix == ".gz" else open
    seen: set[int] = set()
    place = 0
    with opened(path, "rb") as file:
        while place not in seen:
            seen.add(place)
            file.seek(place)
            header = file.read(16)
            if len(header) < 16:
                return
            _, _, size, following = struct.unpack(">iIii", header)
            if following < 0 or size < 0:
                return
            place = following or place + 16 + size
    raise InputError(f"{path}: corrupt: a tag at byte {place} refers back to one before it.")
