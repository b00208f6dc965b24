"""Which channels take part: good ones that measurement, lead field and covariance share."""

import dataclasses
import logging
from typing import Any

import mne
import numpy as np

from esijax import _checks
from esijax._types import InputError

logger = logging.getLogger("esijax")


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
            data = self.inst.get_data(picks=index, copy=True)
        return data if np.iscomplexobj(data) else np.array(data, dtype=float)


def measurement(inst) -> Measurement:
    """Wrap the data, checking the number of averages."""
    nave = float(getattr(inst, "nave", 1) if isinstance(inst, mne.Evoked) else 1)
    if not (np.isfinite(nave) and nave > 0):
        raise InputError(f"evoked.nave is {nave:g}: the number of averages must be positive.")
    if isinstance(inst, mne.BaseEpochs) and len(inst.drop_bad(verbose="ERROR")) == 0:
        raise InputError("the Epochs are empty: all were dropped.")
    return Measurement(inst, nave, np.asarray(inst.times, dtype=float))


def common_channels(
    data: Measurement, forward: mne.Forward, noise_cov: mne.Covariance | None, picks: Any
) -> tuple[mne.Info, tuple[str, ...]]:
    """Info of the good shared channels in the order of the measurement, reference made sure."""
    info = data.inst.info
    _check_same_head(info, forward)
    wanted = _wanted(info, picks)
    row_names = set(forward["sol"]["row_names"])
    cov_names = row_names if noise_cov is None else set(noise_cov.ch_names)
    bads = set(info["bads"]) | (set() if noise_cov is None else set(noise_cov["bads"]))
    good = [name for name in wanted if name not in bads]
    if not good and wanted:
        raise InputError(f"all channels are marked bad: {_checks.names(sorted(bads))}.")
    names = [name for name in good if name in row_names and name in cov_names]
    _report_missing(good, names, row_names, cov_names)
    if bads & set(wanted):
        logger.info("bad channels left out: %s", sorted(bads & set(wanted)))
    _check_compensation(info, forward)
    picked = mne.pick_info(info, [info["ch_names"].index(name) for name in names])
    _checks.few(len(names), forward["nsource"])
    _check_projectors(picked, noise_cov)
    return _reference(picked, data, names)


def _wanted(info: mne.Info, picks: Any) -> list[str]:
    """MEG and EEG channels that `picks` selects, in the order of info."""
    types = info.get_channel_types()
    names = [n for n, t in zip(info["ch_names"], types, strict=True) if t in ("mag", "grad", "eeg")]
    if picks is None:
        return names
    chosen: set[str] = set()
    for pick in [picks] if isinstance(picks, str) else list(picks):
        by_type = {"meg": ("mag", "grad"), "data": ("mag", "grad", "eeg"), "all": tuple(set(types))}
        kinds = by_type.get(pick, (pick,)) if isinstance(pick, str) else ()
        found = {n for n, t in zip(info["ch_names"], types, strict=True) if t in kinds}
        if isinstance(pick, int | np.integer):
            if not -len(types) <= pick < len(types):
                raise InputError(f"picks: there is no channel {pick}.")
            found = {info["ch_names"][pick]}
        elif pick in info["ch_names"]:
            found = {pick}
        if not found:
            raise InputError(f"picks: {pick!r} is neither a channel nor a channel type here.")
        chosen |= found
    return [name for name in names if name in chosen]


def _report_missing(good, names, row_names, cov_names) -> None:
    if not names:
        raise InputError(
            "no channel is shared: the measurement has "
            f"{_checks.names(good, 3)}; the forward has {_checks.names(sorted(row_names), 3)}; "
            f"noise_cov has {_checks.names(sorted(cov_names), 3)}."
        )
    missing = [name for name in good if name not in set(names)]
    if not missing:
        return
    where = "forward" if any(m not in row_names for m in missing) else "noise_cov"
    message = f"{len(missing)} good channels are missing in {where}: {_checks.names(missing)}"
    if len(names) < 0.9 * len(good):
        raise InputError(
            f"{message}. Only {len(names)} of {len(good)} would be left: pass picks, mark them bad, "
            "or use the forward and noise_cov of this measurement."
        )
    _checks.warn(f"{message}. They are left out, which changes the map.")


def _check_same_head(info: mne.Info, forward: mne.Forward) -> None:
    """The device must sit where the forward was computed, in head or MRI coordinates."""
    frame = forward["coord_frame"]
    if frame not in (4, 5):
        raise InputError(
            f"the forward is in coordinate frame {int(frame)}; it must be head (4) or MRI (5)."
        )
    wrong = [i for i, s in enumerate(forward["src"]) if s["coord_frame"] != frame]
    if wrong:
        raise InputError(
            f"the forward claims coordinate frame {int(frame)}, its source space {wrong[0]} "
            f"{int(forward['src'][wrong[0]]['coord_frame'])}: one of the flags is wrong."
        )
    here, there = info["dev_head_t"], forward["info"].get("dev_head_t")
    has_meg = any(t in ("mag", "grad") for t in info.get_channel_types())
    if here is None or there is None or not has_meg:
        return
    a, b = np.asarray(here["trans"]), np.asarray(there["trans"])
    shift = float(np.linalg.norm(a[:3, 3] - b[:3, 3]))
    cosine = np.clip((np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2, -1, 1)
    angle = float(np.degrees(np.arccos(cosine)))
    if shift > 5e-3 or angle > 5:
        raise InputError(
            f"the head sat {1e3 * shift:.1f} mm and {angle:.1f} degrees from where the forward was "
            "computed (dev_head_t differs): compute the forward for this recording."
        )


def _check_compensation(info: mne.Info, forward: mne.Forward) -> None:
    def grade(chs) -> set[int]:
        return {int(ch["coil_type"]) >> 16 for ch in chs if ch["kind"] == 1}

    meg = {ch["ch_name"] for ch in info["chs"]} & {ch["ch_name"] for ch in forward["info"]["chs"]}
    ours = grade(ch for ch in info["chs"] if ch["ch_name"] in meg)
    theirs = grade(ch for ch in forward["info"]["chs"] if ch["ch_name"] in meg)
    if ours != theirs:
        raise InputError(
            f"compensation grade differs: measurement {sorted(ours)}, forward {sorted(theirs)}; "
            "apply_gradient_compensation first."
        )


def _check_projectors(info: mne.Info, noise_cov: mne.Covariance | None) -> None:
    """Projectors that shaped the covariance must be known to the measurement as well."""
    if noise_cov is None:
        return
    present = set(info["ch_names"])
    have = {_signature(p, present) for p in info["projs"]}
    lost = []
    for p in noise_cov["projs"]:
        if set(p["data"]["col_names"]) & present and _signature(p, present) not in have:
            lost.append(p["desc"])
    if lost:
        raise InputError(
            f"noise_cov was projected by {lost}, which the measurement does not carry: add the "
            "projectors to it (add_proj) or estimate noise_cov without them."
        )


def _signature(p, present: set[str]) -> tuple:
    """What a projector does to the channels present, up to sign and scale."""
    names = p["data"]["col_names"]
    keep = [i for i, n in enumerate(names) if n in present]
    vectors = np.asarray(p["data"]["data"])[:, keep]
    order = np.argsort([names[i] for i in keep])
    vectors = vectors[:, order] / (np.linalg.norm(vectors) or 1.0)
    if vectors.size:
        vectors = vectors * np.sign(vectors.flat[np.argmax(np.abs(vectors))])
    return tuple(sorted(names[i] for i in keep)), (np.round(vectors, 4) + 0.0).tobytes()


def _reference(info, data: Measurement, names) -> tuple[mne.Info, tuple[str, ...]]:
    """Make sure that EEG has an average reference, as a projector."""
    eeg = [n for n, t in zip(info["ch_names"], info.get_channel_types(), strict=True) if t == "eeg"]
    if not eeg:
        return info, ()
    has_proj = any(p["kind"] == 10 for p in info["projs"])
    if has_proj and not info["custom_ref_applied"]:
        return info, ()
    values = data.pick(eeg)
    mean, size = np.abs(values.mean(axis=-2)).max(), np.abs(values).max()
    if not (size > 0 and mean < 1e-6 * size):
        problem = "a custom EEG reference" if info["custom_ref_applied"] else "no average reference"
        raise InputError(
            f"the EEG has {problem}: call set_eeg_reference(projection=True) on the measurement; "
            "the lead field is that of an average reference."
        )
    info = info.copy()
    with info._unlock():
        info["custom_ref_applied"] = 0
    flat = mne.EvokedArray(np.zeros((len(names), 1)), info, verbose="ERROR")
    flat.set_eeg_reference(projection=True, verbose="ERROR")
    note = "EEG: average reference was applied to the data; the projector was added"
    return flat.info, (note,)
