"""Time courses of sources: what all share, evoked responses, spikes, the user's own."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.gaussian import symmetric_power
from esijax._ops.safe import divisor
from esijax._types import InputError, Scalar, is_number, is_traced
from esijax.simulate._ranges import Range, as_range, draw_from, positive_count

AMPLITUDE = 20e-9  # A m: a few square centimetres of active cortex

Waves = Float[Array, "sources times"]


def erp(times, latency: float = 0.1, width: float = 0.05, frequency: float = 8.0) -> np.ndarray:
    r"""Evoked-response-like wave: a Gabor atom.

    .. math:: w(t) = \exp\left(-\tfrac12 \left(\tfrac{t - t_0}{\sigma}\right)^2\right)
                     \cos(2 \pi f (t - t_0))

    Parameters
    ----------
    times : (times,)
        s.
    latency, width : float
        :math:`t_0` and :math:`\sigma`, s.
    frequency : float
        f, Hz.

    Returns
    -------
    wave : (times,)
        With value 1 at the latency.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> float(ej.simulate.erp(np.array([0.0, 0.1]), latency=0.1)[1])
    1.0
    """
    if not width > 0:
        raise InputError(f"the width of a wave must be positive, got {width} s.")
    t = np.asarray(times, dtype=float) - latency
    return np.exp(-0.5 * (t / width) ** 2) * np.cos(2 * np.pi * frequency * t)


class Waveform(eqx.Module):
    """What draws the time courses of sources; implement `draw`."""

    @abc.abstractmethod
    def draw(self, key: PRNGKeyArray, n: int, times: Any) -> Waves:
        """Draw waves for `n` sources at `times` (s, evenly spaced): (n, times), A m."""


def rate(times: Any) -> float:
    """Sampling frequency in Hz of evenly spaced times; 1 where there is one sample."""
    return 1.0 if len(times) < 2 else float(len(times) - 1) / float(times[-1] - times[0])


def as_correlation(value: Any) -> Scalar | None:
    """A correlation between 0 and 1, or None for waves that are drawn independently."""
    if value is None:
        return None
    if not is_traced(value) and not (is_number(value) and 0 <= value <= 1):
        raise InputError(f"the correlation between sources must lie in 0..1, got {value!r}.")
    return jnp.asarray(value, dtype=float)


def correlated(waves: Waves, correlation: Scalar | None) -> Waves:
    r"""Mix waves so that each pair has exactly the stated correlation (about zero).

    .. math:: W \leftarrow D\, C^{1/2} (U U^\top)^{-1/2} U, \qquad U = D^{-1} W, \quad
              C = (1 - \rho) I + \rho 1 1^\top

    with D the rms of each wave. Of all orthogonal waves :math:`(U U^\top)^{-1/2} U` are the
    nearest to the drawn ones. Parallel waves cannot be told apart: their part is lost.
    """
    n = len(waves)
    if correlation is None or n == 1:
        return waves
    rms = jnp.sqrt(jnp.mean(waves**2, axis=1, keepdims=True))
    unit = waves / divisor(rms)
    gram = unit @ unit.T / waves.shape[1]
    target = (1.0 - correlation) * jnp.eye(n) + correlation * jnp.ones((n, n))
    # the root of C in closed form: smooth, and well defined at correlation 1
    low, high = jnp.sqrt(1.0 - correlation), jnp.sqrt(1.0 + (n - 1) * correlation)
    root = low * jnp.eye(n) + (high - low) / n * jnp.ones_like(target)
    return rms * (root @ (symmetric_power(gram, -0.5) @ unit))


def to_peak(waves: Waves, amplitude: Float[Array, " sources"]) -> Waves:
    """Scale each wave so that its largest absolute value is `amplitude` (zero stays zero)."""
    peak = jnp.max(jnp.abs(waves), axis=1)
    return waves * (amplitude / divisor(peak))[:, None]


class Gabors(Waveform):
    r"""Evoked responses as sums of Gabor atoms with random latencies, widths and signs.

    .. math:: w(t) = \sum_{k=1}^{K} a_k \exp\left(-\tfrac12
              \left(\tfrac{t - t_k}{\sigma_k}\right)^2\right) \cos(2 \pi f_k (t - t_k)), \quad
              a_k \sim N(0, 1)

    Parameters
    ----------
    n_atoms : int
        K.
    latency : float | (float, float)
        :math:`t_k`, s; of a range each atom draws its own, uniformly. So for width, frequency.
    width : float | (float, float)
        :math:`\sigma_k`, s.
    frequency : float | (float, float)
        :math:`f_k`, Hz.
    amplitude : float | (float, float)
        Largest absolute value of a wave, A m.
    correlation : float, optional
        Between each pair of sources, 0 to 1, exactly (about zero, over the samples); None: as
        drawn.

    Raises
    ------
    InputError
        For values that make no sense.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> waves = ej.simulate.Gabors().draw(jax.random.key(0), 2, np.arange(100) / 250)
    >>> waves.shape, round(1e9 * float(abs(waves).max()), 6)
    ((2, 100), 20.0)
    """

    n_atoms: int = eqx.field(static=True)
    latency: Range
    width: Range
    frequency: Range
    amplitude: Range
    correlation: Scalar | None

    def __init__(
        self,
        n_atoms: Any = 3,
        latency: Any = (0.05, 0.3),
        width: Any = (0.01, 0.05),
        frequency: Any = (3.0, 12.0),
        amplitude: Any = AMPLITUDE,
        correlation: Any = None,
    ):
        self.n_atoms = positive_count(n_atoms, "n_atoms")
        self.latency = as_range(latency, "latency (s)", least=-np.inf)
        self.width = as_range(width, "width (s)", open_end=True)
        self.frequency = as_range(frequency, "frequency (Hz)")
        self.amplitude = as_range(amplitude, "amplitude (A m)")
        self.correlation = as_correlation(correlation)

    def draw(self, key: PRNGKeyArray, n: int, times: Any) -> Waves:
        """Waves of `n` sources."""
        how, much = jax.random.split(key)
        spans = (self.latency, self.width, self.frequency, self.amplitude)
        shape = (n, self.n_atoms, 1)
        latency, width, frequency, amplitude = draw_from(how, *spans, shape=shape)
        t = jnp.asarray(times) - latency
        atoms = jnp.exp(-0.5 * (t / width) ** 2) * jnp.cos(2 * jnp.pi * frequency * t)
        waves = jnp.sum(jax.random.normal(much, shape) * atoms, axis=1)
        return to_peak(correlated(waves, self.correlation), amplitude[:, 0, 0])


class HannNoise(Waveform):
    """Evoked responses as band-limited Gaussian noise within a Hann window.

    Each source draws its own noise; the window goes to zero at both ends.

    Parameters
    ----------
    band : (float, float)
        Hz; frequencies outside have no power (before the window is applied).
    window : (float, float)
        Begin and end of the response, s.
    amplitude : float | (float, float)
        Largest absolute value of a wave, A m.
    correlation : float, optional
        As in `Gabors`.

    Raises
    ------
    InputError
        For values that make no sense; when drawn, if no frequency of the record is in the band.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> wave = ej.simulate.HannNoise(window=(0.1, 0.3)).draw(
    ...     jax.random.key(0), 1, np.arange(100) / 250
    ... )
    >>> bool((wave[0, :25] == 0).all())
    True
    """

    band: Range
    window: Range
    amplitude: Range
    correlation: Scalar | None

    def __init__(
        self,
        band: Any = (1.0, 20.0),
        window: Any = (0.05, 0.3),
        amplitude: Any = AMPLITUDE,
        correlation: Any = None,
    ):
        self.band = as_range(band, "band (Hz)")
        self.window = as_range(window, "window (s)", least=-np.inf)
        if not is_traced(self.window) and not float(self.window[0]) < float(self.window[1]):
            raise InputError(f"window must be (begin, end) in s, got {window!r}.")
        self.amplitude = as_range(amplitude, "amplitude (A m)")
        self.correlation = as_correlation(correlation)

    def draw(self, key: PRNGKeyArray, n: int, times: Any) -> Waves:
        """Waves of `n` sources."""
        noise, size = jax.random.split(key)
        frequency = jnp.fft.rfftfreq(len(times), 1 / rate(times))
        keep = (frequency >= self.band[0]) & (frequency <= self.band[1])
        if not is_traced(keep) and not bool(keep.any()):
            raise InputError(
                f"the record's frequencies are {frequency[1]:g} Hz apart: none lies in the band."
            )
        spectrum = jnp.fft.rfft(jax.random.normal(noise, (n, len(times))), axis=1)
        waves = jnp.fft.irfft(spectrum * keep, n=len(times), axis=1)
        begin, end = self.window
        phase = jnp.clip((jnp.asarray(times) - begin) / (end - begin), 0.0, 1.0)
        waves = waves * jnp.sin(jnp.pi * phase) ** 2
        # sin(pi) is 1e-16 and not 0
        waves = jnp.where((phase > 0) & (phase < 1), waves, 0.0)
        (amplitude,) = draw_from(size, self.amplitude, shape=(n,))
        return to_peak(correlated(waves, self.correlation), amplitude)


class Spikes(Waveform):
    r"""Epileptic spikes: a sharp wave and the slow wave after it, at random times.

    .. math:: w(t) = \sum_k \exp\left(-\tfrac12 \left(\tfrac{t - t_k}{\sigma}\right)^2\right)
              - 0.4 \exp\left(-\tfrac12 \left(\tfrac{t - t_k - 10\sigma}{5 \sigma}\right)^2\right)

    The spike of source i follows that of source i - 1 by a delay: propagation.

    Parameters
    ----------
    n_spikes : int
        Spikes in the record, at times drawn uniformly.
    width : float | (float, float)
        :math:`\sigma`, s. The spike lasts about :math:`4 \sigma`: 20 to 70 ms (Kane et al. 2017,
        doi:10.1016/j.cnp.2017.07.002).
    delay : float | (float, float)
        s from each source to the next.
    amplitude : float | (float, float)
        Largest absolute value of a wave, A m.

    Raises
    ------
    InputError
        For values that make no sense.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> spikes = ej.simulate.Spikes(delay=0.02)
    >>> spikes.draw(jax.random.key(0), 2, np.arange(500) / 250).shape
    (2, 500)
    """

    n_spikes: int = eqx.field(static=True)
    width: Range
    delay: Range
    amplitude: Range

    def __init__(
        self,
        n_spikes: Any = 1,
        width: Any = (0.008, 0.016),
        delay: Any = 0.0,
        amplitude: Any = AMPLITUDE,
    ):
        self.n_spikes = positive_count(n_spikes, "n_spikes")
        self.width = as_range(width, "width (s)", open_end=True)
        self.delay = as_range(delay, "delay (s)")
        self.amplitude = as_range(amplitude, "amplitude (A m)")

    def draw(self, key: PRNGKeyArray, n: int, times: Any) -> Waves:
        """Waves of `n` sources."""
        when, how = jax.random.split(key)
        times = jnp.asarray(times)
        (first,) = draw_from(when, jnp.stack([times[0], times[-1]]), shape=(self.n_spikes,))
        width, delay, amplitude = draw_from(how, self.width, self.delay, self.amplitude, shape=(n,))
        late, width = jnp.cumsum(delay.at[0].set(0.0)), width[0]
        t = (times - first[:, None] - late[:, None, None]) / width
        shape = jnp.exp(-0.5 * t**2) - 0.4 * jnp.exp(-0.5 * ((t - 10.0) / 5.0) ** 2)
        return to_peak(jnp.sum(shape, axis=1), amplitude)


class Given(Waveform):
    """The user's own waves.

    Parameters
    ----------
    waves : (sources, times)
        A m.

    Raises
    ------
    InputError
        If it is no finite array; when drawn, if sources or times are others.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> times = np.arange(100) / 250
    >>> ej.simulate.Given(20e-9 * ej.simulate.erp(times)[None]).waves.shape
    (1, 100)
    """

    waves: Waves

    def __init__(self, waves: Any):
        if not is_traced(waves):
            waves = np.asarray(waves, dtype=float)
            if waves.ndim != 2 or not np.isfinite(waves).all():
                raise InputError("waves must be a finite array (sources, times) in A m.")
        self.waves = jnp.asarray(waves, dtype=float)

    def draw(self, key: PRNGKeyArray, n: int, times: Any) -> Waves:  # noqa: ARG002
        """Give the waves themselves."""
        if self.waves.shape != (n, len(times)):
            raise InputError(f"waves are {self.waves.shape}, {(n, len(times))} are needed.")
        return self.waves
