"""Dead channels: without signal or without noise, where no average reference gives them some.

An electrode that was the reference while recording is zero in the data and in the covariance. The
average reference makes a full channel of it. So it is judged as it will be used; more than one
electrode of that kind cannot have been the reference, and other projectors only leak into a dead
channel.
"""

import numpy as np

from esijax import _checks
from esijax._types import InputError

AVERAGE_REFERENCE = 10  # FIFFV_PROJ_ITEM_EEG_AVREF


def check_flat(recording: np.ndarray, names: list[str], types: np.ndarray, projs: list):
    """Warn about channels without any variation; give a note about a reference electrode."""
    reference = _reference_electrode(recording, names, types, projs)
    rows = [i for i, name in enumerate(names) if name != reference]
    _checks.flat_channels(recording, names, rows)
    if reference is None:
        return ()
    return (
        f"{reference} is zero before the average reference: taken for the reference electrode "
        "(mark it bad if it was not)",
    )


def _reference_electrode(recording, names, types, projs) -> str | None:
    """Name of the only EEG channel that is zero throughout, where a projector will fill it."""
    eeg = np.flatnonzero(types == "eeg")
    silent = [names[i] for i in eeg if not recording[..., i, :].any()]
    waiting = [p for p in projs if p["kind"] == AVERAGE_REFERENCE and not p["active"]]
    known = {name for p in waiting for name in p["data"]["col_names"]}
    return silent[0] if len(silent) == 1 < len(eeg) and silent[0] in known else None


def with_noise(names: list[str], kinds: dict[str, str], noise_cov) -> list[str]:
    """Channels whose noise is known: finite covariance, and more than zero variance."""
    row = {name: i for i, name in enumerate(noise_cov.ch_names)}
    index = [row[name] for name in names]
    square = np.asarray(noise_cov.data)
    square = square[index] if square.ndim == 1 else square[np.ix_(index, index)]
    way_out = _checks.ESTIMATE_AGAIN
    _checks.real_finite(square, "noise_cov", names, way_out=way_out)
    variance = square if square.ndim == 1 else np.diag(square)
    alive = {kinds[n] for n, v in zip(names, variance, strict=True) if v != 0}
    dead = [n for n, v in zip(names, variance, strict=True) if v == 0]
    for name in dead:
        if kinds[name] not in alive:
            raise InputError(f"noise_cov is all zero for {kinds[name]} channels: {way_out}.")
    electrodes = [name for name in dead if kinds[name] == "eeg"]
    if len(electrodes) == 1 and _will_be_referenced(noise_cov):
        dead.remove(electrodes[0])
    if dead:
        _checks.warn(f"zero variance in noise_cov: {_checks.names(dead)}; they are left out.")
    return [name for name in names if name not in set(dead)]


def _will_be_referenced(noise_cov) -> bool:
    """Whether the average reference, which all EEG gets here, is still to come."""
    done = any(p["kind"] == AVERAGE_REFERENCE and p["active"] for p in noise_cov["projs"])
    return not (done or noise_cov["diag"])
