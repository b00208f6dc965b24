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
            data = self.inst.get_data(picks=index, copy=True, verbose="ERROR")
            if len(data) == 0:
                raise InputError("the Epochs are empty: all were dropped.")
        return data if np.iscomplexobj(data) else np.array(data, dtype=float)


def measurement(inst) -> Measurement:
    """Wrap the data, checking the number of averages."""
    nave = float(getattr(inst, "nave", 1) if isinstance(inst, mne.Evoked) else 1)
    if not (np.isfinite(nave) and nave > 0):
        raise InputError(f"evoked.nave is {nave:g}: the number of averages must be positive.")
    return Measurement(inst, nave, np.asarray(inst.times, dtype=float))


def common_channels(
    data: Measurement, forward: mne.Forward, noise_cov: mne.Covariance | None, picks: Any
) -> tuple[mne.Info, tuple[str, ...]]:
    """Info of the good shared channels in the order of the measurement, reference made sure."""
    info = data.inst.info
    _check_forward(forward)
    wanted = _wanted(info, picks)
    bads = set(info["bads"]) | (set() if noise_cov is None else set(noise_cov["bads"]))
    good = [name for name in wanted if name not in bads]
    if not good and wanted:
        raise InputError(f"all channels are marked bad: {_checks.names(sorted(bads))}.")
    names = _shared(info, good, forward, noise_cov)
    if bads & set(wanted):
        logger.info("bad channels left out: %s", sorted(bads & set(wanted)))
    if noise_cov is not None:
        names = _with_noise(names, info, noise_cov)
    _checks.few(len(names), forward["nsource"])
    picked = mne.pick_info(info, [info["ch_names"].index(name) for name in names])
    _check_same_head(picked, forward)
    _check_compensation(picked, forward)
    picked, notes = _reference(picked, data)
    _check_projectors(picked, noise_cov)
    _check_lead_field(picked, forward)
    return picked, notes


def _wanted(info: mne.Info, picks: Any) -> list[str]:
    """MEG and EEG channels that `picks` selects, in the order of info."""
    types = info.get_channel_types()
    names = [n for n, t in zip(info["ch_names"], types, strict=True) if t in ("mag", "grad", "eeg")]
    if picks is None:
        return names
    chosen: set[str] = set()
    if not np.iterable(picks):
        picks = [picks]
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
    if not chosen & set(names):
        raise InputError(f"picks={picks!r} selects no MEG or EEG channel.")
    return [name for name in names if name in chosen]


def _shared(info: mne.Info, good: list[str], forward, noise_cov) -> list[str]:
    """Good channels that the forward and the covariance have as well."""
    row_names = set(forward["sol"]["row_names"])
    cov_names = row_names if noise_cov is None else set(noise_cov.ch_names)
    names = [name for name in good if name in row_names and name in cov_names]
    if not names:
        raise InputError(
            "no channel is shared: the measurement has "
            f"{_checks.names(good, 3)}; the forward has {_checks.names(sorted(row_names), 3)}; "
            f"noise_cov has {_checks.names(sorted(cov_names), 3)}."
        )
    missing = [name for name in good if name not in set(names)]
    if not missing:
        return names
    where = "forward" if any(m not in row_names for m in missing) else "noise_cov"
    message = f"{len(missing)} good channels are missing in {where}: {_checks.names(missing)}"
    if len(names) < 0.9 * len(good):
        kinds = dict(zip(info["ch_names"], info.get_channel_types(), strict=True))
        left = list(dict.fromkeys(kinds[n] for n in names))
        raise InputError(
            f"{message}. Only {len(names)} of {len(good)} would be left: pass picks={left}, mark "
            "them bad, or use the forward and noise_cov of this measurement."
        )
    _checks.warn(f"{message}. They are left out, which changes the map.")
    return names


def _with_noise(names: list[str], info: mne.Info, noise_cov: mne.Covariance) -> list[str]:
    """Channels whose noise is known: finite covariance, and more than zero variance."""
    row = {name: i for i, name in enumerate(noise_cov.ch_names)}
    index = [row[name] for name in names]
    square = np.asarray(noise_cov.data)
    square = square[index] if square.ndim == 1 else square[np.ix_(index, index)]
    way_out = _checks.ESTIMATE_AGAIN
    _checks.real_finite(square, "noise_cov", names, way_out=way_out)
    variance = square if square.ndim == 1 else np.diag(square)
    kinds = dict(zip(info["ch_names"], info.get_channel_types(), strict=True))
    alive = {kinds[n] for n, v in zip(names, variance, strict=True) if v != 0}
    dead = [n for n, v in zip(names, variance, strict=True) if v == 0]
    for name in dead:
        if kinds[name] not in alive:
            raise InputError(f"noise_cov is all zero for {kinds[name]} channels: {way_out}.")
    if dead:
        _checks.warn(f"zero variance in noise_cov: {_checks.names(dead)}; they are left out.")
    return [name for name in names if name not in set(dead)]


def _check_forward(forward: mne.Forward) -> None:
    """Refuse a forward whose parts do not fit together: a FIF file has no checksum."""
    _check_frames(forward)
    n_orients = 1 if forward["source_ori"] == 1 else 3
    n_sources = sum(int(s["nuse"]) for s in forward["src"])
    sol = forward["sol"]
    fits = {
        "the lead field": sol["data"].shape == (len(sol["row_names"]), n_sources * n_orients),
        "the number of sources": forward["nsource"] == n_sources,
        "the positions": np.shape(forward["source_rr"]) == (n_sources, 3),
        "the orientations": _are_unit(forward["source_nn"]),
    }
    for i, s in enumerate(forward["src"]):
        fits[f"source space {i}"] = _fits(s)
    wrong = [what for what, fit in fits.items() if not fit]
    if wrong:
        raise InputError(
            f"the forward does not fit together ({_checks.names(wrong)}): a corrupt file? Compute "
            "it again."
        )


def _fits(s) -> bool:
    """Whether vertices, normals and triangles of a source space refer to each other."""
    n = int(s["np"])
    triangles = [s.get("tris"), s.get("use_tris")] if s["type"] == "surf" else []
    return (
        len(s["rr"]) == len(s["nn"]) == n
        and len(s["vertno"]) == s["nuse"]
        and all(_within(index, n) for index in (s["vertno"], *triangles))
        and bool(np.isfinite(s["rr"]).all())
        and _are_unit(s["nn"][s["vertno"]])
    )


def _within(index: np.ndarray | None, n: int) -> bool:
    return index is None or len(index) == 0 or bool(np.min(index) >= 0 and np.max(index) < n)


def _are_unit(vectors: np.ndarray) -> bool:
    """Whether all are finite unit vectors."""
    length = np.sum(np.asarray(vectors, dtype=float) ** 2, axis=-1)
    return bool((np.abs(length - 1.0) < 0.1).all())


def _check_frames(forward: mne.Forward) -> None:
    """Refuse other coordinates than head or MRI, and source spaces that claim others."""
    frame = forward["coord_frame"]
    if frame not in (4, 5):
        raise InputError(
            f"the forward is in coordinate frame {int(frame)}; it must be head (4) or MRI (5)."
        )
    wrong = [i for i, s in enumerate(forward["src"]) if s["coord_frame"] != frame]
    if wrong:
        raise InputError(
            f"the forward claims coordinate frame {int(frame)}, its source space {wrong[0]} "
            f"{int(forward['src'][wrong[0]]['coord_frame'])}: one of the flags is wrong, compute "
            "the forward again."
        )


def _check_same_head(info: mne.Info, forward: mne.Forward) -> None:
    """Refuse a device that sat elsewhere when the forward was computed."""
    here, there = info["dev_head_t"], forward["info"].get("dev_head_t")
    has_meg = any(t in ("mag", "grad") for t in info.get_channel_types())
    if here is None or there is None or not has_meg:
        return
    a, b = np.asarray(here["trans"]), np.asarray(there["trans"])
    shift = float(np.linalg.norm(a[:3, 3] - b[:3, 3]))
    cosine = np.clip((np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2, -1, 1)
    angle = float(np.degrees(np.arccos(cosine)))
    if not (shift <= 5e-3 and angle <= 5):
        raise InputError(
            f"the head sat {1e3 * shift:.1f} mm and {angle:.1f} degrees from where the forward was "
            "computed (dev_head_t differs): compute the forward for this recording."
        )


def _check_lead_field(info: mne.Info, forward: mne.Forward) -> None:
    """Finite, in SI units, and each row strongest near its own sensor."""
    row = {name: i for i, name in enumerate(forward["sol"]["row_names"])}
    rows = np.array([row[name] for name in info["ch_names"]])
    types = np.array(info.get_channel_types())
    _checks.lead_field(forward["sol"]["data"], rows, info["ch_names"], types)
    places = _checks.spread_out(np.asarray(forward["source_rr"], dtype=float))
    if forward["source_ori"] == 1 or places is None:
        return  # along the normals alone a lead field has its strongest source anywhere
    gain = forward["sol"]["data"].reshape(len(row), -1, 3)
    sources = np.asarray(forward["source_rr"], dtype=float)[places]
    if forward["coord_frame"] == 5:
        sources = mne.transforms.apply_trans(forward["mri_head_t"], sources)
    sensors = _sensor_positions(info)
    astray: list[str] = []
    for kind in dict.fromkeys(types):
        use = np.flatnonzero((types == kind) & np.isfinite(sensors).all(axis=1))
        found = _checks.astray_rows(gain[rows[use][:, None], places], sensors[use], sources)
        astray += [info["ch_names"][i] for i in use[found]]
    if astray:
        _checks.warn(
            f"the lead field of {len(astray)} of {len(rows)} channels is not strongest near the "
            f"sensor: {_checks.names(astray)}. Do the row names of the forward belong to its rows?"
        )


def _sensor_positions(info: mne.Info) -> np.ndarray:
    """Head coordinates (channels, 3); NaN where unknown."""
    out = np.array([ch["loc"][:3] for ch in info["chs"]], dtype=float)
    out[~out.any(axis=1)] = np.nan
    meg = np.array([t != "eeg" for t in info.get_channel_types()])
    if info["dev_head_t"] is None:
        out[meg] = np.nan
    elif meg.any():
        out[meg] = mne.transforms.apply_trans(info["dev_head_t"], out[meg])
    return out


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
    have = [_vectors(p, present) for p in info["projs"]]
    lost = []
    for p in noise_cov["projs"]:
        names, vectors = _vectors(p, present)
        if names and not any(names == n and _parallel(vectors, v) for n, v in have):
            lost.append(p["desc"])
    if lost:
        raise InputError(
            f"noise_cov was projected by {lost}, which the measurement does not carry: add the "
            "projectors to it (add_proj) or estimate noise_cov without them."
        )


def _vectors(p: mne.Projection, present: set[str]) -> tuple[list[str], np.ndarray]:
    """Names and unit vectors of a projector on the channels present, sorted by name."""
    names = p["data"]["col_names"]
    keep = sorted((i for i, n in enumerate(names) if n in present), key=lambda i: names[i])
    vectors = np.asarray(p["data"]["data"], dtype=float)[:, keep]
    size = np.linalg.norm(vectors, axis=1, keepdims=True)
    return [names[i] for i in keep], vectors / np.where(size > 0, size, 1.0)


def _parallel(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two lists of unit vectors are the same up to sign."""
    return a.shape == b.shape and bool((np.abs(np.sum(a * b, axis=1)) > 0.999).all())


def _reference(info: mne.Info, data: Measurement) -> tuple[mne.Info, tuple[str, ...]]:
    """Make sure that EEG has an average reference, as a projector."""
    eeg = _eeg(info)
    if not eeg:
        return info, ()
    if len(eeg) == 1:
        raise InputError(
            f"{eeg[0]} is the only EEG channel: an average reference leaves nothing of it; pass "
            "picks without it."
        )
    known = [set(p["data"]["col_names"]) for p in info["projs"] if p["kind"] == 10]
    if known and not info["custom_ref_applied"]:
        strange = [name for name in eeg if not any(name in names for names in known)]
        if strange:
            raise InputError(
                f"the average-reference projector does not know {_checks.names(strange)}: were "
                "channels renamed? Call set_eeg_reference(projection=True) on the measurement."
            )
        return info, ()
    if not _has_zero_mean(data):
        problem = "a custom EEG reference" if info["custom_ref_applied"] else "no average reference"
        raise InputError(
            f"the EEG has {problem}: call set_eeg_reference(projection=True) on the measurement; "
            "the lead field is that of an average reference."
        )
    info = info.copy()
    with info._unlock():
        info["custom_ref_applied"] = 0
    flat = mne.EvokedArray(np.zeros((len(info["ch_names"]), 1)), info, verbose="ERROR")
    flat.set_eeg_reference(projection=True, verbose="ERROR")
    note = "EEG: average reference was applied to the data; the projector was added"
    return flat.info, (note,)


def _eeg(info: mne.Info, without: tuple = ()) -> list[str]:
    types = zip(info["ch_names"], info.get_channel_types(), strict=True)
    return [name for name, kind in types if kind == "eeg" and name not in without]


def _has_zero_mean(data: Measurement) -> bool:
    """Whether the EEG as recorded, with or without its bad channels, adds up to zero."""
    info = data.inst.info
    for eeg in {tuple(_eeg(info)), tuple(_eeg(info, tuple(info["bads"])))}:
        values = data.pick(list(eeg))
        mean, size = np.abs(values.mean(axis=-2)).max(), np.abs(values).max()
        if size > 0 and mean < 1e-6 * size:
            return True
    return False
