"""The smallest alpha at which a penalty leaves nothing."""

import equinox as eqx
import jax.numpy as jnp

from esijax._types import InputError, Scalar
from esijax.models.penalties import Penalty
from esijax.problem import Problem


def alpha_max(problem: Problem, penalty: Penalty) -> Scalar:
    r"""Smallest alpha at which every source is zero.

    .. math:: \alpha_{max} = \Omega^\circ(P G^\top Y)

    with the dual norm of the penalty; its weights count, its alpha does not.

    Parameters
    ----------
    problem : Problem
        The problem.
    penalty : Penalty
        The penalty, its weight not used.

    Returns
    -------
    alpha_max : ()

    Raises
    ------
    InputError
        For a penalty whose dual norm is not known.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> problem = ej.from_arrays(np.eye(3), np.array([[4.0], [0.0], [3.0]]), noise_cov=1.0)
    >>> penalty = ej.models.L21(ej.relative(0.5))
    >>> float(ej.inference.select.alpha_max(problem, penalty))
    4.0
    """
    if not isinstance(penalty, Penalty):
        raise InputError(f"alpha_max is of a penalty (L21, L1, ...), not {type(penalty).__name__}.")
    largest = _alpha_max(problem, penalty.prepare(problem))
    if largest is None:
        raise InputError(f"{type(penalty).__name__} has no `polar`: give alpha as a number.")
    return largest


@eqx.filter_jit
def _alpha_max(problem: Problem, penalty: Penalty) -> Scalar | None:
    """Largest of the trials; None where it is unknown. The penalty's own alpha does not count."""
    unit = eqx.tree_at(lambda p: p.alpha, penalty, jnp.ones(()))

    def of_recording(data):
        return unit.alpha_max(unit.least_squares(problem, data))

    if problem.data.ndim == 2:
        return of_recording(problem.data)
    found = [of_recording(data) for data in problem.data]
    return None if found[0] is None else jnp.max(jnp.stack(found))
