"""Which channels take part: good ones that measurement, lead field and covariance share."""

import dataclasses
from typing import Any

import mne
import numpy as np

from esijax import _checks
from esijax._types import InputError
from esijax.io.measured.dead import with_noise
from esijax.io.measured.picks import channel_types, chosen_channels


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Data of an Evoked, Epochs or Raw, copied only when picked."""

    inst: Any
    nave: float
    times: np.ndarray

    def pick(self, ch_names: list[str]) -> np.ndarray:
        """(..., channels, times) of the named channels, float64 (complex stays complex)."""
        index = [self.inst.ch_names.index(name) for name in ch_names]
        if isinstance(self.inst, mne.io.BaseRaw):
            data = self.inst.get_data(picks=index)
        elif isinstance(self.inst, mne.Evoked):
            data = self.inst.data[index]
        else:
            data = self.inst.get_data(picks=index, copy=True, verbose="ERROR")
            if len(data) == 0:
                raise InputError(
                    "the Epochs hold no trial: epochs.drop_log says why each was dropped."
                )
        return data if np.iscomplexobj(data) else np.array(data, dtype=float)


def measurement(inst, nave: Any = None) -> Measurement:
    """Wrap the data, with the number of averages behind it where the caller knows better."""
    what = "nave"
    if nave is None:
        what, nave = "evoked.nave", inst.nave if isinstance(inst, mne.Evoked) else 1
    number = isinstance(nave, int | float | np.number) and not isinstance(nave, bool)
    if not (number and np.isfinite(nave) and nave > 0):
        raise InputError(f"{what} is {nave!r}: the number of averages must be positive and finite.")
    times = np.asarray(inst.times, dtype=float)
    if not times.size:
        raise InputError(f"the measurement ({type(inst).__name__}) holds no sample.")
    return Measurement(inst, float(nave), times)


@dataclasses.dataclass(frozen=True)
class Channels:
    """The channels that take part; picking a copy of info would take as long as whitening.

    Parameters
    ----------
    names : list of str
    types : (channels,) of str
    index : list of int
        Their places in `info`.
    info : mne.Info
        Of the whole measurement; only read.
    projs : list of mne.Projection
        Those that touch one of the channels.
    forward_rows : (channels,) of int
        Their rows in the lead field of the forward.
    """

    names: list[str]
    types: np.ndarray
    index: list[int]
    info: mne.Info
    projs: list
    forward_rows: np.ndarray

    @property
    def chs(self) -> list:
        """Their entries in `info["chs"]`."""
        return [self.info["chs"][i] for i in self.index]

    def rows(self, names: list[str]) -> np.ndarray:
        """Indices of the channels among other names."""
        return _places_among(names, self.names)

    def picked(self) -> mne.Info:
        """Make the Info of these channels alone, for functions of MNE-Python that need one."""
        info = mne.pick_info(self.info, self.index)
        with info._unlock():
            info["projs"] = list(self.projs)
        return info


def _places_among(names: list[str], wanted: list[str]) -> np.ndarray:
    """Index of each wanted name among the names."""
    position = {name: i for i, name in enumerate(names)}
    return np.array([position[name] for name in wanted])


def common_channels(
    data: Measurement, row_names: list[str], noise_cov: mne.Covariance | None, picks: Any
) -> Channels:
    """Good channels in the order of the measurement that lead field and covariance have as well.

    `row_names` are those of the lead field.
    """
    info = data.inst.info
    kinds = dict(zip(info["ch_names"], channel_types(info), strict=True))
    chosen = chosen_channels(info, picks)
    bads = set(info["bads"]) | (set() if noise_cov is None else set(noise_cov["bads"]))
    good = [name for name in chosen if name not in bads]
    if not good:
        raise InputError(f"all channels are marked bad: {_checks.names(sorted(bads))}.")
    names = _shared(kinds, good, row_names, noise_cov)
    if bads & set(chosen):
        _checks.logger.info("bad channels left out: %s", sorted(bads & set(chosen)))
    if noise_cov is not None:
        names = with_noise(names, kinds, noise_cov)
    index = [info["ch_names"].index(name) for name in names]
    present = set(names)
    projs = [p for p in info["projs"] if present.intersection(p["data"]["col_names"])]
    types = np.array([kinds[n] for n in names])
    return Channels(names, types, index, info, projs, _places_among(row_names, names))


def _shared(kinds: dict[str, str], good: list[str], row_names: list[str], noise_cov) -> list[str]:
    """Good channels that the forward and the covariance have as well."""
    seen = set(row_names)
    cov_names = seen if noise_cov is None else set(noise_cov.ch_names)
    names = [name for name in good if name in seen and name in cov_names]
    if not names:
        raise InputError(
            "no channel is shared: the measurement has "
            f"{_checks.names(good, 3)}; the forward has {_checks.names(sorted(seen), 3)}; "
            f"noise_cov has {_checks.names(sorted(cov_names), 3)}."
        )
    missing = [name for name in good if name not in set(names)]
    if not missing:
        return names
    where = "forward" if any(m not in seen for m in missing) else "noise_cov"
    message = f"{len(missing)} good channels are missing in {where}: {_checks.names(missing)}"
    if len(names) < 0.9 * len(good):
        left = list(dict.fromkeys(kinds[n] for n in names))
        raise InputError(
            f"{message}. Only {len(names)} of {len(good)} would be left: pass picks={left}, mark "
            "them bad, or use the forward and noise_cov of this measurement."
        )
    _checks.warn(f"{message}. They are left out, which changes the map.")
    return names


def referenced(channels: Channels, data: Measurement) -> tuple[Channels, tuple[str, ...]]:
    """Make sure that EEG has an average reference, as a projector."""
    info = channels.info
    eeg = [name for name, kind in zip(channels.names, channels.types, strict=True) if kind == "eeg"]
    if not eeg:
        return channels, ()
    if len(eeg) == 1:
        raise InputError(
            f"{eeg[0]} is the only EEG channel: an average reference leaves nothing of it; use "
            "more EEG channels, or picks without it."
        )
    known = [set(p["data"]["col_names"]) for p in info["projs"] if p["kind"] == 10]
    if known and not info["custom_ref_applied"]:
        strange = [name for name in eeg if not any(name in names for names in known)]
        if strange:
            raise InputError(
                f"the average-reference projector does not know {_checks.names(strange)}: were "
                "channels renamed? Call set_eeg_reference(projection=True) on the measurement."
            )
        return channels, ()
    if not _has_zero_mean(data):
        problem = "a custom EEG reference" if info["custom_ref_applied"] else "no average reference"
        raise InputError(
            f"the EEG has {problem}: call set_eeg_reference(projection=True) on the measurement; "
            "the lead field is that of an average reference."
        )
    info = channels.picked()
    with info._unlock():
        info["custom_ref_applied"] = 0
    flat = mne.EvokedArray(np.zeros((len(channels.names), 1)), info, verbose="ERROR")
    flat.set_eeg_reference(projection=True, verbose="ERROR")
    note = "EEG: average reference was applied to the data; the projector was added"
    return dataclasses.replace(channels, projs=flat.info["projs"]), (note,)


def _eeg_names(info: mne.Info, without: tuple = ()) -> list[str]:
    types = zip(info["ch_names"], info.get_channel_types(), strict=True)
    return [name for name, kind in types if kind == "eeg" and name not in without]


def _has_zero_mean(data: Measurement) -> bool:
    """Whether the EEG as recorded, with or without its bad channels, adds up to zero."""
    info = data.inst.info
    for eeg in {tuple(_eeg_names(info)), tuple(_eeg_names(info, tuple(info["bads"])))}:
        values = data.pick(list(eeg))
        mean, size = np.abs(values.mean(axis=-2)).max(), np.abs(values).max()
        if size > 0 and mean < 1e-6 * size:
            return True
    return False
