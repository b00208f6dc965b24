"""Whether measurement, forward and noise covariance belong together: refused where they do not."""

import mne
import numpy as np

from esijax import _checks
from esijax._ops.safe import divisor
from esijax._types import InputError
from esijax.io.measured.channels import Channels


def check_agreement(
    channels: Channels, forward: mne.Forward, noise_cov: mne.Covariance | None
) -> None:
    """Refuse a forward or a noise covariance of another measurement."""
    _same_head(channels, forward)
    _same_compensation(channels, forward)
    _projectors_known(channels, noise_cov)
    _plausible_lead_field(channels, forward)


def _same_head(channels: Channels, forward: mne.Forward) -> None:
    """Refuse a forward that was computed for another head position in the device."""
    here, there = channels.info["dev_head_t"], forward["info"].get("dev_head_t")
    if here is None or there is None or not (channels.types != "eeg").any():
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


def _plausible_lead_field(channels: Channels, forward: mne.Forward) -> None:
    """Refuse lead fields that are not finite or not in SI units; warn of rows at other sensors."""
    _checks.few(len(channels.names), forward["nsource"])
    rows, types = channels.forward_rows, channels.types
    _checks.lead_field(forward["sol"]["data"], rows, channels.names, types)
    places = _checks.spread_out(np.asarray(forward["source_rr"], dtype=float))
    if forward["source_ori"] == 1 or places is None:
        return  # along the normals alone a lead field has its strongest source anywhere
    gain = forward["sol"]["data"]
    gain = gain.reshape(len(gain), -1, 3)
    sources = np.asarray(forward["source_rr"], dtype=float)[places]
    if forward["coord_frame"] == 5:
        sources = mne.transforms.apply_trans(forward["mri_head_t"], sources)
    sensors = _sensors_in_head(channels)
    astray: list[str] = []
    for kind in dict.fromkeys(types):
        use = np.flatnonzero((types == kind) & np.isfinite(sensors).all(axis=1))
        found = _checks.astray_rows(gain[rows[use][:, None], places], sensors[use], sources)
        astray += [channels.names[i] for i in use[found]]
    if astray:
        _checks.warn(
            f"the lead field of {len(astray)} of {len(rows)} channels is not strongest near the "
            f"sensor: {_checks.names(astray)}. Do the row names of the forward belong to its rows?"
        )


def _sensors_in_head(channels: Channels) -> np.ndarray:
    """Head coordinates (channels, 3); NaN where unknown."""
    out = np.array([ch["loc"][:3] for ch in channels.chs], dtype=float)
    out[~out.any(axis=1)] = np.nan
    meg, to_head = channels.types != "eeg", channels.info["dev_head_t"]
    if to_head is None:
        out[meg] = np.nan
    elif meg.any():
        out[meg] = mne.transforms.apply_trans(to_head, out[meg])
    return out


def _same_compensation(channels: Channels, forward: mne.Forward) -> None:
    """Refuse gradient compensation that differs between measurement and forward."""

    def grade(chs) -> set[int]:
        return {int(ch["coil_type"]) >> 16 for ch in chs if ch["kind"] == 1}

    names = set(channels.names)
    ours = grade(channels.chs)
    theirs = grade(ch for ch in forward["info"]["chs"] if ch["ch_name"] in names)
    if ours != theirs:
        raise InputError(
            f"compensation grade differs: measurement {sorted(ours)}, forward {sorted(theirs)}; "
            "compute the forward with the info of this measurement."
        )


def _projectors_known(channels: Channels, noise_cov: mne.Covariance | None) -> None:
    """Refuse a covariance with projectors that the measurement does not have."""
    if noise_cov is None:
        return
    present = set(channels.names)
    have = [_vectors(p, present) for p in channels.projs]
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
    return [names[i] for i in keep], vectors / divisor(size)


def _parallel(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two lists of unit vectors are the same up to sign."""
    return a.shape == b.shape and bool((np.abs(np.sum(a * b, axis=1)) > 0.999).all())
