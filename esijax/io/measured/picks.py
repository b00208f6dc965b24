"""Which channels the caller chose: `picks` by type, name or number."""

from typing import Any

import mne
import numpy as np

from esijax import _checks
from esijax._types import InputError

LOCALISABLE = ("mag", "grad", "eeg")
PICK_GROUPS = {"meg": ("mag", "grad"), "data": LOCALISABLE}


def channel_types(info: mne.Info) -> list[str]:
    """Type of each channel; InputError for what MNE-Python does not know: a damaged file."""
    try:
        return info.get_channel_types()
    except (KeyError, ValueError) as error:
        raise InputError(
            f"the measurement has a channel of unknown kind ({error}): a corrupt file? Read it "
            "again from where it was recorded."
        ) from error


def chosen_channels(info: mne.Info, picks: Any) -> list[str]:
    """MEG and EEG channels that `picks` selects, in the order of info."""
    types = channel_types(info)
    kinds = dict(zip(info["ch_names"], types, strict=True))
    usable = [name for name, kind in kinds.items() if kind in LOCALISABLE]
    if not usable:
        raise InputError(
            f"the measurement has channels of type {_checks.names(dict.fromkeys(types))} alone; "
            f"sources are localised from {', '.join(LOCALISABLE)}: give a measurement with MEG or "
            "EEG channels (EEG as it was before a current source density)."
        )
    if picks is None:
        return usable
    chosen = {name for pick in _as_list(picks, len(types)) for name in _names_of_pick(pick, kinds)}
    if not chosen & set(usable):
        has = ", ".join(kind for kind in LOCALISABLE if kind in types)
        raise InputError(f"picks={picks!r} selects no MEG or EEG channel; there are {has}.")
    return [name for name in usable if name in chosen]


def _as_list(picks: Any, n_channels: int) -> list:
    """Single picks; a mask would be taken for the channels 0 and 1."""
    if isinstance(picks, slice):
        return list(range(n_channels)[picks])
    if isinstance(picks, str | bytes | dict) or not np.iterable(picks):
        return [picks]
    picks = list(np.ravel(picks) if isinstance(picks, np.ndarray) else picks)
    if any(isinstance(pick, bool | np.bool_) for pick in picks):
        raise InputError(
            "picks holds True or False: give channel names, types or numbers, of a mask "
            "np.flatnonzero(mask)."
        )
    return picks


def _names_of_pick(pick: Any, kinds: dict[str, str]) -> set[str]:
    """Names of the channels that one pick stands for: a name, a type, a number."""
    names = list(kinds)
    if isinstance(pick, int | np.integer) and not isinstance(pick, bool):
        if not -len(names) <= pick < len(names):
            raise InputError(f"picks: there is no channel {pick}; there are {len(names)}.")
        return {names[pick]}
    found: set[str] = set()
    if isinstance(pick, str):
        types = (*kinds.values(),) if pick == "all" else PICK_GROUPS.get(pick, (pick,))
        found = {pick} if pick in kinds else {n for n, kind in kinds.items() if kind in types}
    if not found:
        raise InputError(f"picks: {pick!r} is neither a channel nor a channel type here.")
    return found
