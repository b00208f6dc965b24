r"""Hyper-parameters of both covariances in time, between updates of the variances.

With :math:`u = w Z` in the modes of space (d) and time (:math:`\tau`),
:math:`w = (1 + d \tau)^{-1}`, and changes A of T and B of T_n as the modes of time see them,

.. math::
   2\, \partial_A \log p = \operatorname{tr} A \left( u^\top d\, u
   - \operatorname{diag}(w^\top d) \right), \qquad
   2\, I_{AA'} = \sum_{mm'} A_{mm'} A'_{mm'} \left[ (w d)^\top (w d) \right]_{mm'}

and with 1 in d's place for B. One step of Fisher scoring at a time; one that lowers the
objective is taken back, and the next is a quarter as long.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.separable import Modes, Pair, modes
from esijax._types import Scalar
from esijax.inference.collapsed._time_sites import FreeRow, TimeSites
from esijax.models._scope import under, within
from esijax.models.marginals.marginal import Hyper
from esijax.models.marginals.separable import SeparableMarginal

LONGEST = 1.0  # of a step, without constraints
SIGNAL, NOISE = "time", "noise/time"


class TimeState(eqx.Module):
    """T and T_n at one value of their hyper-parameters, and the data in their modes.

    Parameters
    ----------
    free : (unknowns,)
        Of T, then of T_n.
    modes : Modes
    data : (trials, rank, times)
        Y as the modes see it.
    silent : (times, times)
        Sum of products of what is noise alone, as they see it.
    log_prior : ()
    length : ()
        Of the next step, relative to a whole one.
    gain : ()
        What the last step was expected to bring, nats.
    """

    free: FreeRow
    modes: Modes
    data: Float[Array, "trials rank times"]
    silent: Float[Array, "times times"]
    log_prior: Scalar
    length: Scalar
    gain: Scalar


class TimeCovariances(eqx.Module):
    """Both covariances in time as functions of one row of numbers.

    Parameters
    ----------
    marginal : SeparableMarginal
    data : (trials, rank, times)
    silent : (times, times)
    n_silent : ()
        Dimensions that are noise alone, over all trials.
    """

    marginal: SeparableMarginal
    data: Float[Array, "trials rank times"]
    silent: Float[Array, "times times"]
    n_silent: Scalar

    @property
    def learned(self) -> bool:
        """Whether there is anything to learn."""
        return self.marginal.time.learned or self.marginal.noise_time.learned

    @property
    def _sites(self) -> tuple[TimeSites, TimeSites]:
        return TimeSites(self.marginal.time), TimeSites(self.marginal.noise_time)

    def _split(self, free: FreeRow) -> tuple[FreeRow, FreeRow]:
        n = eqx.filter_eval_shape(lambda s: s._sites[0].start(), self).size
        return free[:n], free[n:]

    def start(self, earlier: Hyper | None) -> TimeState:
        """Medians of the priors, or what an earlier estimate has of the same."""
        known = {k: jnp.mean(v, axis=0) if v.ndim > 1 else v for k, v in (earlier or {}).items()}
        pairs = zip(self._sites, (SIGNAL, NOISE), strict=True)
        free = [sites.start(within(prefix, known)) for sites, prefix in pairs]
        far = jnp.asarray(jnp.inf if self.learned else 0.0)
        return self.at(jnp.concatenate(free), jnp.ones(()), far)

    def hyper(self, free: FreeRow) -> Hyper:
        """Hyper-parameters by name."""
        pairs = zip(self._sites, self._split(free), (SIGNAL, NOISE), strict=True)
        named = [under(prefix, sites.hyper(own)) for sites, own, prefix in pairs]
        return named[0] | named[1]

    def log_prior(self, free: FreeRow) -> Scalar:
        """Log density of all hyper-parameters in time."""
        pairs = zip(self._sites, self._split(free), strict=True)
        return sum((sites.log_prior(own) for sites, own in pairs), start=jnp.zeros(()))

    def at(self, free: FreeRow, length: Scalar, gain: Scalar) -> TimeState:
        """Modes, and the data in them."""
        hyper = self.hyper(free)
        known = self.marginal.known_time
        found = modes(*self.marginal.in_time(hyper)) if known is None else known
        turned, silent = self.data @ found.inverse, found.image(self.silent)
        return TimeState(free, found, turned, silent, self.log_prior(free), length, gain)

    def _changes(self, now: TimeState) -> tuple[Array, Array]:
        """Derivatives of T and T_n, each with its own unknowns, as the modes see them."""
        first, second = self._split(now.free)

        def image(which, own):
            both = (own, second) if which == 0 else (first, own)
            return now.modes.image(self.marginal.in_time(self.hyper(jnp.concatenate(both)))[which])

        # the modes stay: they are the frame
        each = [jax.jacfwd(lambda o, i=i: image(i, o))(x) for i, x in enumerate((first, second))]
        return jnp.moveaxis(each[0], -1, 0), jnp.moveaxis(each[1], -1, 0)

    def stepped(self, now: TimeState, space: Modes, noise_level: Scalar) -> TimeState:
        """One step of Fisher scoring, not longer than a factor of e or so.

        Parameters
        ----------
        now : TimeState
        space : Modes
            Of the sensors.
        noise_level : ()
            Variance of what is noise alone.
        """
        of_signal, of_noise = changes = self._changes(now)
        slopes, weights = self._slopes(now, space, noise_level)
        gradient = jax.grad(self.log_prior)(now.free) + 0.5 * jnp.concatenate(
            [jnp.tensordot(a, slope, 2) for a, slope in zip(changes, slopes, strict=True)]
        )

        def block(one, weight, other):
            return 0.5 * jnp.tensordot(one * weight, other, ((1, 2), (1, 2)))

        cross = block(of_signal, weights[1], of_noise)
        own = block(of_signal, weights[0], of_signal), block(of_noise, weights[2], of_noise)
        curvature = jnp.block([[own[0], cross], [cross.T, own[1]]])
        bent = -jnp.diag(jax.hessian(self.log_prior)(now.free))
        curvature = curvature + jnp.diag(jnp.maximum(bent, 0.0) + 1e-6)
        step = jnp.linalg.solve(curvature, gradient)
        step *= jnp.minimum(1.0, LONGEST / jnp.maximum(jnp.max(jnp.abs(step)), 1e-300))
        return self.at(now.free + now.length * step, now.length, 0.5 * gradient @ step)

    def _slopes(self, now: TimeState, space: Modes, noise_level: Scalar):
        """What changes of T and of T_n are held against; weights of their products."""
        w, d, n = Pair(space, now.modes).weights, space.value, len(now.data)
        u = w * (space.inverse.T @ now.data)
        rows, times = u.reshape(-1, u.shape[-1]), u.shape[-1]
        signal = rows.T @ (d[:, None] * u).reshape(rows.shape) - n * jnp.diag(d @ w)
        alone = now.silent / noise_level - self.n_silent * jnp.eye(times, dtype=u.dtype)
        noise = rows.T @ rows - n * jnp.diag(jnp.sum(w, axis=0)) + alone
        wd = w * d[:, None]
        weights = n * (wd.T @ wd), n * (wd.T @ w), n * (w.T @ w) + self.n_silent
        return (signal, noise), weights
