"""MNE-Python's solvers on the same data, as maps that are scored alike."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mne.beamformer import apply_lcmv, make_lcmv
from mne.inverse_sparse import gamma_map, mixed_norm
from mne.minimum_norm import apply_inverse, make_inverse_operator

from esijax.benchmark.case import Case


@dataclass(frozen=True)
class PeerAnswer:
    """What a peer gives: a map without uncertainty, (locations, orients, times)."""

    mean: np.ndarray


def _mne_linear(method: str) -> Callable[[Case], PeerAnswer]:
    def run(case: Case) -> PeerAnswer:
        operator = make_inverse_operator(
            case.evoked.info,
            case.forward,
            case.noise_cov,
            loose=case.loose,
            depth=case.depth,
            verbose="ERROR",
        )
        ori = "vector" if case.problem.n_orients == 3 and method != "eLORETA" else None
        return _answer(
            case, apply_inverse(case.evoked, operator, 1 / 9, method, ori, verbose="ERROR")
        )

    return run


def _mne_lcmv(case: Case) -> PeerAnswer:
    filters = make_lcmv(
        case.evoked.info,
        case.oriented,
        case.data_cov,
        noise_cov=case.noise_cov,
        pick_ori="max-power" if case.problem.n_orients == 3 else None,
        weight_norm="unit-noise-gain",
        verbose="ERROR",
    )
    return _answer(case, apply_lcmv(case.evoked, filters, verbose="ERROR"))


def _mixed_norm(case: Case) -> PeerAnswer:
    """l2,1 at 40 % of alpha_max, as in MNE-Python's example."""
    stc = mixed_norm(
        case.evoked,
        case.forward,
        case.noise_cov,
        40.0,
        loose=case.loose,
        depth=case.depth,
        verbose="ERROR",
    )
    return _answer(case, stc)


def _gamma_map(case: Case) -> PeerAnswer:
    """ARD with alpha = 0.5, as in MNE-Python's example; minutes per map."""
    stc = gamma_map(
        case.evoked,
        case.forward,
        case.noise_cov,
        0.5,
        loose=case.loose,
        depth=case.depth,
        verbose="ERROR",
    )
    return _answer(case, stc)


def _answer(case: Case, stc) -> PeerAnswer:
    """Map on all locations: sparse solvers name only those that are active."""
    data = np.real(stc.data)  # MNE's max-power filters come out complex where rank is lost
    data = data[:, None] if data.ndim == 2 else data
    out = np.zeros((case.problem.n_locations, *data.shape[1:]))
    start, read = 0, 0
    spaces = case.problem.labels.vertices
    if len(stc.vertices) < len(spaces):  # of one hemisphere MNE knows nothing of the other
        spaces = tuple(v for v in spaces if len(v))
    for used, have in zip(spaces, stc.vertices, strict=True):
        rows = start + np.searchsorted(used, have)
        out[rows] = data[read : read + len(have)]
        start, read = start + len(used), read + len(have)
    return PeerAnswer(out)


MNE_PEERS: dict[str, Callable[[Case], PeerAnswer]] = {
    "mne: MNE": _mne_linear("MNE"),
    "mne: dSPM": _mne_linear("dSPM"),
    "mne: sLORETA": _mne_linear("sLORETA"),
    "mne: eLORETA": _mne_linear("eLORETA"),
    "mne: LCMV-max-power": _mne_lcmv,
    "mne: MxNE": _mixed_norm,
}
SLOW_PEERS: dict[str, Callable[[Case], PeerAnswer]] = {"mne: gamma_map": _gamma_map}
