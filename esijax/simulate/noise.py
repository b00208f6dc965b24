r"""Sensor noise: white, with a given covariance, out of a recording, or the brain's background.

Each is scaled so that its whitened power is 1 on average, :math:`E \operatorname{mean} (W N)^2 = 1`
with W the whitener of the problem: the 0 dB of the signal-to-noise ratio.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.safe import divisor
from esijax._types import InputError, Scalar, is_traced
from esijax.models.time import Time
from esijax.problem import Problem
from esijax.simulate._ranges import as_range
from esijax.simulate.head import Head
from esijax.simulate.snr import whitened_power

Recording = Float[Array, "channels times"]


def pink_noise(
    key: PRNGKeyArray, shape: tuple[int, ...], sfreq: float, corner: Any = 1.0
) -> Float[Array, "..."]:
    r"""Unit-variance Gaussian noise whose power falls as 1/f above a corner frequency.

    .. math:: S(f) \propto 1 / \max(f, f_c)

    Parameters
    ----------
    key : PRNG key
        Of the random numbers.
    shape : tuple of int
        The last axis is time.
    sfreq : float
        Hz.
    corner : float
        :math:`f_c`, Hz; the spectrum is flat below.

    Returns
    -------
    noise : shape

    Examples
    --------
    >>> import jax, esijax as ej
    >>> ej.simulate.pink_noise(jax.random.key(0), (4, 100), sfreq=100.0).shape
    (4, 100)
    """
    n = shape[-1]
    frequency = jnp.fft.rfftfreq(n, 1 / sfreq)
    gain = jnp.maximum(frequency, corner) ** -0.5
    weight = jnp.full(frequency.shape, 2.0).at[0].set(1.0)
    weight = weight.at[-1].set(1.0) if n % 2 == 0 else weight
    gain = gain / jnp.sqrt(jnp.sum(weight * gain**2) / n)
    white = jnp.fft.rfft(jax.random.normal(key, shape), axis=-1)
    return jnp.fft.irfft(white * gain, n=n, axis=-1)


class Noise(eqx.Module):
    """What draws sensor noise; implement `draw`."""

    @abc.abstractmethod
    def draw(self, key: PRNGKeyArray, problem: Problem, n_times: int) -> Recording:
        """Draw noise of unit whitened power, (channels, times), V and T."""


class FromCov(Noise):
    r"""Gaussian noise with the very covariance that the problem was whitened with.

    .. math:: N = W^+ E, \qquad E \sim N(0, I)

    Independent in time, as most inverses assume, or with a covariance in time,
    :math:`E \sim MN(0, I, T)`. On the range of the covariance only.

    Parameters
    ----------
    time : Time, optional
        Of `ej.models.time`, its parameters known: ``time.Autoregressive.of([0.6])``.

    Raises
    ------
    InputError
        For a covariance in time with parameters that are not known.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> problem = ej.from_arrays(np.eye(3), np.ones((3, 4)), noise_cov=0.01)
    >>> ej.simulate.FromCov().draw(jax.random.key(0), problem, 100).shape
    (3, 100)
    """

    time: Time | None = None

    def __check_init__(self):
        if self.time is not None and self.time.learned:
            raise InputError(
                f"{type(self.time).__name__} has parameters that are not known: give numbers, e.g. "
                "time.Autoregressive.of([0.6])."
            )

    def draw(self, key: PRNGKeyArray, problem: Problem, n_times: int) -> Recording:
        """Draw noise of unit whitened power."""
        if self.time is None:
            white = jax.random.normal(key, (problem.rank, n_times))
        else:
            times = np.arange(n_times) / problem.labels.sfreq
            white = self.time.cov({}, times).draw(key, problem.rank)
        return problem.whitener.colorer @ white


class White(Noise):
    """Gaussian noise, independent over channels and times.

    Parameters
    ----------
    std : (channels,), optional
        Relative standard deviations; by default those of the problem's noise covariance,
        averaged (mean square) over the channels of a kind: T and V stay apart.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> problem = ej.from_arrays(np.eye(3), np.ones((3, 4)), noise_cov=[0.01, 0.02, 0.03])
    >>> ej.simulate.White().draw(jax.random.key(0), problem, 100).shape
    (3, 100)
    """

    std: Float[Array, " channels"] | None = None

    def __check_init__(self):
        if self.std is not None and not is_traced(self.std) and not bool((self.std >= 0).all()):
            raise InputError("standard deviations must be finite and not negative.")

    def draw(self, key: PRNGKeyArray, problem: Problem, n_times: int) -> Recording:
        """Draw noise of unit whitened power."""
        matrix, std = problem.whitener.matrix, self.std
        if std is None:
            kinds = np.array(problem.labels.ch_types)
            same = kinds[:, None] == kinds
            std = jnp.sqrt((same / same.sum(axis=1)) @ jnp.sum(problem.whitener.colorer**2, axis=1))
        power = jnp.sum((matrix * std) ** 2) / len(matrix)
        return std[:, None] * jax.random.normal(key, (len(std), n_times)) / jnp.sqrt(power)


class FromRecording(Noise):
    """Segments of a recording without the signal, each beginning at a random sample.

    Scaled by the whitened power of the whole recording, so that single trials serve for an
    average as well; segments differ in power, as they do in life.

    Parameters
    ----------
    baseline : (channels, samples)
        V and T, at the sampling frequency of the problem, its channels in its order. Remove slow
        drifts before.

    Raises
    ------
    InputError
        If it is not finite; when drawn, if it is too short or has other channels.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> problem = ej.from_arrays(np.eye(3), np.ones((3, 4)), noise_cov=0.01)
    >>> noise = ej.simulate.FromRecording(np.random.default_rng(0).standard_normal((3, 1000)))
    >>> noise.draw(jax.random.key(0), problem, 100).shape
    (3, 100)
    """

    baseline: Float[Array, "channels samples"] = eqx.field(
        converter=lambda x: jnp.asarray(x, dtype=float)
    )

    def __check_init__(self):
        if not is_traced(self.baseline) and not bool(jnp.isfinite(self.baseline).all()):
            raise InputError("the baseline holds NaN or Inf.")

    def draw(self, key: PRNGKeyArray, problem: Problem, n_times: int) -> Recording:
        """Draw noise of unit whitened power."""
        channels, samples = self.baseline.shape
        if channels != problem.whitener.matrix.shape[1]:
            raise InputError(
                f"the baseline has {channels} channels, the problem "
                f"{problem.whitener.matrix.shape[1]}: pick the channels of the problem."
            )
        if samples < n_times:
            raise InputError(
                f"the baseline has {samples} samples, {n_times} are needed: give a longer one."
            )
        scale = jnp.sqrt(whitened_power(problem, self.baseline))
        start = jax.random.randint(key, (), 0, samples - n_times + 1)
        return jax.lax.dynamic_slice_in_dim(self.baseline, start, n_times, axis=1) / scale


class BrainBackground(Noise):
    r"""1/f activity at every location and orientation of a head, plus sensor noise.

    .. math:: N = \sqrt{\beta}\, (L L^\top)^{1/2} P + \sqrt{1 - \beta}\, N_s

    with P pink noise in each row. Independent pink sources everywhere give sensors this
    distribution exactly, at the price of the sensors alone. Make it by `BrainBackground.of`.

    Parameters
    ----------
    root : (channels, channels)
        A root of :math:`L L^\top`.
    share : float
        :math:`\beta`, the part of the whitened noise power that comes from the brain, 0 to 1.
    corner : float
        Hz; the spectrum is flat below, falls as 1/f above.
    sensor : Noise
        The rest; `White` by default.
    """

    root: Float[Array, "channels channels"]
    share: Scalar
    corner: Scalar
    sensor: Noise

    @classmethod
    def of(
        cls, head: Head, share: Any = 0.8, corner: Any = 1.0, sensor: Noise | None = None
    ) -> "BrainBackground":
        """Make the background of a head.

        Parameters
        ----------
        head : Head
            Usually the one that makes the signal.
        share, corner, sensor
            See the class.

        Returns
        -------
        noise : BrainBackground

        Raises
        ------
        InputError
            If `share` is not in 0..1 or `corner` not positive.

        Examples
        --------
        >>> import esijax as ej
        >>> noise = ej.simulate.BrainBackground.of(head, share=0.9)  # doctest: +SKIP
        """
        share = as_range(share, "share")[0]
        if not is_traced(share) and share > 1:
            raise InputError(f"share must lie in 0..1, got {float(share):g}.")
        corner = as_range(corner, "corner (Hz)", open_end=True)[0]
        flat = head.gain.reshape(len(head.gain), -1)
        # channels differ in unit (V, T): the root is taken of the correlations
        size = jnp.sqrt(jnp.sum(flat**2, axis=1, keepdims=True))
        size = divisor(size)
        values, vectors = jnp.linalg.eigh((flat / size) @ (flat / size).T)
        root = size * vectors * jnp.sqrt(jnp.maximum(values, 0.0))
        return cls(root, share, corner, White() if sensor is None else sensor)

    def draw(self, key: PRNGKeyArray, problem: Problem, n_times: int) -> Recording:
        """Draw noise of unit whitened power."""
        inside, outside = jax.random.split(key)
        matrix = problem.whitener.matrix
        power = jnp.sum((matrix @ self.root) ** 2) / len(matrix)
        shape = (self.root.shape[1], n_times)
        pink = pink_noise(inside, shape, problem.labels.sfreq, self.corner)
        brain = self.root @ pink / jnp.sqrt(power)
        rest = self.sensor.draw(outside, problem, n_times)
        return jnp.sqrt(self.share) * brain + jnp.sqrt(1.0 - self.share) * rest
