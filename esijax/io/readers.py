"""MNE's readers with one error for every way a file can be broken."""

import warnings
from collections.abc import Callable
from pathlib import Path

import mne
import numpy as np

from esijax._types import InputError


def read_evoked(path, condition: str | int | None = None) -> mne.Evoked:
    """Read one condition of an evoked file.

    Parameters
    ----------
    path : path
        A -ave.fif file.
    condition : str | int, optional
        Name or number; may be left out where there is only one.

    Raises
    ------
    InputError
        If the file is missing or broken, or the condition is not in it (the message lists them).
    """
    evokeds = _read(mne.read_evokeds, path)
    names = [e.comment for e in evokeds]
    if condition is None:
        if len(evokeds) > 1:
            raise InputError(f"{path} holds {len(names)} conditions, name one of: {names}.")
        return evokeds[0]
    if isinstance(condition, int | np.integer):
        if not 0 <= condition < len(evokeds):
            raise InputError(f"{path} holds {len(evokeds)} conditions, there is no {condition}.")
        return evokeds[condition]
    if condition not in names:
        raise InputError(f"{path} has no condition {condition!r}; it has {names}.")
    return evokeds[names.index(condition)]


def read_forward(path) -> mne.Forward:
    """Read a forward solution (-fwd.fif); InputError if it is missing or broken."""
    return _read(mne.read_forward_solution, path)


def read_noise_cov(path) -> mne.Covariance:
    """Read a noise covariance (-cov.fif); InputError if it is missing or broken."""
    return _read(mne.read_cov, path)


def _read(reader: Callable, path):
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # MNE's naming conventions
            return reader(path, verbose="ERROR")
    except Exception as error:  # MNE raises whatever its parser trips over
        what = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise InputError(
            f"{path}: truncated or corrupt, or not the expected kind of file ({what})."
        ) from error
