r"""Waves as hyper-parameters: drawn, with the maps integrated out.

.. math:: \Phi = Z C^\top, \quad T(\theta) = C C^\top, \quad Z_{kt} \sim N(0, 1), \qquad
          X \mid \Phi \sim MN(0,\, R(\gamma),\, \Phi^\top \Phi)

Only :math:`\Phi^\top \Phi` is seen, so that a rotation of the waves is left open. It is taken by a
gauge: in an orthonormal frame whose first K directions are anchors, Z is upper triangular there,

.. math:: Z = [U, F]\, Q^\top, \quad U_{kk}^2 \sim \chi^2_{K - k + 1}, \quad U_{kj}, F \sim N(0, 1)

(Bartlett's decomposition), which gives :math:`\Phi^\top \Phi` the same distribution. Anchors are
the strongest courses of the data, where waves are surely not zero; which they are changes no
answer.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro import handlers

from esijax.models.marginals.marginal import medians_of
from esijax.models.time.time import Hyper, Matrix, Time, Times
from esijax.problem import Problem


class DrawnWaves(Time):
    """The covariance in time that a few unknown waves make.

    Parameters
    ----------
    time : Time
        Of each wave.
    k : int
        Number of waves.
    times : (times,)
        s.
    frame : (times, times)
        Orthonormal; its first k columns are the anchors.
    """

    time: Time
    k: int = eqx.field(static=True)
    times: Times
    frame: Matrix

    @property
    def learned(self) -> bool:
        """The waves are."""
        return True

    def hyper(self, sizes: dict[str, int]) -> Hyper:
        """Draw the hyper-parameters of the waves' covariance, then the waves."""
        own, n = self.time.hyper(sizes), len(self.times)
        power = numpyro.sample("power", dist.Chi2(jnp.arange(self.k, 0.0, -1.0)).to_event(1))
        upper = jnp.diag(jnp.sqrt(power))
        if self.k > 1:
            rows, columns = jnp.triu_indices(self.k, 1)
            law = dist.Normal(jnp.zeros(len(rows)), 1.0).to_event(1)
            upper = upper.at[rows, columns].set(numpyro.sample("above", law))
        free = numpyro.sample("free", dist.Normal(jnp.zeros((self.k, n - self.k)), 1.0).to_event(2))
        white = jnp.concatenate([upper, free], axis=1) @ self.frame.T
        return own | {"waves": white @ _root(self.time.cov(own, self.times).dense()).T}

    def correlation(self, hyper: Hyper, times: Times) -> Matrix:  # noqa: ARG002
        """Phi' Phi."""
        return hyper["waves"].T @ hyper["waves"]


def drawn_waves(time: Time, k: int, times: Times, problem: Problem) -> DrawnWaves:
    """Anchored at the strongest courses of the data, as far as such waves can have them."""
    data = jax.lax.stop_gradient(problem.data)
    courses = jnp.linalg.svd(data, full_matrices=False)[2][:k]
    if problem.noise_time is not None:
        courses = courses @ problem.noise_time.root
    with handlers.substitute(data=medians_of(lambda: time.hyper({}))):
        cov = time.cov(time.hyper({}), times).dense()
    smooth = jnp.linalg.solve(cov + jnp.eye(len(times), dtype=cov.dtype), courses.T)
    frame = jnp.linalg.qr(_root(cov).T @ smooth, mode="complete")[0]
    return DrawnWaves(time, k, times, jax.lax.stop_gradient(frame))


def _root(cov: Matrix) -> Float[Array, "times times"]:
    """Cholesky factor of a covariance that may be singular to rounding."""
    least = jnp.sqrt(jnp.finfo(cov.dtype).eps)
    return jnp.linalg.cholesky(cov + least * jnp.eye(len(cov), dtype=cov.dtype))
