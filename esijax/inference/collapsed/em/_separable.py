"""Sources and noise with covariances in time: the same updates, in the modes of space and time."""

import equinox as eqx
import jax
import jax.numpy as jnp

from esijax._ops.safe import safe_sqrt
from esijax._ops.separable import Modes, Pair, modes
from esijax._types import Scalar, Square
from esijax.inference.collapsed.em._hyperprior import log_hyperprior
from esijax.inference.collapsed.em._mode_energies import ModeEnergies
from esijax.inference.collapsed.em._model import DataFit, EMModel, Evaluation
from esijax.inference.collapsed.em._sensor import (
    MatrixComponents,
    SensorComponents,
    Variances,
    sensor_components,
)
from esijax.inference.collapsed.em._times import TimeCovariances, TimeState
from esijax.models.marginals import LinearMarginal
from esijax.models.marginals.marginal import Hyper
from esijax.models.marginals.separable import SeparableMarginal
from esijax.models.noise import LinearNoise


class SeparableEMModel(EMModel):
    r"""Components with T, noise and remainder with T_n.

    .. math:: \Sigma = \sum_k \gamma_k A_k A_k^\top \otimes T
              + \Big( \sum_j v_j B_j B_j^\top + \gamma_0 G R_0 G^\top \Big) \otimes T_n

    Parameters
    ----------
    marginal : SeparableMarginal
    source : SensorComponents
    noise : tuple of SensorComponents
        Noise that is learned, remainder.
    times : TimeCovariances
    now : TimeState
        Both covariances in time.
    log_jacobian : ()
    white : bool
        Whether there is noise of unit variance that nothing learns.
    """

    source: SensorComponents
    noise: tuple[SensorComponents, ...]
    times: TimeCovariances
    now: TimeState
    log_jacobian: Scalar
    white: bool = eqx.field(static=True)

    @property
    def n_trials(self) -> int:
        """Recordings."""
        return len(self.times.data)

    @property
    def size(self) -> Variances:
        """Dimensions of all components; what is noise alone counts for the noise."""
        sizes = jnp.concatenate([self.source.size, *(own.size for own in self.noise)])
        if not self.noise:
            return sizes
        return sizes.at[self.n_sources].add(self.times.n_silent / self.n_trials)

    @property
    def operations(self) -> float:
        """Modes of space, and products with all factors."""
        rank, times = self.times.data.shape[1:]
        leaves = jax.tree.leaves((self.source, self.noise))
        columns = sum(leaf.size for leaf in leaves) / rank
        return 25.0 * rank**3 + 2 * rank * columns * (rank + times) + 20.0 * times**3

    def at_times(self, now: TimeState) -> "SeparableEMModel":
        """With both covariances in time at one value."""
        return eqx.tree_at(lambda m: m.now, self, now)

    def _level(self, theta: Variances) -> Scalar:
        """Variance of what is noise alone."""
        return theta[self.n_sources] if self.noise else jnp.ones(())

    @property
    def learns_time(self) -> bool:
        """Whether T or T_n has anything to learn."""
        return self.times.learned

    def time_hyper(self, now: TimeState) -> Hyper:
        """Hyper-parameters in time by name."""
        return self.times.hyper(now.free)

    def space(self, theta: Variances) -> Modes:
        """Modes of the sensors."""
        signal = self.source.cov(theta[: self.n_sources])
        noise = jnp.eye(len(signal), dtype=signal.dtype) * self.white
        at = self.n_sources
        for own in self.noise:
            noise = noise + own.cov(theta[at : at + len(own.size)])
            at += len(own.size)
        return modes(signal, noise)

    def fit(self, theta: Variances) -> DataFit:
        """Everything is diagonal in the modes."""
        now, space, n = self.now, self.space(theta), self.n_columns
        w, tau = Pair(space, now.modes).weights, now.modes.value
        z = space.inverse.T @ now.data
        u = z * w
        log_det = z.shape[2] * space.log_det + z.shape[1] * now.modes.log_det - jnp.sum(jnp.log(w))

        def seen(weights):
            """By components with these variances of the modes of time."""
            data = jnp.moveaxis(u * safe_sqrt(weights), 0, 1).reshape(len(w), -1)
            limit = self.n_trials * (w @ weights)
            return ModeEnergies(space, data / jnp.sqrt(n), None, limit / n)

        each = [self.source.energy(seen(tau))]
        if self.noise:
            of_noise = seen(jnp.ones_like(tau))
            each += [own.energy(of_noise) for own in self.noise]
        q, limit = (jnp.concatenate(x) for x in zip(*each, strict=True))
        spread = jnp.sum(z * u) + self.n_trials * (log_det + w.size * jnp.log(2 * jnp.pi))
        level, silent = self._level(theta), jnp.trace(now.silent)
        n_silent = self.times.n_silent * len(tau)
        spread += silent / level + n_silent * jnp.log(2 * jnp.pi * level)
        spread += self.times.n_silent * now.modes.log_det
        if self.noise:
            at = self.n_sources
            q = q.at[at].add(silent / level**2 / n)
            limit = limit.at[at].add(n_silent / level / n)
        return DataFit(self.log_jacobian + now.log_prior - 0.5 * spread, q, limit)

    def climb(self, point: Evaluation, now: TimeState) -> tuple[Evaluation, TimeState]:
        """One step of the hyper-parameters in time, taken back where the objective falls."""
        theta = jnp.exp(point.log)
        new = self.times.stepped(now, self.space(theta), self._level(theta))
        found = self.at_times(new).at(point.log)
        better = found.value >= point.value
        back = eqx.tree_at(lambda s: (s.length, s.gain), now, (new.length / 4, new.gain))
        on = eqx.tree_at(lambda s: s.length, new, jnp.minimum(2 * new.length, 1.0))

        def chosen(a, b):
            return jax.tree.map(lambda x, y: jnp.where(better, x, y), a, b)

        return chosen(found, point), chosen(on, back)


def separable_model(
    marginal: SeparableMarginal, update: str, earlier: Hyper | None
) -> SeparableEMModel:
    """Read prior, noise and data of a model, in the span of few factors where that is smaller."""
    problem, spatial, few = marginal.problem, marginal.spatial, marginal.few
    assert isinstance(spatial, LinearMarginal)
    own, n = spatial.noise, spatial.n_sources
    data, noise = problem.data.reshape(-1, problem.rank, problem.n_times), []
    silent, n_silent = jnp.zeros((problem.n_times,) * 2, data.dtype), jnp.zeros((), data.dtype)
    source = sensor_components(spatial.factor, spatial.group, n)
    if few is not None:
        data, silent, n_silent = few.data, few.silent, few.n_silent
        source = sensor_components(few.factor, few.group, n)
    if few is not None and isinstance(own, LinearNoise):
        noise.append(_one_component(jnp.eye(data.shape[1], dtype=data.dtype)))
    elif isinstance(own, LinearNoise):
        noise.append(sensor_components(*own.factor(problem.whitener), own.n_variances))
    white = not noise
    if marginal.rest_sensor is not None:
        noise.append(_one_component(marginal.rest_sensor))
    times = TimeCovariances(marginal, data, silent, n_silent)
    prior = log_hyperprior(marginal.distributions() or ())
    n_columns = jnp.asarray(float(len(data) * problem.n_times))
    jacobian = spatial.log_jacobian
    parts = (source, tuple(noise), times, times.start(earlier), jacobian, white)
    return SeparableEMModel(prior, n_columns, None, problem.rank, n, update, *parts)


def _one_component(matrix: Square) -> MatrixComponents:
    values = jnp.linalg.eigvalsh(jax.lax.stop_gradient(matrix))
    dims = jnp.sum(values > 1e-10 * values[-1])
    return MatrixComponents(matrix[None], dims[None].astype(matrix.dtype))
