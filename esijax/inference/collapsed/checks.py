"""What methods on the hyper-parameters refuse, and what they say to do instead."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx

from esijax._types import EsijaxWarning, InputError
from esijax.inference.collapsed._curvature import DENSE
from esijax.inference.collapsed.answers import marginal
from esijax.inference.method import Setup
from esijax.models.marginals import LinearMarginal, Marginal
from esijax.models.marginals.separable import SeparableMarginal
from esijax.models.noise import InTime, LinearNoise, White
from esijax.models.priors.gaussian import GaussianPrior
from esijax.models.priors.prior import Prior


def ask(setup: Setup, question: Callable[[Marginal], Any]) -> Any:
    """Answer of the marginal to a question about its structure; nothing is computed."""
    return eqx.filter_eval_shape(lambda s: question(marginal(s)), setup)


def check_prior(setup: Setup, method: str) -> None:
    """Refuse anything that is no prior with a source covariance."""
    if not isinstance(setup.model, Prior):
        raise InputError(
            f"{method} integrates the sources out of a prior with a source covariance (ARD, "
            f"Components, MinimumNorm, ...): {type(setup.model).__name__} has none."
        )


def check_proper(setup: Setup, method: str) -> None:
    """Refuse a flat hyper-prior where draws are asked for."""
    if not ask(setup, lambda m: m.proper):
        raise InputError(
            f"{method} needs a posterior to sample from, and a flat hyper-prior gives none: use a "
            "distribution, e.g. ARD(numpyro.distributions.InverseGamma(1.0, 0.1))."
        )


def check_start(setup: Setup) -> None:
    """Say so where an earlier estimate cannot be started from."""
    init = setup.start
    if init is None or ask(setup, lambda m: m.starts_from(init.hyper)):
        return
    n = ask(setup, lambda m: m.sizes)["n_components"]
    warnings.warn(
        f"init ({init.model}, {init.method}) holds no variances of these {n} components: the "
        "start is the analytic answer instead.",
        EsijaxWarning,
        stacklevel=6,
    )


def count_unknowns(setup: Setup, method: str) -> int:
    """Refuse what has nothing to learn; give the number of unknowns."""
    size = ask(setup, lambda m: m.n_unknowns)
    if size == 0:
        name = type(setup.model).__name__
        linear = "use Linear for it, or " if isinstance(setup.model, GaussianPrior) else "use "
        raise InputError(
            f"{method} learns hyper-parameters, and {name} without a noise model has none: "
            f"{linear}noise=esijax.models.noise.Scalar()."
        )
    return size


def check_search_model(setup: Setup, method: str, *, proper: bool) -> int:
    """All of these checks for Evidence, Laplace and SVI; give the number of unknowns."""
    check_prior(setup, method)
    if proper:
        check_proper(setup, method)
    check_start(setup)
    return count_unknowns(setup, method)


def check_variances(setup: Setup, method: str) -> None:
    """Take priors and noise models that are linear in independent variances."""
    verb = {"EM": "updates", "Gibbs": "draws"}[method]
    name, noise = type(setup.model).__name__, setup.noise
    if method == "EM" and isinstance(noise, InTime):
        noise = noise.noise

    def in_space(m: Any) -> Any:
        return m.spatial if method == "EM" and isinstance(m, SeparableMarginal) else m

    def tied(m: Any) -> bool:
        return m.distributions() is None

    if not ask(setup, lambda m: isinstance(in_space(m), LinearMarginal)):
        raise InputError(
            f"{method} needs a prior of components that is linear in its variances (ARD, "
            f"Components, StudentT, GroupLaplace, Sum, your own LinearPrior), and {name} has a "
            f"covariance of its own: use {other_methods(setup)}."
        )
    if not (noise is None or isinstance(noise, White | LinearNoise)):
        raise InputError(
            f"{method} {verb} variances, and the covariance of {type(noise).__name__} is not "
            f"linear in any: use noise.Diagonal, or {other_methods(setup)}."
        )
    if ask(setup, tied):
        raise InputError(
            f"{method} {verb} variances that are independent given the sources, and the "
            f"hyper-prior of {name} or its noise ties them together: use {other_methods(setup)}."
        )


def other_methods(setup: Setup) -> str:
    """Methods that take this prior and noise, in words."""
    size = ask(setup, lambda m: m.n_unknowns)
    if size == 0 and isinstance(setup.model, GaussianPrior):
        return "inference.Linear"
    if size == 0:
        return "inference.Evidence with noise=esijax.models.noise.Scalar()"
    point = "inference.Evidence for its point estimate"
    if not ask(setup, lambda m: m.proper):
        return point
    posterior = "NUTS, Laplace or SVI" if size <= DENSE else "NUTS or SVI"
    return f"{point}, or {posterior} for its posterior"
