"""The way back to MNE-Python: `to_mne`, `write_stc`."""

import contextlib
from pathlib import Path

import jax.numpy as jnp
import mne
import numpy as np

from esijax import _checks
from esijax._files import replacing, require_folder
from esijax._types import InputError
from esijax.estimate import Estimate

WHATS = ("mean", "std", "exceedance")
ORIENTATION_PICKS = (None, "vector", "normal", "magnitude")


def to_mne(estimate: Estimate, what: str = "mean", pick_ori=None, *, threshold=None):
    """Give a map as MNE's source estimate class.

    Parameters
    ----------
    estimate : Estimate
        Of a problem from `from_mne`.
    what : "mean" | "std" | "exceedance"
        Posterior mean, standard deviation (the same at all times unless hyper-parameters are
        uncertain), or the probability that the norm over orients exceeds `threshold`.
    pick_ori : None | "vector" | "normal" | "magnitude"
        With three orients None and "vector" give the Vector class in head coordinates, "normal"
        the component along the surface normal (volumes have none), "magnitude" the norm (what
        MNE-Python calls ``pick_ori=None``). With one orient all but "magnitude" give the signed
        map.
    threshold : float
        For "exceedance", in the units of the map.

    Returns
    -------
    stc : SourceEstimate | VectorSourceEstimate | VolSourceEstimate | ... or a list, one per trial
        Surface, volume, discrete or mixed, as the forward was. A m, or no unit for
        noise-normalised maps; probabilities for "exceedance".

    Raises
    ------
    InputError
        For an unknown choice, or a problem without a source space.

    Examples
    --------
    >>> import esijax as ej
    >>> stc = ej.to_mne(estimate, "std", pick_ori="normal")  # doctest: +SKIP
    """
    _check_request(estimate, what, pick_ori, threshold)
    estimate._refuse(1.0, f"the map of {what}")
    if threshold is not None and what == "exceedance":
        values = estimate.exceedance(threshold)
    elif what == "mean":
        values = _mean_to_write(estimate, pick_ori)
    else:
        times, lead = estimate.problem.n_times, estimate.problem.data.shape[:-2]
        values = _std(estimate, pick_ori)
        own = values.shape[-3:-1] if _is_vector(estimate, what, pick_ori) else values.shape[-2:-1]
        values = jnp.broadcast_to(values, (*lead, *own, times))
    values = np.asarray(values, dtype=float)
    n_map = 3 if _is_vector(estimate, what, pick_ori) else 2
    if values.ndim > n_map:
        return [_stc(estimate, v) for v in values]
    return _stc(estimate, values)


def _check_request(estimate: Estimate, what: str, pick_ori, threshold) -> None:
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate must be an esijax Estimate, got {type(estimate).__name__}.")
    if what not in WHATS:
        raise InputError(f"what must be one of {WHATS}, got {what!r}.")
    if pick_ori not in ORIENTATION_PICKS:
        raise InputError(f"pick_ori must be one of {ORIENTATION_PICKS}, got {pick_ori!r}.")
    if what == "exceedance" and threshold is None:
        raise InputError("what='exceedance' needs threshold=, in the units of the map.")
    labels = estimate.problem.labels
    if not labels.vertices:
        raise InputError("this estimate has no source space: MNE's classes need one (from_mne).")
    if labels.kinds.count("surface") not in (0, 2):
        raise InputError(
            f"the source spaces are {_checks.names(labels.kinds)}: of one hemisphere, not told "
            "which. Make the problem again with from_mne."
        )
    if pick_ori == "normal" and what != "exceedance" and estimate.n_orients == 3:
        if "volume" in labels.kinds:
            raise InputError("a volume has no normals: pick_ori None, 'vector' or 'magnitude'.")


def _is_vector(estimate: Estimate, what: str, pick_ori) -> bool:
    return what != "exceedance" and pick_ori in (None, "vector") and estimate.n_orients == 3


def _mean_to_write(estimate: Estimate, pick_ori):
    mean = estimate.mean
    if pick_ori == "magnitude":
        return jnp.linalg.norm(mean, axis=-2)
    if mean.shape[-2] == 1 or pick_ori == "normal":
        return mean[..., -1, :]
    frames = estimate.problem.geometry.frames  # (locations, orients, 3)
    return mean if frames is None else jnp.einsum("lod,...lot->...ldt", frames, mean)


def _std(estimate: Estimate, pick_ori):
    """Standard deviation, (..., locations, [3,] times or 1)."""
    std = estimate.std
    if std is None:
        raise InputError(f"{estimate.method} gives a point: it has no standard deviation.")
    if pick_ori == "magnitude":
        return jnp.linalg.norm(std, axis=-2)
    if std.shape[-2] == 1 or pick_ori == "normal":
        return std[..., -1, :]
    frames = estimate.problem.geometry.frames
    if frames is None:
        return std
    cov = estimate.cov
    cov = cov[..., None] if estimate.samples.steady else cov
    turned = jnp.einsum("lod,...lopt,lpd->...ldt", frames, cov, frames)
    return jnp.sqrt(jnp.maximum(turned, 0.0))


def _stc(estimate: Estimate, values: np.ndarray):
    labels = estimate.problem.labels
    common = {"tmin": labels.tmin, "tstep": 1.0 / labels.sfreq, "subject": labels.subject}
    vertices = [np.asarray(v) for v in labels.vertices]
    vector = values.ndim == 3
    kinds = set(labels.kinds)
    if kinds == {"surface"}:
        cls = mne.VectorSourceEstimate if vector else mne.SourceEstimate
    elif "surface" in kinds:
        cls = mne.MixedVectorSourceEstimate if vector else mne.MixedSourceEstimate
    else:
        cls = mne.VolVectorSourceEstimate if vector else mne.VolSourceEstimate
    return cls(values, vertices=vertices, **common)


def write_stc(
    estimate: Estimate, path, what: str = "mean", pick_ori: str = "magnitude", *, threshold=None
) -> list[Path]:
    """Write a map as .stc files that MNE reads, each replaced only when all are complete.

    Parameters
    ----------
    estimate : Estimate
        The answer of `solve`.
    path : path
        Stem: ``path-lh.stc`` and ``path-rh.stc`` for surfaces, ``path-vl.stc`` for a volume;
        several volumes are numbered, ``path-1-vl.stc`` and so on. A mixed space has both kinds.
    what, pick_ori, threshold : str, str, float
        As in `to_mne`; .stc files hold scalars, so "normal" or "magnitude".

    Returns
    -------
    files : list of Path

    Raises
    ------
    InputError
        What `to_mne` refuses, a folder that does not exist, files that cannot be written.
    """
    if pick_ori not in ("normal", "magnitude"):
        raise InputError(
            f".stc files hold scalars: pick_ori 'normal' or 'magnitude', got {pick_ori!r}."
        )
    path = Path(path)
    require_folder(path.parent)
    stc = to_mne(estimate, what, pick_ori, threshold=threshold)
    if isinstance(stc, list):
        raise InputError("single trials: write each stc of to_mne(...) yourself.")
    stop = np.cumsum([len(v) for v in stc.vertices])
    ends = _endings(estimate.problem.labels.kinds)
    files = [path.with_name(path.name + end) for end in ends]
    with contextlib.ExitStack() as whole:
        temporaries = [whole.enter_context(replacing(file)) for file in files]
        for temporary, vertices, end in zip(temporaries, stc.vertices, stop, strict=True):
            data = stc.data[end - len(vertices) : end]
            temporary.write_bytes(_stc_bytes(data, vertices, stc.tmin, stc.tstep))
    return files


def _endings(kinds: tuple[str, ...]) -> list[str]:
    """How the file of each source space is called: MNE reads two hemispheres, or one volume."""
    sides = iter(("-lh.stc", "-rh.stc"))
    n_volumes = sum(kind != "surface" for kind in kinds)
    numbers = [""] if n_volumes == 1 else [f"-{i + 1}" for i in range(n_volumes)]
    volumes = iter([number + "-vl.stc" for number in numbers])
    return [next(sides if kind == "surface" else volumes) for kind in kinds]


def _stc_bytes(data: np.ndarray, vertices: np.ndarray, tmin: float, tstep: float) -> bytes:
    """What MNE's own `save` writes, which takes an absent hemisphere for the whole brain."""
    head = np.array([1000 * tmin, 1000 * tstep], dtype=">f4")  # ms
    places = np.array([len(vertices), *vertices, data.shape[1]], dtype=">u4")
    return head.tobytes() + places.tobytes() + data.T.astype(">f4").tobytes()
