r"""Covariance in time: `Time` says what is assumed, `TimeCov` is the matrix at some times.

.. math:: \theta \sim p(\theta), \qquad
          \operatorname{cov}(x_s, x_t) = T(\theta)_{st}, \qquad T_{tt} = 1

A source has the covariance :math:`\gamma T`, so that its variance is in :math:`\gamma` alone and T
says only how samples go together. All classes are stationary: :math:`T_{st} = k(|t_s - t_t|)`.
"""

import abc
import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.time import state_space
from esijax._ops.time.state_space import Steps
from esijax._types import InputError, is_traced
from esijax.models._in_order import InOrder
from esijax.models._scope import drawn_under, within
from esijax.models.time._parameter import parameter

Hyper = dict[str, Array]
Times = Float[Array, " times"]
Matrix = Float[Array, "times times"]


class Eigen(NamedTuple):
    r"""Eigenvalues (times,) and eigenvectors in columns, :math:`T = U \operatorname{diag}(w) U'`.

    Parameters
    ----------
    values : (times,)
        Ascending, none below zero.
    vectors : (times, times)
        Eigenvectors of the matrix, in columns.
    """

    values: Times
    vectors: Matrix


class Time(eqx.Module):
    """What is assumed of a course: stationary, of unit variance, mean zero.

    A new one is a `Kernel` with the method `at`; one that is no function of lags alone, or has a
    state-space form, gives `correlation`, `markov` and `steps`. Its parameters are fields with the
    converter `parameter`: those that are distributions are drawn by `hyper`, each under the name
    of its field. One `Time` may serve sources and noise of the same model: whoever calls `hyper`
    puts it under a name (`drawn_under("time", time.hyper, sizes)` gives ``time/length``).
    """

    @property
    def markov(self) -> bool:
        """Whether there is a state-space form, `steps`."""
        return False

    @property
    def learned(self) -> bool:
        """Whether any parameter is not known."""
        leaves = jax.tree.leaves(self, is_leaf=lambda x: isinstance(x, InOrder))
        return any(isinstance(leaf, InOrder) for leaf in leaves)

    def hyper(self, sizes: dict[str, int]) -> Hyper:  # noqa: ARG002
        """Draw the parameters that are not known, with `numpyro.sample`."""
        laws = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        drawn: dict[str, Any] = {
            name: numpyro.sample(name, self.law(name))
            for name, law in laws.items()
            if isinstance(law, InOrder)
        }
        return drawn

    def law(self, name: str) -> dist.Distribution:
        """Distribution of a parameter that is not known."""
        return getattr(self, name).law

    def value(self, hyper: Hyper, name: str) -> Array:
        """Parameter among the hyper-parameters, or the number that was given."""
        known = getattr(self, name)
        return hyper[name] if isinstance(known, InOrder) else known

    def check(self, times: np.ndarray) -> None:
        """Refuse times that this class cannot have (InputError); called with known times only."""

    @abc.abstractmethod
    def correlation(self, hyper: Hyper, times: Times) -> Matrix:
        """T, with ones on its diagonal."""

    def steps(self, hyper: Hyper, times: Times) -> Steps:  # noqa: ARG002
        """State-space form; InputError where there is none (`markov` is False)."""
        raise InputError(
            f"time.{type(self).__name__} is not Markov and has no state-space form: take dense() "
            "or eigen(), or another covariance (Matern, Oscillator, Autoregressive)."
        )

    def cov(self, hyper: Hyper, times: Times | Float[np.ndarray, " times"]) -> "TimeCov":
        """Covariance at some times (s), for one value of the hyper-parameters.

        Raises
        ------
        InputError
            If times are no finite numbers in ascending order, or not of the kind that the class
            needs. Within jit the times may be traced: their number alone is looked at then.
        """
        if not is_traced(times):
            _check_times(np.asarray(times))
            self.check(np.asarray(times))
        return TimeCov(self, hyper, jnp.asarray(times, dtype=float))

    def __add__(self, other: "Time") -> "Sum":
        """Sum of independent courses, with shares of the variance that add to 1."""
        if not isinstance(other, Time):
            return NotImplemented
        return Sum(self, other)


class TimeCov(eqx.Module):
    """Covariance T of a course of unit variance, (times, times).

    Parameters
    ----------
    time : Time
        The covariance in time.
    hyper : dict
        Hyper-parameters of the covariance.
    times : (times,)
        s.
    """

    time: Time
    hyper: Hyper
    times: Times

    @property
    def markov(self) -> bool:
        """Whether there is a state-space form, `steps`."""
        return self.time.markov

    def dense(self) -> Matrix:
        """T itself. Derivatives with respect to hyper-parameters go through here."""
        return self.time.correlation(self.hyper, self.times)

    def eigen(self) -> Eigen:
        """Eigenvalues and eigenvectors of T; rounding below zero is clipped to zero.

        Not for derivatives: eigenvectors have none where eigenvalues coincide (`White`, and the
        zeros of `SquaredExponential` and `Periodic`).
        """
        values, vectors = jnp.linalg.eigh(self.dense())
        return Eigen(jnp.maximum(values, 0.0), vectors)

    def steps(self) -> Steps:
        """F, Q, h and P0 of a state-space form; InputError unless `markov`."""
        return self.time.steps(self.hyper, self.times)

    def draw(self, key: PRNGKeyArray, n: int) -> Float[Array, "n times"]:
        """Courses drawn, sample by sample where T is Markov, else by its root."""
        if self.markov:
            return state_space.draw(self.steps(), key, n)
        values, vectors = self.eigen()
        white = jax.random.normal(key, (n, len(values)), values.dtype)
        return (white * jnp.sqrt(values)[None]) @ vectors.T


class Kernel(Time):
    """A covariance that is known at any lag, so that times may be uneven."""

    @abc.abstractmethod
    def at(self, hyper: Hyper, lags: Float[Array, "times times"]) -> Float[Array, "times times"]:
        """Covariance at these lags (s, not negative), 1 at lag zero."""

    def correlation(self, hyper: Hyper, times: Times) -> Matrix:
        """Covariance at all lags between the times."""
        return self.at(hyper, jnp.abs(times[:, None] - times[None, :]))


class Sum(Time):
    r"""Independent courses on top of each other.

    .. math:: T = \sum_i s_i T_i, \qquad s_i > 0, \; \sum_i s_i = 1

    ``a + b`` makes one. Hyper-parameters of the parts are named ``part0/length``,
    ``part1/length``, ...

    Parameters
    ----------
    *parts : Time
        A sum among them, with shares that are not known, is taken apart: ``a + b + c`` has three
        parts and shares that treat them alike.
    shares : sequence of float | numpyro distribution | None
        Of each part in the variance: numbers that add to 1, a distribution on the simplex, or
        None for a Dirichlet distribution with ones.

    Raises
    ------
    InputError
        For fewer than two parts, parts that are no `Time`, and other shares.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> time = ej.models.time
    >>> rhythm = time.SquaredExponential(0.02) + time.Oscillator(10.0, decay=0.3)
    >>> fixed = time.Sum(time.Matern(1.5, 0.05), time.White(), shares=(0.9, 0.1))
    >>> np.round(fixed.cov({}, np.array([0.0, 0.01])).dense(), 3).tolist()
    [[1.0, 0.857], [0.857, 1.0]]
    """

    parts: tuple[Time, ...]
    shares: Any

    def __init__(self, *parts: Any, shares: Any = None):
        for part in parts:
            if not isinstance(part, Time):
                raise InputError(
                    f"time.Sum adds covariances in time, got {type(part).__name__}: use the "
                    "classes of esijax.models.time."
                )
        if shares is None:
            nested = [p.parts if isinstance(p, Sum) and p.plain else (p,) for p in parts]
            parts = tuple(one for group in nested for one in group)
        if len(parts) < 2:
            raise InputError(f"time.Sum needs two parts at least, got {len(parts)}.")
        self.parts = parts
        self.shares = parameter(dist.Dirichlet(jnp.ones(len(parts))) if shares is None else shares)
        _check_shares(self.shares, len(parts))

    @property
    def plain(self) -> bool:
        """Whether the shares have the distribution that `a + b` gives them."""
        law = getattr(self.shares, "law", None)
        if not isinstance(law, dist.Dirichlet) or is_traced(law.concentration):
            return False
        return bool(np.all(np.asarray(law.concentration) == 1.0))

    @property
    def markov(self) -> bool:
        """Whether all parts are."""
        return all(part.markov for part in self.parts)

    def hyper(self, sizes: dict[str, int]) -> Hyper:
        """Draw the shares, and each part under its own name."""
        out = super().hyper(sizes)
        for i, part in enumerate(self.parts):
            out |= drawn_under(f"part{i}", part.hyper, sizes)
        return out

    def check(self, times: np.ndarray) -> None:
        """Ask each part."""
        for part in self.parts:
            part.check(times)

    def correlation(self, hyper: Hyper, times: Times) -> Matrix:
        """Weighted sum of the parts."""
        shares = self.value(hyper, "shares")
        each = [p.correlation(within(f"part{i}", hyper), times) for i, p in enumerate(self.parts)]
        return jnp.tensordot(shares, jnp.stack(each), 1)

    def steps(self, hyper: Hyper, times: Times) -> Steps:
        """States of all parts; InputError unless all are Markov."""
        shares = self.value(hyper, "shares")
        each = [p.steps(within(f"part{i}", hyper), times) for i, p in enumerate(self.parts)]
        return state_space.side_by_side(
            tuple(state_space.scaled_block(one, shares[i]) for i, one in enumerate(each))
        )


def _check_times(times: np.ndarray) -> None:
    """Refuse what is no row of times."""
    if times.ndim != 1 or not times.size or times.dtype.kind not in "fiu":
        raise InputError(
            f"times must be a row of numbers (s), got the shape {times.shape} and {times.dtype}."
        )
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise InputError(
            "times must be finite and ascending (s), none twice: sort them, and keep trials apart."
        )


def _check_shares(shares: Any, n: int) -> None:
    """Refuse what are no n shares of 1."""
    law = getattr(shares, "law", None)
    remedy = f"Give {n} positive numbers that add to 1, or a Dirichlet distribution of {n}."
    if law is not None:
        if law.event_shape != (n,) or law.support is not dist.constraints.simplex:
            raise InputError(
                f"the shares of time.Sum are on the simplex of {n} parts, "
                f"{type(law).__name__} is on {law.support} with {law.event_shape}. {remedy}"
            )
        return
    if is_traced(shares):
        return
    if getattr(shares, "shape", None) != (n,):
        raise InputError(f"time.Sum has {n} parts and the shares {shares!r:.60}. {remedy}")
    found = np.asarray(shares)
    if not (found > 0).all() or abs(found.sum() - 1.0) > 1e-6:
        raise InputError(f"the shares of time.Sum are {found}, sum {found.sum():g}. {remedy}")
