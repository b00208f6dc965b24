r"""Rigid motions: the six numbers of a co-registration.

.. math:: x \mapsto R(\omega) x + t, \qquad R = \exp [\omega]_\times
"""

import numpy as np
from jaxtyping import Array, Float

from esijax._types import InputError, is_traced
from esijax.forward._host import as_array, on_host

__all__ = ["check_rigid", "inverse", "move", "rigid", "turn"]


def rigid(parameters) -> Float[Array, "4 4"]:
    r"""Make a rigid motion from six parameters, differentiable everywhere.

    .. math:: x \mapsto \exp([\omega]_\times) x + t

    Parameters
    ----------
    parameters : (6,)
        Translation :math:`t` (m), then the rotation vector :math:`\omega` (rad).

    Returns
    -------
    (4, 4)

    Raises
    ------
    InputError
        If there are not six numbers.

    References
    ----------
    Rodrigues' formula, e.g. Murray, Li and Sastry 1994, doi:10.1201/9781315136370.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> bool(np.allclose(ej.forward.rigid(np.zeros(6)), np.eye(4)))
    True
    """
    parameters = as_array(parameters)
    if parameters.shape != (6,):
        raise InputError(f"a rigid motion has six parameters, got {parameters.shape}.")
    return _rigid_matrix(parameters)


@on_host
def _rigid_matrix(xp, parameters):
    shift, omega = parameters[:3], parameters[3:]
    squared = omega @ omega
    small = squared < 1e-4  # the fourth term of the series is below 1e-15
    safe = xp.where(small, 1.0, squared)
    angle = xp.sqrt(safe)
    sinc = xp.where(
        small, 1 - squared / 6 * (1 - squared / 20 * (1 - squared / 42)), xp.sin(angle) / angle
    )
    versin = xp.where(
        small,
        0.5 - squared / 24 * (1 - squared / 30 * (1 - squared / 56)),
        (1 - xp.cos(angle)) / safe,
    )
    x, y, z = omega
    zero = xp.zeros_like(x)
    cross = xp.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    rotation = xp.eye(3, dtype=omega.dtype) + sinc * cross + versin * cross @ cross
    upper = xp.concatenate([rotation, shift[:, None]], axis=1)
    return xp.concatenate([upper, xp.array([[0.0, 0.0, 0.0, 1.0]], dtype=omega.dtype)])


def check_rigid(transform, what: str) -> None:
    """Refuse a transform that is no rigid motion in metres; traced ones pass."""
    if is_traced(transform):
        return
    matrix = np.asarray(transform, dtype=float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        holds = "NaN or Inf" if matrix.shape == (4, 4) else f"the shape {matrix.shape}"
        raise InputError(f"{what} must be a rigid motion (4, 4): it has {holds}.")
    turn, shift = matrix[:3, :3], float(np.abs(matrix[:3, 3]).max())
    faults = {
        "its rotation is not orthogonal": np.abs(turn @ turn.T - np.eye(3)).max() < 1e-3,
        "it is a mirror": not np.linalg.det(turn) < 0,
        f"it moves by {shift:.3g} m, which no head does": shift < 1,
        "its last row is not 0, 0, 0, 1": np.abs(matrix[3] - [0, 0, 0, 1]).max() < 1e-6,
    }
    for fault, is_fine in faults.items():
        if not is_fine:
            raise InputError(f"{what} must be a rigid motion (4, 4) in metres: {fault}.")


@on_host
def inverse(xp, transform):
    """Invert a motion (4, 4), exactly: one from a file is orthogonal to single precision only."""
    x, y, z = transform[:3, :3]
    columns = xp.stack([xp.cross(y, z), xp.cross(z, x), xp.cross(x, y)], axis=1)
    rotation = columns / (x @ columns[:, 0])
    shift = -rotation @ transform[:3, 3]
    return xp.concatenate([xp.concatenate([rotation, shift[:, None]], axis=1), transform[3:]])


@on_host
def move(xp, transform, points):
    """Apply a transform (4, 4) to points (..., 3)."""
    return _rotated(xp, transform, points) + transform[:3, 3]


@on_host
def turn(xp, transform, vectors):
    """Apply the rotation of a transform (4, 4) to directions (..., 3)."""
    return _rotated(xp, transform, vectors)


def _rotated(xp, transform, vectors):
    return xp.einsum("...d,ed->...e", vectors, transform[:3, :3])
