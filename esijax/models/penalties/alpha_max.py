"""The smallest alpha at which a penalty leaves nothing."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array

from esijax._types import InputError, Scalar, Sources
from esijax.models.penalties import Analysis, Penalty
from esijax.models.penalties._data_term import DataTerm
from esijax.problem import Problem


def images(penalty: Analysis, z: Sources) -> tuple[Array, ...]:
    """M Z."""
    return tuple(term.operator(z) for term in penalty.terms)


def gathered(penalty: Analysis, u: tuple[Array, ...], shape) -> Sources:
    """M' U."""
    parts = (t.operator.transpose(v, shape) for t, v in zip(penalty.terms, u, strict=True))
    return sum(parts, jnp.zeros(shape))


def size_of(tree) -> Scalar:
    """Euclidean norm over all arrays of a tree."""
    return jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree)))


def restored(penalty: Analysis, u: tuple, slope: Sources) -> tuple:
    r"""Least change of U with :math:`M^\top U` = slope."""
    shape = slope.shape

    def normal(v):
        return gathered(penalty, images(penalty, v), shape)

    lack = slope - gathered(penalty, u, shape)
    lack = lack - penalty.unseen(lack)
    enough = 1e-12 * jnp.linalg.norm(slope)  # below it, rounding in what no map sees
    v, _ = cg(normal, lack, tol=0.0, atol=enough, maxiter=2000)
    return jax.tree.map(jnp.add, u, images(penalty, v))


def unseen_fit(term: DataTerm, penalty: Analysis, data) -> Sources:
    """Least squares fit of sources that no map sees; in passes, or it would chase rounding."""

    def normal(z):
        return penalty.unseen(term.pulled(term.fitted(penalty.unseen(z))))

    z = jnp.zeros((*term.scale.shape, data.shape[1]))
    for _ in range(3):
        right = penalty.unseen(term.pulled(data - term.fitted(z)))
        more, _ = cg(normal, right, tol=1e-6, maxiter=20)
        z = z + penalty.unseen(more)
    return z


def alpha_bound(term: DataTerm, penalty: Analysis) -> Scalar:
    """Alpha from which on the maps surely see nothing; infinite where there is none.

    The least U with the equation is within the balls. A true alpha_max may be lower.
    """
    shape = (*term.scale.shape, term.data.shape[1])
    residual = term.data - term.fitted(unseen_fit(term, penalty, term.data))
    slope = term.pulled(residual)
    least = restored(penalty, images(penalty, jnp.zeros(shape)), slope)
    largest = jnp.zeros(())
    for t, v in zip(penalty.terms, least, strict=True):
        if t.norm == "squares":
            largest = largest + jnp.where(jnp.any(v != 0), jnp.inf, 0.0)
        else:
            largest = jnp.maximum(largest, jnp.max(t.sizes(v)) / t.share)
    left = size_of(slope - gathered(penalty, least, shape))
    return jnp.where(left <= 1e-9 * jnp.maximum(size_of(slope), 1e-300), largest, jnp.inf)


def alpha_max(problem: Problem, penalty: Penalty) -> Scalar:
    r"""Smallest alpha at which every source is zero.

    .. math:: \alpha_{max} = \Omega^\circ(P G^\top Y)

    with the dual norm of the penalty; its weights count, its alpha does not.

    Parameters
    ----------
    problem : Problem
    penalty : Penalty

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
def _alpha_max(problem: Problem, penalty: Penalty):
    def one(data):
        if isinstance(penalty, Analysis):
            term = DataTerm(problem.gain, problem.prior_scale, data, penalty.spread())
            return alpha_bound(term, penalty)
        slope = jnp.tensordot(problem.gain, data, axes=(0, 0))
        slope = slope * problem.prior_scale[..., None] * penalty.spread()[:, None]
        return penalty.even().polar(slope)

    if problem.data.ndim == 2:
        return one(problem.data)
    found = [one(data) for data in problem.data]
    return None if found[0] is None else jnp.max(jnp.stack(found))
