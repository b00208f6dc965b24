r"""Waves that several sources share, learned from the data: :math:`X = W \Phi`."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._types import InputError
from esijax.models.noise import Noise
from esijax.models.noise.per_type import learned_level
from esijax.models.time import Time
from esijax.problem import Problem


class Waves(eqx.Module):
    r"""A few courses that all sources are mixtures of, with a covariance in time.

    .. math::
       X = W \Phi, \qquad w_k \sim N(0,\, R(\gamma)), \qquad \varphi_k \sim N(0,\, T(\theta)),
       \qquad k = 1, \dots, K

    The basis of `ej.models.TemporalBasis` where nobody gives one. R is that of the prior in space
    (any `LinearPrior`), the same for all waves, T has ones on its diagonal. Both factors are
    unknown, up to a rotation of the waves; `ej.inference.VB` computes them. It helps where
    sources share courses (two waves in five patches); where each has a course of its own it does
    what `ej.models.Kronecker` does.

    Parameters
    ----------
    k : int
        K, the number of waves; `ej.inference.select.by_bound` compares several.
    time : Time
        Of `ej.models.time`, e.g. `SquaredExponential` for evoked responses.
    times : (times,), optional
        Set by `prepare`: when the samples are, s.

    Raises
    ------
    InputError
        For k below 1, for something else than a covariance in time; once the data are known for
        k that is not below the number of samples, or above the rank of the data.

    Notes
    -----
    Where `ej.solve` is given no noise it is learned: a factor for each sensor type, one for all
    where types are unknown. ``noise=White()`` is the noise covariance as given. Samples of the
    noise are independent: noise that is not is stated with ``noise_time``.

    References
    ----------
    Liu et al. 2019, doi:10.1109/TBME.2018.2890291 (a source matrix factorised, both factors
    learned by variational Bayes; BESTIES is of the same authors).

    Examples
    --------
    >>> import esijax as ej
    >>> waves = ej.models.Waves(2, ej.models.time.SquaredExponential(0.02))
    >>> model = ej.models.TemporalBasis(ej.models.ARD(), waves, rest=None)
    """

    k: int = eqx.field(static=True)
    time: Time
    times: Float[Array, " times"] | None = None

    def __init__(self, k: Any, time: Any, times: Any = None):
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"Waves: k is a whole number of waves from 1 on, got {k!r}.")
        if not isinstance(time, Time):
            raise InputError(
                f"Waves takes a covariance of esijax.models.time, got {type(time).__name__}: e.g. "
                "time.SquaredExponential()."
            )
        self.k, self.time, self.times = int(k), time, times

    def prepare(self, problem: Problem) -> "Waves":
        """Hold the number against the data, and note the times."""
        if self.times is not None:
            return self
        self.time.check(problem.times)
        if self.k >= problem.n_times:
            raise InputError(
                f"{self.k} waves and {problem.n_times} samples: waves must be fewer than samples."
            )
        if self.k > problem.rank:
            raise InputError(
                f"{self.k} waves and data of rank {problem.rank}: there are no more than that."
            )
        if problem.data.ndim > 2:
            raise InputError(
                "Waves are courses of one recording, and these are several trials: average them, "
                "or map over them with jax.vmap."
            )
        return Waves(self.k, self.time, jnp.asarray(problem.times, float))

    def default_noise(self, problem: Problem) -> Noise:
        """Noise that is learned where none was given: a factor for each sensor type."""
        return learned_level(problem)

    @property
    def name(self) -> str:
        """As estimates carry it."""
        return f"{self.k} waves, {type(self.time).__name__}"
