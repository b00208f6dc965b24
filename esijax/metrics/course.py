"""Scores of time courses and of values."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from esijax._ops.safe import divisor
from esijax._types import Scalar


def normalised_error(estimate: Float[ArrayLike, "..."], truth: Float[ArrayLike, "..."]) -> Scalar:
    r"""Norm of the error over the norm of the truth, :math:`\lVert x - q \rVert / \lVert q \rVert`.

    Parameters
    ----------
    estimate, truth : (...)
        In the same unit: maps, courses or both.

    Returns
    -------
    error : ()
        0 is best, 1 is what a map of zeros has; no upper limit, NaN where the truth is zero.

    References
    ----------
    Grova et al. 2006, doi:10.1016/j.neuroimage.2005.08.053 (as mean square error).

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.normalised_error(jnp.array([3.0, 2.0]), jnp.array([3.0, 4.0])))
    0.4
    """
    estimate, truth = jnp.asarray(estimate), jnp.asarray(truth)
    return jnp.sqrt(jnp.sum((estimate - truth) ** 2) / jnp.sum(truth**2))


def explained_variance(estimate: Float[ArrayLike, "..."], truth: Float[ArrayLike, "..."]) -> Scalar:
    r"""Share of the truth's power that the estimate accounts for.

    .. math:: 1 - \lVert x - q \rVert^2 / \lVert q \rVert^2

    Parameters
    ----------
    estimate, truth : (...)
        In the same unit; maps and courses of sources, or whitened data and what is predicted.

    Returns
    -------
    share : ()
        1 is best, 0 is what zeros have; no lower limit, NaN where the truth is zero.

    References
    ----------
    Murphy 1988, doi:10.1175/1520-0493(1988)116<2417:SSBOTM>2.0.CO;2 (skill scores from the mean
    square error).

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.explained_variance(jnp.array([1.0, 0]), jnp.array([1.0, 1.0])))
    0.5
    """
    estimate, truth = jnp.asarray(estimate), jnp.asarray(truth)
    return 1 - jnp.sum((estimate - truth) ** 2) / jnp.sum(truth**2)


def correlation(
    estimate: Float[ArrayLike, "*lead times"], truth: Float[ArrayLike, "*lead times"]
) -> Float[Array, "*lead"]:
    r"""Pearson correlation of time courses.

    Parameters
    ----------
    estimate, truth : (..., times)
        At least two samples; the scale and the offset do not matter.

    Returns
    -------
    correlation : (...)
        Between -1 and 1: 1 is best; NaN where a course is constant.

    References
    ----------
    Pearson 1895, doi:10.1098/rspl.1895.0041.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> round(float(ej.metrics.correlation(jnp.array([1.0, 2, 3]), jnp.array([2.0, 4, 6]))), 9)
    1.0
    """
    estimate, truth = (
        x - jnp.mean(x, axis=-1, keepdims=True) for x in map(jnp.asarray, (estimate, truth))
    )
    top = jnp.sum(estimate * truth, axis=-1)
    size = jnp.sqrt(jnp.sum(estimate**2, axis=-1)) * jnp.sqrt(jnp.sum(truth**2, axis=-1))
    return jnp.where(size > 0, top / divisor(size), jnp.nan)


def cosine(estimate: Float[ArrayLike, "..."], truth: Float[ArrayLike, "..."]) -> Scalar:
    r"""Cosine of the angle between two maps, :math:`x \cdot q / (\lVert x \rVert \lVert q \rVert)`.

    Parameters
    ----------
    estimate, truth : (...)
        Their scales do not matter.

    Returns
    -------
    cosine : ()
        Between -1 and 1: 1 is best; NaN where either is zero.

    References
    ----------
    Meijs et al. 1989, doi:10.1109/10.40805 (RDM = sqrt(2 - 2 cosine)).

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.cosine(jnp.array([1.0, 0]), jnp.array([0.0, 2.0])))
    0.0
    """
    estimate, truth = jnp.asarray(estimate), jnp.asarray(truth)
    size = jnp.sqrt(jnp.sum(estimate**2)) * jnp.sqrt(jnp.sum(truth**2))
    return jnp.where(size > 0, jnp.sum(estimate * truth) / divisor(size), jnp.nan)
