"""Time courses that go on: oscillations, autoregressive processes, microstate-like sequences."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy.linalg import solve_discrete_lyapunov

from esijax._types import InputError, Scalar
from esijax.simulate._ranges import Range, as_range, check_count, draw_from
from esijax.simulate.waveforms import (
    AMPLITUDE,
    Waveform,
    Waves,
    as_correlation,
)


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
        keys = jax.random.split(key, 4)
        start = jax.random.uniform(keys[0], maxval=2 * jnp.pi)
        lag = jnp.cumsum(draw_from(keys[1], self.phase_lag, (n,)).at[0].set(0.0))
        angle = 2 * jnp.pi * draw_from(keys[2], self.frequency) * jnp.asarray(times)
        waves = jnp.cos(angle + start - lag[:, None])
        return draw_from(keys[3], self.amplitude, (n,))[:, None] * waves


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
        return draw_from(size, self.amplitude, (n,))[:, None] * waves


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
        self.n_states = check_count(n_states, "n_states")
        if self.n_states < 2:
            raise InputError("a sequence needs at least 2 states, got 1.")
        self.duration = as_range(duration, "duration (s)", open_end=True)
        self.frequency = as_range(frequency, "frequency (Hz)")
        self.amplitude = as_range(amplitude, "amplitude (A m)")

    def states(self, key: PRNGKeyArray, times: Any) -> Int[Array, " times"]:
        """Which state is active at each sample."""
        first, hold, rest = jax.random.split(key, 3)
        start = jax.random.randint(first, (), 0, self.n_states)

        def step(carry, now_and_key):
            state, until = carry
            now, key = now_and_key
            which, how_long = jax.random.split(key)
            other = (state + jax.random.randint(which, (), 1, self.n_states)) % self.n_states
            over = now >= until
            state = jnp.where(over, other, state)
            until = jnp.where(over, until + draw_from(how_long, self.duration), until)
            return (state, until), state

        times = jnp.asarray(times, dtype=float)
        carry = (start, times[0] + draw_from(hold, self.duration))
        return jax.lax.scan(step, carry, (times, jax.random.split(rest, len(times))))[1]

    def draw(self, key: PRNGKeyArray, n: int, times: Any) -> Waves:
        """Waves of `n` sources."""
        if n < self.n_states:
            raise InputError(f"{self.n_states} states need as many sources or more, got {n}.")
        sequence, phase, tone, size = jax.random.split(key, 4)
        active: Bool[Array, "sources times"] = jnp.arange(n)[
            :, None
        ] % self.n_states == self.states(sequence, times)
        frequency = draw_from(tone, self.frequency)
        start = jax.random.uniform(phase, (n, 1), maxval=2 * jnp.pi) * (frequency > 0)
        carrier = jnp.cos(2 * jnp.pi * frequency * jnp.asarray(times) + start)
        return draw_from(size, self.amplitude, (n,))[:, None] * carrier * active
