r"""Amplitudes without the shrinkage of the penalty, on the locations that it chose."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from esijax._types import InputError, is_traced
from esijax.estimate import Estimate, combine_notes
from esijax.models.posteriors.point import PointPosterior

HOW = ("scale", "refit")


def debias(estimate: Estimate, how: str = "scale") -> Estimate:
    r"""Undo the bias of a sparse estimate towards zero, in a step of its own.

    .. math::
       \text{scale:}\quad & \min_{d_l \ge 1} \lVert Y - \textstyle\sum_l d_l\, G_l \hat X_l
       \rVert_F^2 \\
       \text{refit:}\quad & \min_{X_S} \lVert Y - G_S X_S \rVert_F^2

    "scale" keeps each location's time course and orientation, as MNE-Python does; "refit" is
    least squares on the active locations, and needs fewer of them than sensors. What comes back
    is no minimum of the penalised problem: its diagnostics are those of the biased estimate, and
    a note says so.

    Parameters
    ----------
    estimate : Estimate
        Of `MAP` or `Reweighted`.
    how : "scale" | "refit"
        Which amplitudes are fitted anew.

    Returns
    -------
    estimate : Estimate
        With other amplitudes at the same locations.

    Raises
    ------
    InputError
        For an estimate that is no point estimate, an unknown `how`, too many active sources for
        "refit", a call inside jit or grad.

    References
    ----------
    Strohmeier et al. 2016, doi:10.1109/TMI.2016.2553445; Gramfort et al. 2013,
    doi:10.1016/j.neuroimage.2012.12.051.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> estimate = ej.solve(problem, ej.models.L21(ej.relative(0.5)), ej.inference.MAP())
    >>> round(float(ej.inference.debias(estimate).mean[3, 0, 0]), 6)
    5.0
    """
    if how not in HOW:
        raise InputError(f"how must be one of {HOW}, got {how!r}.")
    if is_traced(estimate):
        raise InputError("debias works on the host: call it outside jit, vmap and grad.")
    if not isinstance(estimate.posterior, PointPosterior):
        raise InputError(
            f"debias is for sparse point estimates (MAP, Reweighted), not {estimate.method}."
        )
    if how == "refit" and estimate.model.startswith("TemporalBasis"):
        raise InputError('how="refit" would leave the temporal basis: how="scale" stays in it.')
    sources = np.asarray(estimate.posterior.sources)
    data = np.asarray(estimate.problem.data)
    correct = _scale_courses if how == "scale" else _refit_courses
    if data.ndim == 2:
        new, fitted = _correct_recording(correct, estimate, sources, data)
    else:
        parts = [
            _correct_recording(correct, estimate, s, y) for s, y in zip(sources, data, strict=True)
        ]
        new, fitted = (np.stack(x) for x in zip(*parts, strict=True))
    note = f'amplitudes debiased ("{how}"): the diagnostics are those of the biased estimate'
    posterior = PointPosterior(jnp.asarray(new), jnp.asarray(fitted))
    return dataclasses.replace(
        estimate, posterior=posterior, notes=combine_notes(estimate.notes, (note,))
    )


def _correct_recording(correct, estimate: Estimate, sources: np.ndarray, data: np.ndarray):
    """New sources of one recording, and what they explain."""
    active = np.flatnonzero(np.any(sources != 0, axis=(1, 2)))
    if active.size == 0:
        return sources, np.zeros_like(data)
    gain = np.asarray(estimate.problem.gain[:, active])
    new = np.zeros_like(sources)
    new[active] = correct(gain, sources[active], data)
    return new, np.tensordot(gain, new[active], 2)


def _scale_courses(gain: np.ndarray, sources: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Factor d of each course, by non-negative least squares for d - 1."""
    parts = np.einsum("rlo,lot->lrt", gain, sources).reshape(len(sources), -1)
    left = (data - parts.sum(axis=0).reshape(data.shape)).ravel()
    norms = np.linalg.norm(parts, axis=1)
    parts = parts / norms[:, None]
    gram = parts @ parts.T + 1e-13 * np.eye(len(parts))
    chol = np.linalg.cholesky(gram)
    more, _ = nnls(chol.T, solve_triangular(chol, parts @ left, lower=True))
    return sources * (1.0 + more / norms)[:, None, None]


def _refit_courses(gain: np.ndarray, sources: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Least squares on the active locations; InputError where they are more than sensors."""
    columns = gain.reshape(len(gain), -1)
    if columns.shape[1] > len(columns):
        raise InputError(
            f'how="refit" has {columns.shape[1]} unknowns per sample for {len(columns)} sensors: '
            'how="scale", or a larger alpha.'
        )
    return np.linalg.lstsq(columns, data, rcond=None)[0].reshape(sources.shape)
