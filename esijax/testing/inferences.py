"""The inferences that objects are tried with, at few steps and draws."""

from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist

from esijax.estimate import Estimate
from esijax.inference import EM, MAP, NUTS, SVI, Evidence, Gibbs, Laplace, Linear, solve
from esijax.inference.method import Method
from esijax.models import ARD, L21, Components, MinimumNorm
from esijax.problem import Problem
from esijax.testing.promises import SolveObject


def collapsed_methods() -> dict[str, Method]:
    """Those that integrate the sources out of a prior."""
    return {
        "Linear": Linear(),
        "EM": EM(tol=None, max_iter=6),
        "Evidence": Evidence(rtol=1e-10, atol=1e-10),
        "Laplace": Laplace(num_samples=100, num_maps=6),
        "SVI": SVI(steps=12, num_particles=1, num_samples=100, num_maps=6),
        "NUTS": NUTS(20, 20, 2, max_tree_depth=4, num_maps=6),
        "Gibbs": Gibbs(20, 20, 2, num_maps=6),
    }


def penalised_methods() -> dict[str, Method]:
    """Those that minimise a penalty."""
    return {"MAP": MAP(tol=1e-9), "MAP, fista": MAP("fista", tol=1e-9)}


def known_prior() -> Any:
    """A prior for the trial of a noise model."""
    return Components([np.arange(4), np.arange(4, 9)], dist.LogNormal(0.0, 1.0))


def _held(method: Method, init: Estimate | None) -> dict[str, Any]:
    """The start, for a method whose derivative is that at a given start."""
    return {"init": init} if method.derivative_at_start else {}


def answer_of_model(method: Method, noise: Any = None) -> SolveObject:
    """The object is the prior or penalty."""

    def answer(problem: Problem, model: Any, init: Estimate | None = None) -> Any:
        return solve(
            problem, model, method, noise=noise, key=jax.random.key(0), **_held(method, init)
        )

    return answer


def answer_of_noise(method: Method, model: Any) -> SolveObject:
    """The object is the noise model or data term."""

    def answer(problem: Problem, noise: Any, init: Estimate | None = None) -> Any:
        return solve(
            problem, model, method, noise=noise, key=jax.random.key(0), **_held(method, init)
        )

    return answer


def answer_of_method(model: Any) -> SolveObject:
    """The object is the method."""

    def answer(problem: Problem, method: Any, init: Estimate | None = None) -> Any:
        return solve(problem, model, method, key=jax.random.key(0), **_held(method, init))

    return answer


def models() -> dict[str, Any]:
    """One model of each kind that methods are made for."""
    return {
        "no model": None,
        "MinimumNorm": MinimumNorm(),
        "ARD": ARD(),
        "Components, LogNormal": known_prior(),
        "L21": L21(2.0),
    }
