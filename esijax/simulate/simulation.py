r"""Simulated data sets: pure functions of a key, one at a time or thousands at once.

.. math:: B = s\, L\, M\, W + N

with moments M of the sources, their waves W, noise N of unit whitened power and the factor s that
the stated signal-to-noise ratio asks for.
"""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._checks import warn
from esijax._types import InputError, is_traced, prng_key
from esijax.problem import Problem
from esijax.simulate._ranges import Range, as_range, draw_from
from esijax.simulate.head import Head
from esijax.simulate.noise import Noise
from esijax.simulate.snr import db_to_power, power_to_db, whitened_power
from esijax.simulate.sources import Sources
from esijax.simulate.truth import Truth
from esijax.simulate.waveforms import Waveform

DATA_SETS_AT_A_TIME = 50  # some tens of MB for 64 channels x 100 samples


class Draw(eqx.Module):
    """What differs between data sets that were simulated alike.

    Parameters
    ----------
    key : PRNG key
        What it was drawn with.
    recording : (channels, times)
        Simulated data, V and T.
    clean : (channels, times)
        The same without noise.
    truth : Truth
        The sources that were simulated.
    snr_db : ()
        dB of whitened power.
    """

    key: Any
    recording: Float[Array, "*sets channels times"]
    clean: Float[Array, "*sets channels times"]
    truth: Truth
    snr_db: Float[Array, "*sets"]


class Scenario(eqx.Module):
    """All that data sets of one kind share.

    Parameters
    ----------
    head : Head
        Makes the data.
    problem : Problem
        Inverts them: its noise covariance, channels, times and grid. Its own data are not used,
        only their number of samples.
    sources : Sources
        Where sources are.
    waveform : Waveform
        Their courses.
    noise : Noise
        The noise.
    snr_db : float | (float, float) | None
        dB of whitened power (`ej.simulate.snr_db`), or a range from which each data set draws its
        own. None: signal and noise stay as they are.
    scaled : "signal" | "noise"
        What is scaled to reach it. The signal, as long as the inverse is to know the noise
        covariance: noise stays at power 1. Or the noise: amplitudes stay in A m as the waveform
        has them, and the noise covariance of the problem is wrong by a factor, on purpose.

    Raises
    ------
    InputError
        If head and problem have other channels, the problem has trials, or a choice is unknown.
    """

    head: Head
    problem: Problem
    sources: Sources
    waveform: Waveform
    noise: Noise
    snr_db: Range | None
    scaled: Literal["signal", "noise"] = eqx.field(static=True)

    def __init__(
        self,
        head: Head,
        problem: Problem,
        sources: Sources,
        waveform: Waveform,
        noise: Noise,
        snr_db: Any = 10.0,
        scaled: Any = "signal",
    ):
        if scaled not in ("signal", "noise"):
            raise InputError(f"scaled must be 'signal' or 'noise', got {scaled!r}.")
        if problem.recording.ndim != 2:
            raise InputError(
                f"the problem has {len(problem.recording)} trials: give it data of one, "
                "problem.with_data(problem.recording[0])."
            )
        head.check(problem)
        sources.check(head)
        self.head, self.problem = head, problem
        self.sources, self.waveform, self.noise = sources, waveform, noise
        self.snr_db = None if snr_db is None else as_range(snr_db, "snr_db", least=-jnp.inf)
        self.scaled = scaled

    def draw(self, key: PRNGKeyArray) -> Draw:
        """Draw one data set."""
        where, when, heard, level = jax.random.split(key, 4)
        placement = self.sources.draw(where, self.head)
        wave = self.waveform.draw(when, self.sources.n, self.problem.times)
        clean = self.head.field(placement.index, placement.moment) @ wave
        noise = self.noise.draw(heard, self.problem, self.problem.n_times)
        power = whitened_power(self.problem, clean)
        snr_db = power_to_db(power)
        if self.snr_db is not None:
            (wanted,) = draw_from(level, self.snr_db)
            # without any signal nothing can be scaled, and the ratio is what it is
            factor = jnp.sqrt(jnp.where(power > 0, db_to_power(wanted) / power, 1.0))
            snr_db = jnp.where(power > 0, wanted, snr_db)
            if self.scaled == "signal":
                clean, wave = factor * clean, factor * wave
            else:
                noise = noise / factor
        truth = Truth.of(placement, wave, self.head)
        return Draw(key, clean + noise, clean, truth, snr_db)


class Simulation(eqx.Module):
    """Simulated data, the truth behind them and all that is needed to repeat them.

    One data set, or many with a leading axis in `draws` and what they share held once.
    ``simulation[i]`` is one of many.

    Parameters
    ----------
    scenario : Scenario
        What was asked for: head, problem, sources, waveform, noise, ratio.
    draws : Draw
        What came out.
    """

    scenario: Scenario
    draws: Draw

    @property
    def problem(self) -> Problem:
        """The problem with the simulated data, whitened; many data sets look like trials."""
        return self.scenario.problem.with_data(self.draws.recording)

    @property
    def truth(self) -> Truth:
        """The sources."""
        return self.draws.truth

    @property
    def snr_db(self) -> Float[Array, "*sets"]:
        """Signal-to-noise ratio, dB of whitened power."""
        return self.draws.snr_db

    @property
    def key(self) -> Any:
        """What it was drawn with: ``simulation.scenario.draw(key)`` gives it again."""
        return self.draws.key

    def __len__(self) -> int:
        if self.draws.recording.ndim == 2:
            raise InputError("this is a single data set: it has no length.")
        return len(self.draws.recording)

    def __getitem__(self, i: int) -> "Simulation":
        """Give one data set of many."""
        n = len(self)
        if not isinstance(i, int) or not -n <= i < n:
            raise IndexError(f"there are {n} data sets, {i!r} is none of them.")
        return Simulation(self.scenario, jax.tree.map(lambda x: x[i], self.draws))

    def map(self, function: Callable[["Simulation"], Any], batch_size: int | None = None) -> Any:
        """Apply a function to each of many data sets in one compiled program.

        Parameters
        ----------
        function : callable
            Of one `Simulation`, with arrays as its result: fit and score. It is compiled once
            per function object.
        batch_size : int, optional
            Data sets at a time; one after the other by default, which holds one map in memory.

        Returns
        -------
        results
            With a leading axis.

        Examples
        --------
        >>> def error(one):  # doctest: +SKIP
        ...     estimate = ej.solve(one.problem, ej.models.MinimumNorm(), ej.inference.Linear())
        ...     return abs(estimate.mean).sum()
        >>> many.map(error)  # doctest: +SKIP
        """
        len(self)
        return _mapped(function, self.scenario, self.draws, batch_size)


@eqx.filter_jit
def _mapped(function, scenario: Scenario, draws: Draw, batch_size: int | None):
    def one(draw):
        return function(Simulation(scenario, draw))

    return jax.lax.map(one, draws, batch_size=batch_size)


@eqx.filter_jit
def _draw_sets(scenario: Scenario, keys, batch_size: int | None) -> Draw:
    return jax.lax.map(scenario.draw, keys, batch_size=batch_size)


@eqx.filter_jit
def _drawn_once(scenario: Scenario, key) -> Draw:
    return scenario.draw(key)


def simulate(
    key: Any,
    head: Head,
    problem: Problem,
    sources: Sources,
    waveform: Waveform,
    noise: Noise,
    snr_db: Any = 10.0,
    *,
    scaled: Any = "signal",
) -> Simulation:
    r"""Simulate one data set, or one per key.

    .. math:: B = s\, L\, M\, W + N, \qquad
              10 \log_{10} \operatorname{mean} (s\, W_n L M W)^2 = \texttt{snr\_db}

    Parameters
    ----------
    key : PRNG key, a whole number that stands for one, or an array of keys
        With ``jax.random.split(key, 1000)`` the result holds 1000 data sets; each is the same as
        if it were drawn alone.
    head : Head
        Makes the data: better on another grid than the problem (`Head.of` is the inverse crime).
    problem : Problem
        Inverts them: its noise covariance, channels and times count, its data do not.
    sources : Sources
        `Dipoles`, `Patches`.
    waveform : Waveform
        `Gabors`, `HannNoise`, `Spikes`, `Oscillation`, `Autoregressive`, `Microstates`, `Given`.
    noise : Noise
        `FromCov`, `White`, `FromRecording`, `BrainBackground`.
    snr_db : float | (float, float) | None
        dB of whitened power, or a range; None leaves signal and noise as they are.
    scaled : "signal" | "noise"
        What is scaled to reach it; see `Scenario`.

    Returns
    -------
    simulation : Simulation
        With the simulated `problem`, the `truth` and what is needed to repeat it.

    Raises
    ------
    InputError
        If parts do not fit together.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain, where = rng.standard_normal((8, 50)), rng.uniform(-0.06, 0.06, (50, 3))
    >>> problem = ej.from_arrays(gain, np.ones((8, 20)), noise_cov=1.0, positions=where)
    >>> head = ej.simulate.Head.of(problem)
    >>> parts = ej.simulate.Dipoles(2), ej.simulate.Gabors(), ej.simulate.FromCov()
    >>> one = ej.simulate.simulate(jax.random.key(0), head, problem, *parts, snr_db=5.0)
    >>> round(float(ej.simulate.snr_db(problem, one.draws.clean)), 6)
    5.0
    """
    if isinstance(key, int | np.integer):
        key = prng_key(key)
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise InputError(f"key must be made by jax.random.key, got {type(key).__name__}.")
    scenario = Scenario(head, problem, sources, waveform, noise, snr_db, scaled)
    if jnp.ndim(key) > 1 or key.size == 0:
        raise InputError(f"key must be one key or an array of keys, got the shape {key.shape}.")
    single = jnp.ndim(key) == 0
    draws = (
        _drawn_once(scenario, key)
        if single
        else _draw_sets(scenario, key, min(DATA_SETS_AT_A_TIME, len(key)))
    )
    if not is_traced(draws.snr_db) and not bool(jnp.isfinite(draws.snr_db).all()):
        warn(
            "the sensors hear nothing of some sources: is the band of the waveform above the "
            "resolution of the record, its window within it, the head's lead field not zero?"
        )
    return Simulation(scenario, draws)
