"""What a prior or a noise model says of itself, held against dense algebra."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from esijax.models.noise import Noise
from esijax.models.priors.prior import Prior
from esijax.problem import Problem
from esijax.testing.promises import BrokenPromise


def _draw_hyper(declare: Any) -> dict[str, Any]:
    """One draw of the hyper-parameters; ones for what has no distribution."""

    def flat(site: dict) -> Any:
        improper = site["type"] == "sample" and type(site["fn"]).__name__ == "ImproperUniform"
        return jnp.ones(site["fn"].event_shape) if improper else None

    seeded = handlers.seed(declare, 0)
    return dict(handlers.substitute(seeded, substitute_fn=flat)())


def source_cov_is_a_covariance(prior: Prior, problem: Problem) -> None:
    """What `source_cov` gives is symmetric, not negative, and says the same in all its ways."""
    marginal = prior.marginal(problem)
    cov = prior.prepare(problem).source_cov(_draw_hyper(marginal.hyper), problem)
    n, o = problem.n_locations, problem.n_orients
    dense = np.asarray(cov.apply(jnp.eye(n * o).reshape(n, o, n * o))).reshape(n * o, n * o)
    if not np.allclose(dense, dense.T, rtol=1e-9, atol=1e-12 * np.abs(dense).max()):
        raise BrokenPromise("R is not symmetric")
    if np.linalg.eigvalsh(dense)[0] < -1e-9 * np.abs(dense).max():
        raise BrokenPromise("R is not positive semi-definite")
    gain = np.asarray(problem.gain).reshape(problem.rank, -1)
    if not np.allclose(cov.sensor(problem.gain), gain @ dense @ gain.T, rtol=1e-9, atol=1e-9):
        raise BrokenPromise("sensor(G) is not G R G'")
    blocks = dense.reshape(n, o, n, o)[np.arange(n), :, np.arange(n)]
    if not np.allclose(cov.blocks(), blocks, rtol=1e-9, atol=1e-12):
        raise BrokenPromise("blocks() are not those on the diagonal of R")
    draws = np.asarray(cov.draw(jax.random.key(0), 4000)).reshape(n * o, -1)
    error = np.abs(draws @ draws.T / 4000 - dense).max()
    if error > 0.15 * np.abs(dense).max():
        raise BrokenPromise("draw() has another covariance than R")


def noise_cov_is_a_covariance(noise: Noise, problem: Problem) -> None:
    """Of the whitened noise: of the right size, symmetric, positive definite."""
    prepared = noise.prepare(problem)
    cov = np.asarray(prepared.covariance(_draw_hyper(prepared.hyper), problem.whitener))
    if cov.shape != (problem.rank, problem.rank):
        raise BrokenPromise(f"covariance has the shape {cov.shape}, not {(problem.rank,) * 2}")
    if not np.allclose(cov, cov.T, rtol=1e-9, atol=1e-12 * np.abs(cov).max()):
        raise BrokenPromise("covariance is not symmetric")
    if np.linalg.eigvalsh(cov)[0] <= 0:
        raise BrokenPromise("covariance is not positive definite")
