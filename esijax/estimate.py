"""The answer: a posterior over source maps, in the caller's units."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax import courses
from esijax._ops.explained import explained_share
from esijax._ops.memory import refuse_if_too_large
from esijax._ops.safe import divisor
from esijax._shown import ShownEstimate
from esijax._types import InputError, is_number, is_traced, prng_key
from esijax._where import flips, indices, pair, region_of
from esijax.at_samples import at_samples
from esijax.outcome import RESULT, Diagnostics
from esijax.posterior import (
    Posterior,
    drawn,
    fitted_data,
    scaled_cov,
    scaled_exceedance,
    scaled_kernel,
    scaled_mean,
    scaled_quantiles,
    scaled_variance,
)
from esijax.problem import Problem
from esijax.trust import Trust, trust_of


class Estimate(ShownEstimate):
    r"""Posterior over source maps.

    Parameters
    ----------
    problem : Problem
        What was solved.
    posterior : Posterior
        The distribution, in normalised units.
    norm : (locations,), optional
        Noise normalisation: what each location is divided by (dSPM, sLORETA); the map then has
        no unit.
    evidence : (), optional
        Log density of the data in their own units.
    hyper : dict
        Hyper-parameters, normalised units.
    result : RESULT
        How the inference ended.
    diagnostics : Diagnostics, optional
        What the method knows of its own quality.
    model, method : str
        What was assumed and how it was computed.
    notes : tuple of str
        What the reader of the map should know.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, gain[:, :3], noise_cov=0.1)
    >>> estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    >>> estimate.mean.shape, estimate.sample(0, 5).shape
    ((12, 1, 3), (5, 12, 1, 3))
    """

    problem: Problem
    posterior: Posterior
    norm: Float[Array, " locations"] | None = None
    evidence: Float[Array, ""] | None = None
    hyper: dict[str, Array] = eqx.field(default_factory=dict)
    result: RESULT = eqx.field(default_factory=lambda: RESULT.successful)
    diagnostics: Diagnostics | None = None
    model: str = eqx.field(static=True, default="")
    method: str = eqx.field(static=True, default="")
    notes: tuple[str, ...] = eqx.field(static=True, default=())

    # ------------------------------------------------------------------ moments
    @property
    def samples(self) -> Posterior:
        """The posterior at the samples (without unit: over their noise), not of the columns."""
        return at_samples(self.posterior, self.problem.noise_time, self.norm is not None)

    @property
    def scale(self) -> Float[Array, "..."]:
        """Caller's units per normalised unit: () or (locations, 1, 1)."""
        if self.norm is None:
            return self.problem.source_unit
        safe = divisor(self.norm)
        return jnp.where(self.norm > 0, 1.0 / safe, 0.0)[:, None, None]

    @property
    def unit(self) -> str:
        """Unit of the map."""
        return "A m" if self.norm is None else ""

    @property
    def n_orients(self) -> int:
        """Orients of the map: 1 or 3; a beamformer may have fewer than the problem."""
        return eqx.filter_eval_shape(lambda p: p.mean(), self.posterior).shape[-2]

    @property
    def mean(self) -> Float[Array, "*trials locations orients times"]:
        """Posterior mean, (..., locations, orients, times)."""
        self._refuse(1.0, "the mean")
        return scaled_mean(self.samples, self.scale)

    @property
    def kernel(self) -> Float[Array, "locations orients channels"]:
        """Linear map from data in the caller's units to the mean: streams, bootstraps, epochs.

        ``kernel.reshape(-1, n_channels) @ sample`` is the map of one sample.
        """
        return scaled_kernel(self.samples, self.problem.whitener.matrix, self.scale)

    @property
    def cov(self) -> Float[Array, "..."]:
        """Posterior covariance of each location, (locations, orients, orients).

        (..., locations, orients, orients, times) where hyper-parameters are uncertain, so that it
        follows the data, or where the noise changes with time.
        """
        if not self.samples.steady:
            self._refuse(float(self.n_orients), "the covariances")
        return scaled_cov(self.samples, self.scale)

    @property
    def std(self) -> Float[Array, "*trials locations orients some"] | None:
        """Posterior standard deviation, (locations, orients, 1) where it is the same at all times.

        (..., locations, orients, times) where hyper-parameters are uncertain, so that it follows
        the data, or where the noise changes with time. None for a point estimate.
        """
        if not self.posterior.spread:
            return None
        return jnp.sqrt(scaled_variance(self.samples, self.scale))

    @property
    def prob_active(self) -> None:
        """Probability that a location is active: a Gaussian prior has no such thing."""
        return None

    @property
    def log_evidence(self) -> Float[Array, ""] | None:
        """Log density of the data in their own units, or None."""
        return self.evidence

    # ------------------------------------------------------------------ questions
    def interval(self, level: Any = 0.9, at: Any = None):
        """Central credible interval of each component.

        Parameters
        ----------
        level : float
            Probability that it holds, in (0, 1).
        at : (locations, times), optional
            As of `sample`: a few locations are fast where hyper-parameters are uncertain.

        Returns
        -------
        lower, upper : (..., locations, orients, times)
        """
        tails = jnp.asarray(courses.tails_of(level))
        locations, times = self._at(at)
        self._refuse(2.0, "the interval", *(() if times is None else (len(times),)))
        lower, upper = scaled_quantiles(self.samples, self.scale, tails, locations, times)
        return lower, upper

    def exceedance(
        self, threshold: Any, along: str = "norm", at: Any = None
    ) -> Float[Array, "*trials some moments"]:
        """Posterior probability that the amplitude exceeds `threshold`.

        Parameters
        ----------
        threshold : float
            In the units of the map; not negative.
        along : "norm" | "mean"
            The norm over orients, or the component along the posterior mean. Where the
            posterior is wide the norm exceeds any small threshold, whatever the mean; the
            component does so only where the data speak for it.
        at : (locations, times), optional
            As of `sample`.

        Returns
        -------
        probability : (..., locations, times)
        """
        if not is_traced(threshold) and not (is_number(threshold) and threshold >= 0):
            raise InputError(f"threshold must be a number >= 0, got {threshold!r}.")
        if along not in ("norm", "mean"):
            raise InputError(f"along must be 'norm' or 'mean', got {along!r}.")
        level = jnp.asarray(threshold, dtype=float)
        locations, times = self._at(at)
        self._refuse(1.0, "the exceedance")
        return scaled_exceedance(self.samples, self.scale, level, along, locations, times)

    def sample(self, key: Any, n: int, at: Any = None):
        """Posterior draws by perturb-and-solve in sensor space.

        Parameters
        ----------
        key : PRNG key | int
            A whole number stands for `jax.random.key` of it.
        n : int
            Draws.
        at : (locations, times), optional
            Indices or slices to keep; ``(locations, None)`` keeps all times.

        Returns
        -------
        draws : (n, ..., locations, orients, times)
        """
        n, key = courses.n_draws(n), prng_key(key)
        locations, times = pair(at)
        locations = indices(locations, self.problem.n_locations, "locations")
        times = indices(times, self.problem.n_times, "times")
        self._refuse(n * len(locations) / self.problem.n_locations, f"{n} draws", len(times))
        draws = drawn(self.samples, key, n, jnp.asarray(locations), jnp.asarray(times))
        scale = self.scale if self.norm is None else self.scale[locations]
        return draws * scale

    def label(
        self,
        vertices: Any,
        level: Any = 0.9,
        mode: str = "mean_flip",
        orient: int = -1,
        window: Any = None,
    ) -> courses.Course | courses.WindowMean:
        """Average time course of a region with its credible band, or its mean over a window.

        Parameters
        ----------
        vertices : mne.Label | array of int
            The region: a label, or indices of locations.
        level : float
            Probability of the band.
        mode : "mean_flip" | "mean"
            Whether sources that point against the region's main direction change sign.
        orient : int
            Orient axis; the last is the surface normal.
        window : (tmin, tmax), optional
            s, both ends included: the mean over these samples, as they go together, instead.

        Returns
        -------
        course : Course | WindowMean

        Raises
        ------
        InputError
            For a region, and a window, that the problem does not have.
        """
        weights = self._region(vertices, mode, orient, "label")
        tails = jnp.asarray(courses.tails_of(level))
        asked = self.samples, weights, self.problem.times
        if window is None:
            return courses.course_of(*asked, level, tails)
        return courses.window_mean(*asked, window, level, tails)

    def latency(
        self,
        vertices: Any,
        window: Any,
        level: Any = 0.9,
        n: int = 2000,
        key: Any = 0,
        mode: str = "mean_flip",
        orient: int = -1,
    ) -> courses.Latency:
        """When the course of a region is farthest from zero: the posterior of that time.

        Parameters
        ----------
        vertices, level, mode, orient
            As of `label`.
        window : (tmin, tmax)
            Where the peak is looked for, s, both ends included.
        n : int
            Draws of the course; probabilities are their shares.
        key : PRNG key | int
            As of `sample`.

        Returns
        -------
        latency : Latency

        Raises
        ------
        InputError
            For a region or a window that is not of the problem, and a point estimate.
        """
        weights, tails = self._region(vertices, mode, orient, "latency"), courses.tails_of(level)
        if not self.posterior.spread:
            raise InputError(f"{self.method} gives a point estimate: {courses.NO_LATENCY}")
        asked = self.samples, weights, self.problem.times, window
        return courses.latency_of(*asked, courses.n_draws(n), prng_key(key), level, tails)

    def _region(
        self, vertices: Any, mode: str, orient: int, what: str
    ) -> Float[Array, "1 locations orients"]:
        """Weights of the sources in the average over a region."""
        if is_traced(self):
            raise InputError(f"{what} gives NumPy arrays: call it outside jit, vmap and grad.")
        index = region_of(vertices, self.problem)
        weights = np.zeros((self.problem.n_locations, self.n_orients))
        weights[index, orient] = flips(self.problem.geometry.normals, index, mode) / len(index)
        return (jnp.asarray(weights) * jnp.reshape(self.scale, (-1, 1)))[None]

    # ------------------------------------------------------------------ fit to the data
    @property
    def predicted(self) -> Float[Array, "*trials channels times"]:
        """Data that the mean predicts, in the caller's units."""
        fitted, known = self.fitted_samples, self.problem.noise_time
        if fitted is None:
            raise InputError(f"{self.method} does not model the data: it predicts none.")
        return self.problem.whitener.colorer @ (fitted if known is None else fitted * known.std)

    @property
    def residual(self) -> Float[Array, "*trials channels times"]:
        """Recording minus prediction, in the caller's units."""
        return self.problem.recording - self.predicted

    @property
    def explained_variance(self) -> Float[Array, ""] | None:
        """Share of the whitened data's power that the mean explains (1 minus residual power)."""
        return self._explained(None)

    @property
    def gof(self) -> Float[Array, "*trials times"] | None:
        """Goodness of fit at each time: explained share of the whitened power."""
        return self._explained(-2)

    def _explained(self, axis: int | None):
        fitted = self.fitted_samples
        if fitted is None:
            return None
        return explained_share(self.problem.samples, fitted, axis)

    @property
    def fitted_samples(self) -> Float[Array, "*trials rank times"] | None:
        """What the mean predicts of `problem.samples`; None of a method that predicts nothing."""
        return fitted_data(at_samples(self.posterior, self.problem.noise_time, noise_units=True))

    def verdict(self) -> dict[str, Any]:
        """What is known of the quality of the computation and of the fit."""
        if is_traced(self):
            raise InputError("verdict gives numbers: call it outside jit, vmap and grad.")
        return {
            "result": RESULT[self.result],
            "explained_variance": _float(self.explained_variance),
            "log_evidence": _float(self.evidence),
            "notes": self.notes,
            **({} if self.diagnostics is None else self.diagnostics.verdict()),
        }

    def trust(self) -> Trust:
        """Can this map be believed? A light, one sentence, and checks that say what to do.

        Raises
        ------
        InputError
            Under jit, vmap and grad.
        """
        return trust_of(self)

    # ------------------------------------------------------------------ helpers
    @property
    def is_mixture(self) -> bool:
        """Whether hyper-parameters are uncertain, so that the spread follows the data."""
        return self.posterior.mixture

    def _at(self, at: Any):
        """Indices of the chosen locations and times, None for all."""
        p, (locations, times) = self.problem, pair(at)
        return (
            None if locations is None else indices(locations, p.n_locations, "locations"),
            None if times is None else indices(times, p.n_times, "times"),
        )

    def _refuse(self, copies: float, what: str, n_times: int | None = None) -> None:
        p = self.problem
        n_times = p.n_times if n_times is None else n_times
        shape = (int(np.ceil(copies * p.n_locations)), p.n_orients, n_times, *p.data.shape[:-2])
        refuse_if_too_large(
            shape, p.gain.dtype.itemsize, what, "ask for fewer locations, times or draws (`at`)"
        )


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def combine_notes(*groups: Sequence[str]) -> tuple[str, ...]:
    """Join notes, each once, in order."""
    return tuple(dict.fromkeys(note for group in groups for note in group))
