"""Time courses that go on: oscillations, autoregressive processes, microstate-like sequences."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy.linalg import solve_discrete_lyapunov

from esijax._types import InputError, Scalar
from esijax.simulate._ranges import Range, as_range, draw_from, positive_count
from esijax.simulate.waveforms import (
    AMPLITUDE,
    Waveform,
    Waves,
    as_correlation,
)

TURN = (0.0, 2 * np.pi)


class Oscillation(Waveform):
    r"""Sinusoids of one frequency, each source behind the one before it by a phase.

    .. math:: w_i(t) = a_i \cos(2 \pi f t + \phi - i\,\delta), \qquad \phi \sim U(0, 2 \pi)

    The correlation of neighbours is :math:`\cos\delta`: 0 at a lag of :math:`\pi / 2`.

    Parameters
    ----------
    frequency : float | (float, float)
        f, Hz, one for all sources.
    phase_lag : float | (float, float)
        :math:`\delta`, radians.
    amplitude : float | (float, float)
        :math:`a_i`, A m.

    Raises
    ------
    InputError
        For values that make no sense.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> alpha = ej.simulate.Oscillation(10.0, phase_lag=np.pi / 2)
    >>> alpha.draw(jax.random.key(0), 2, np.arange(100) / 250).shape
    (2, 100)
    """

    frequency: Range
    phase_lag: Range
    amplitude: Range

    def __init__(
        self, frequency: Any = (8.0, 12.0), phase_lag: Any = 0.0, amplitude: Any = AMPLITUDE
    ):
        self.frequency = as_range(frequency, "frequency (Hz)")
        self.phase_lag = as_range(phase_lag, "phase_lag (radians)", least=-np.inf)
        self.amplitude = as_range(amplitude, "amplitude (A m)")

    def draw(self, key: PRNGKeyArray, n: int, times: Any) -> Waves:
        """Waves of `n` sources."""
        spans = (jnp.asarray(TURN), self.phase_lag, self.frequency, self.amplitude)
        start, lag, frequency, amplitude = draw_from(key, *spans, shape=(n,))
        lag = jnp.cumsum(lag.at[0].set(0.0))
        angle = 2 * jnp.pi * frequency[0] * jnp.asarray(times) + start[0]
        return amplitude[:, None] * jnp.cos(angle - lag[:, None])


class Autoregressive(Waveform):
    r"""A stationary autoregressive process with stated poles, one realisation per source.

    .. math:: x_t = \sum_{k=1}^{p} a_k x_{t-k} + e_t, \qquad
              1 - \sum_k a_k z^{-k} = \prod_j (1 - z_j z^{-1})

    It starts in its stationary distribution. A pole at :math:`r e^{2 \pi i f / f_s}` makes a
    rhythm of f Hz that is the sharper the closer r comes to 1.

    Parameters
    ----------
    poles : sequence of complex
        :math:`z_j`, inside the unit circle, none below the real axis: the conjugate of each
        complex pole is added.
    amplitude : float | (float, float)
        Standard deviation of a wave, A m.
    correlation : float, optional
        Between each pair of sources, 0 to 1, in expectation: a common process of that share of
        the variance.

    Raises
    ------
    InputError
        For poles on or outside the unit circle.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> pole = 0.95 * np.exp(2j * np.pi * 10 / 250)  # 10 Hz at 250 Hz
    >>> alpha = ej.simulate.Autoregressive([pole])
    >>> alpha.draw(jax.random.key(0), 2, np.arange(100) / 250).shape
    (2, 100)
    """

    coefficients: Float[Array, " order"]
    root: Float[Array, "order order"]  # of the covariance of p samples, unit variance
    innovation: Scalar
    amplitude: Range
    correlation: Scalar | None

    def __init__(self, poles: Any, amplitude: Any = AMPLITUDE, correlation: Any = None):
        poles = np.atleast_1d(np.asarray(poles, dtype=complex))
        if poles.ndim != 1 or poles.size == 0 or not (np.abs(poles) < 1).all():
            raise InputError(f"poles must lie inside the unit circle, got {poles}.")
        if (poles.imag < 0).any():
            raise InputError("give each complex pole once, with a positive imaginary part.")
        above = poles[poles.imag > 0]
        both = np.concatenate([poles[poles.imag == 0], above, above.conj()])
        coefficients = -np.poly(both).real[1:]
        companion = np.eye(len(both), k=-1)
        companion[0] = coefficients
        drive = np.zeros_like(companion)
        drive[0, 0] = 1.0
        cov = solve_discrete_lyapunov(companion, drive)
        values, vectors = np.linalg.eigh(cov / cov[0, 0])
        self.coefficients = jnp.asarray(coefficients)
        self.root = jnp.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
        self.innovation = jnp.asarray(cov[0, 0] ** -0.5)
        self.amplitude = as_range(amplitude, "amplitude (A m)")
        self.correlation = as_correlation(correlation)

    def draw(self, key: PRNGKeyArray, n: int, times: Any) -> Waves:
        """Waves of `n` sources."""
        first, noise, size = jax.random.split(key, 3)
        series = n if self.correlation is None else n + 1
        state = jax.random.normal(first, (series, len(self.coefficients))) @ self.root.T
        drive = self.innovation * jax.random.normal(noise, (len(times), series))

        def step(state, e):
            x = state @ self.coefficients + e
            return jnp.concatenate([x[:, None], state[:, :-1]], axis=1), x

        waves = jax.lax.scan(step, state, drive)[1].T
        if self.correlation is not None:
            own, common = jnp.sqrt(1.0 - self.correlation), jnp.sqrt(self.correlation)
            waves = own * waves[:n] + common * waves[n:]
        (amplitude,) = draw_from(size, self.amplitude, shape=(n,))
        return amplitude[:, None] * waves


class Microstates(Waveform):
    r"""A sequence of states: the sources of one state are active, hold, then others take over.

    Source i belongs to state :math:`i \bmod n`. A state holds for a time drawn uniformly from a
    range and is followed by any other with equal probability; the active sources carry a
    sinusoid, all others are exactly zero.

    Parameters
    ----------
    n_states : int
        At least 2, at most the number of sources.
    duration : float | (float, float)
        s that a state holds; 60 to 120 ms in EEG (Michel and Koenig 2018,
        doi:10.1016/j.neuroimage.2017.11.062).
    frequency : float | (float, float)
        Hz of the carrier, one for all; 0 holds a constant.
    amplitude : float | (float, float)
        Of the carrier, A m.

    Raises
    ------
    InputError
        For values that make no sense; when drawn, for fewer sources than states.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> states = ej.simulate.Microstates(4, frequency=0.0)
    >>> waves = states.draw(jax.random.key(0), 4, np.arange(100) / 250)
    >>> bool(((waves != 0).sum(axis=0) == 1).all())
    True
    """

    n_states: int = eqx.field(static=True)
    duration: Range
    frequency: Range
    amplitude: Range

    def __init__(
        self,
        n_states: Any = 4,
        duration: Any = (0.06, 0.12),
        frequency: Any = 10.0,
        amplitude: Any = AMPLITUDE,
    ):
        self.n_states = positive_count(n_states, "n_states")
        if self.n_states < 2:
            raise InputError("a sequence needs at least 2 states, got 1.")
        self.duration = as_range(duration, "duration (s)", open_end=True)
        self.frequency = as_range(frequency, "frequency (Hz)")
        self.amplitude = as_range(amplitude, "amplitude (A m)")

    def states(self, key: PRNGKeyArray, times: Any) -> Int[Array, " times"]:
        """Which state is active at each sample."""
        first, rest = jax.random.split(key)
        times = jnp.asarray(times, dtype=float)
        # what happens if a state ends at this sample: how many states on, and for how long
        steps = jnp.asarray([1.0, float(self.n_states)])
        onward, hold = draw_from(rest, steps, self.duration, shape=(len(times),))

        def step(carry, now):
            state, until = carry
            time, onward, hold = now
            over = time >= until
            state = jnp.where(over, (state + onward) % self.n_states, state)
            return (state, jnp.where(over, until + hold, until)), state

        # a state that ends at the first sample, each with the same probability
        start = jax.random.randint(first, (), 0, self.n_states)
        now = (times, jnp.floor(onward).astype(start.dtype), hold)
        return jax.lax.scan(step, (start, times[0]), now)[1]

    def draw(self, key: PRNGKeyArray, n: int, times: Any) -> Waves:
        """Waves of `n` sources."""
        if n < self.n_states:
            raise InputError(f"{self.n_states} states need as many sources or more, got {n}.")
        sequence, carrier = jax.random.split(key)
        active: Bool[Array, "sources times"] = jnp.arange(n)[
            :, None
        ] % self.n_states == self.states(sequence, times)
        spans = (jnp.asarray(TURN), self.frequency, self.amplitude)
        start, frequency, amplitude = draw_from(carrier, *spans, shape=(n, 1))
        start = start * (frequency[0] > 0)
        wave = jnp.cos(2 * jnp.pi * frequency[0] * jnp.asarray(times) + start)
        return amplitude * wave * active
