"""Arrays that a user hands over as a component: read, and refused where they are none."""

from typing import Any

import numpy as np
import scipy.linalg
from scipy import sparse

from esijax._types import InputError


def real(array: Any, what: str, ndim: int) -> np.ndarray:
    """Array of finite numbers with `ndim` axes; InputError for any other."""
    array = array.toarray() if sparse.issparse(array) else np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} must be real numbers, got {array.dtype}.")
    if array.ndim != ndim:
        raise InputError(f"{what} must have {ndim} axes, got the shape {array.shape}.")
    array = array.astype(float)
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{what} holds {array[where]} at {where}: replace or leave it out.")
    return array


def check_rows(array: Any, n_locations: int, what: str) -> None:
    """One row for each location."""
    if len(array) != n_locations:
        raise InputError(
            f"{what} has {len(array)} rows, the source space {n_locations} locations: give one "
            "for each."
        )


def psd_root(matrix: np.ndarray, what: str, rtol: float = 1e-8) -> np.ndarray:
    """Thin factor F with F F' = matrix, by pivoted Cholesky; InputError if there is none."""
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"{what} must be square, got {matrix.shape}.")
    size = float(np.abs(matrix).max())
    if size == 0:
        raise InputError(f"{what} is zero everywhere.")
    skew = float(np.abs(matrix - matrix.T).max())
    if skew > rtol * size:
        raise InputError(
            f"{what} is not symmetric (entries differ by {skew / size:.2g} of the largest): pass "
            "(C + C.T) / 2 if that is meant."
        )
    symmetric = (matrix + matrix.T) / 2
    pstrf = scipy.linalg.get_lapack_funcs("pstrf", (symmetric,))
    factor, pivot, rank, _ = pstrf(symmetric, tol=1e-14 * size, lower=1)
    root = np.zeros((len(matrix), rank))
    root[pivot - 1] = np.tril(factor)[:, :rank]
    # what the factor leaves over is rounding, or the negative part
    missing = float(np.abs(root @ root.T - symmetric).max())
    if missing > rtol * size:
        raise InputError(
            f"{what} is not positive semi-definite (off by {missing / size:.2g} of its largest "
            "entry): no covariance. Set its negative eigenvalues to zero if they are rounding."
        )
    return root
