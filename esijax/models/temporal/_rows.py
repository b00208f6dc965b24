r"""Rows of a temporal basis: from a name or an array to courses at the samples.

.. math:: \phi_k(t) = \sqrt{(2 - \delta_{k0}) / T} \cos\left( \pi k (t + \tfrac12) / T \right)
          \quad \text{(dct)}
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax import _checks
from esijax._ops.gaussian import symmetric_power
from esijax._ops.trials import trials_as_columns
from esijax._types import InputError, is_number, is_traced
from esijax.courses import samples_within
from esijax.models.temporal.waves import Waves
from esijax.models.time import Time
from esijax.problem import Problem

LOWER_RANK = 1e-8  # of the largest singular value, rows of unit length
KINDS = 'an array (courses, times), "dct:16" or "svd:5" (with the number of courses)'
Rows = Float[Array, "courses times"]


class BasisCourses(eqx.Module):
    """Courses that sources are made of."""

    from_data: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """How estimates call them."""

    @abc.abstractmethod
    def at(self, problem: Problem) -> Rows:
        """Courses at the samples of a problem; InputError where it cannot have them."""


class Given(BasisCourses):
    """An array.

    Parameters
    ----------
    rows : (courses, times)
    """

    rows: Rows

    @property
    def name(self) -> str:
        """Their number."""
        n = len(self.rows)
        return f"{n} course{'s' * (n > 1)}"

    def at(self, problem: Problem) -> Rows:
        """As they are."""
        n = problem.n_times
        if self.rows.shape[1] != n:
            raise InputError(f"basis must be (courses, {n} times), got {self.rows.shape}.")
        _check_number(len(self.rows), problem)
        return self.rows


class Cosines(BasisCourses):
    """The discrete cosines of lowest frequency.

    Parameters
    ----------
    n : int
    """

    n: int = eqx.field(static=True)

    @property
    def name(self) -> str:
        """As they were asked for."""
        return f"dct:{self.n}"

    def at(self, problem: Problem) -> Rows:
        """Orthonormal rows."""
        _check_number(self.n, problem)
        order, at = np.arange(self.n)[:, None], np.arange(problem.n_times)[None] + 0.5
        size = np.sqrt(np.where(order == 0, 1.0, 2.0) / problem.n_times)
        return jnp.asarray(size * np.cos(np.pi * order * at / problem.n_times))


class Largest(BasisCourses):
    """The courses that hold most of the power of the whitened data.

    Parameters
    ----------
    n : int
    """

    n: int = eqx.field(static=True)
    from_data: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """As they were asked for."""
        return f"svd:{self.n}"

    def at(self, problem: Problem) -> Rows:
        """Right singular vectors of the data."""
        _check_number(self.n, problem)
        if is_traced(problem):
            raise InputError(
                'basis="svd:..." is made from the data and has no derivative: make the courses '
                "outside jit, vmap and grad and give them as an array, with from_data=True."
            )
        lead = problem.data.reshape(-1, problem.n_times)
        if self.n > len(lead):
            raise InputError(f"the data have {len(lead)} singular courses, basis wants {self.n}.")
        rows = jnp.linalg.svd(lead, full_matrices=False)[2][: self.n]
        return rows if problem.noise_time is None else rows @ problem.noise_time.root


class Window(BasisCourses):
    """The samples of a window, each a course of its own.

    Parameters
    ----------
    tmin, tmax : float
        s, both ends included.
    """

    tmin: float = eqx.field(static=True)
    tmax: float = eqx.field(static=True)

    def __check_init__(self):
        if not (is_number(self.tmin) and is_number(self.tmax) and self.tmin <= self.tmax):
            raise InputError(
                f"a window has tmin <= tmax in seconds, got {self.tmin!r} and {self.tmax!r}."
            )

    @property
    def name(self) -> str:
        """Its ends."""
        return f"{self.tmin:g} to {self.tmax:g} s"

    def at(self, problem: Problem) -> Rows:
        """Rows of the identity."""
        inside = samples_within(problem.times, (self.tmin, self.tmax))
        return jnp.eye(problem.n_times)[inside]


class Spanned(Time):
    """Sums of given courses with weights of unit variance: their variance is not one.

    Parameters
    ----------
    rows : (courses, times)
    """

    rows: Rows

    def correlation(self, hyper: dict[str, Array], times: Any) -> Float[Array, "times times"]:  # noqa: ARG002
        """Phi' Phi."""
        return self.rows.T @ self.rows


def read_courses(basis: Any) -> "BasisCourses | Waves":
    """Courses by name or as an array, checked as far as that goes without data.

    Raises
    ------
    InputError
        For anything else.
    """
    if isinstance(basis, BasisCourses | Waves):
        return basis
    if isinstance(basis, str):
        kind, _, number = basis.partition(":")
        if kind not in ("dct", "svd") or not number.isdigit() or int(number) < 1:
            raise InputError(f"basis must be {KINDS}, got {basis!r}.")
        return (Cosines if kind == "dct" else Largest)(int(number))
    if is_traced(basis):
        return Given(jnp.asarray(basis, float))
    rows = _checks.real_array(basis, "basis", (2,))
    if 0 in rows.shape or not np.isfinite(rows).all():
        raise InputError(f"basis must be {KINDS}, finite; got the shape {rows.shape}.")
    return Given(jnp.asarray(rows, float))


def _check_number(k: int, problem: Problem) -> None:
    n = problem.n_times
    if k > n:
        raise InputError(f"basis has {k} courses, and the data {n} samples: take {n} at most.")


def orthonormal_rows(rows: Rows, problem: Problem) -> Rows:
    r"""The nearest orthonormal rows, :math:`(B B^\top)^{-1/2} B`, in time whitened by the noise.

    Raises
    ------
    InputError
        Where some follow from the others.
    """
    known = problem.noise_time
    white = rows if known is None else rows @ known.inverse
    size = jnp.linalg.norm(white, axis=1, keepdims=True)
    white = white / jnp.where(size > 0, size, 1.0)
    if not is_traced(white):
        values = np.linalg.svd(np.asarray(white), compute_uv=False)
        rank = int((values > LOWER_RANK * max(values[0], 1e-300)).sum())
        if rank < len(white):
            raise InputError(
                f"basis has {len(white)} courses of rank {rank}: some are zero or follow from the "
                "others; leave them out."
            )
    return symmetric_power(white @ white.T, -0.5, rtol=LOWER_RANK**2) @ white


def coefficients(problem: Problem, rows: Rows) -> tuple[Array, Array, Float[Array, "rank rank"]]:
    """Data and recording in the basis, and the sum of products of what it leaves to the noise."""
    data = problem.data @ rows.T
    left = trials_as_columns(problem.data - data @ rows)
    known = problem.noise_time
    white = rows.T if known is None else known.inverse @ rows.T
    return data, problem.recording @ white, left @ left.T
