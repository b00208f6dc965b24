r"""How the scales of components are distributed: :math:`\gamma \sim p(\gamma)`.

Any `numpyro.distributions` object with positive support is one (the same for each component, or
with one entry per component); the classes here tie components together.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from esijax._types import InputError, check_positive, is_traced, scalar
from esijax.models._in_order import InOrder

Gamma = Float[Array, " components"]


class HyperPrior(eqx.Module):
    """Prior of the variances of components; subclasses draw them and invert the drawing."""

    proper: ClassVar[bool] = True

    @abc.abstractmethod
    def sample(self, n: int, sizes: dict[str, int]) -> dict[str, Array]:
        """Draw with `numpyro.sample`; the entry "gamma" holds the n variances."""

    @abc.abstractmethod
    def start(self, gamma: Gamma) -> dict[str, Array]:
        """Values of the sampled sites at which the variances are `gamma` (where a chain starts)."""

    def distributions(
        self,
        n: int,  # noqa: ARG002
        sizes: dict[str, int],  # noqa: ARG002
    ) -> tuple[dist.Distribution, ...] | None:
        """NumPyro distribution of each block of independent variances, (n,) entries in all.

        None where the variances are tied to each other, so that none has a distribution of its
        own; an improper distribution where there is no preference.
        """
        return None


def _sampled(name: str, distribution: Any) -> Any:
    return numpyro.sample(name, distribution)


def _recorded(name: str, value: Array) -> Any:
    return numpyro.deterministic(name, value)


class Flat(HyperPrior):
    """No preference: type-II maximum likelihood. Not a distribution, so samplers refuse it."""

    proper: ClassVar[bool] = False

    def sample(self, n: int, sizes: dict[str, int]) -> dict[str, Array]:  # noqa: ARG002
        """Variances without a density of their own."""
        return {"gamma": _sampled("gamma", dist.ImproperUniform(constraints.positive, (), (n,)))}

    def start(self, gamma: Gamma) -> dict[str, Array]:
        """Give the variances themselves."""
        return {"gamma": gamma}

    def distributions(self, n: int, sizes: dict[str, int]) -> tuple[dist.Distribution, ...]:  # noqa: ARG002
        """Improper and uniform."""
        return (dist.ImproperUniform(constraints.positive, (n,), ()),)


class Given(HyperPrior):
    """Independent variances from a NumPyro distribution with positive support.

    Parameters
    ----------
    distribution : numpyro.distributions.Distribution
        Of one component, or with one entry per component.

    Raises
    ------
    InputError
        If its support reaches below zero, or its number of entries does not fit.
    """

    distribution: Any

    def __init__(self, distribution: Any):
        distribution = distribution.law if isinstance(distribution, InOrder) else distribution
        if not isinstance(distribution, dist.Distribution):
            raise InputError(
                "a hyper-prior is None, a numpyro distribution or a HyperPrior, "
                f"got {distribution!r}."
            )
        _check_support(distribution)
        self.distribution = in_order(distribution)

    @property
    def law(self) -> Any:
        """The distribution itself."""
        return self.distribution.law

    def sample(self, n: int, sizes: dict[str, int]) -> dict[str, Array]:
        """Draw n variances."""
        return {"gamma": _sampled("gamma", self.distributions(n, sizes)[0].to_event(1))}

    def start(self, gamma: Gamma) -> dict[str, Array]:
        """Give the variances themselves, within the support."""
        return {"gamma": clip_inside(self.law, gamma)}

    def distributions(self, n: int, sizes: dict[str, int]) -> tuple[dist.Distribution, ...]:  # noqa: ARG002
        """Give the distribution, with n entries."""
        shape = self.law.batch_shape
        if shape not in ((), (1,), (n,)):
            raise InputError(f"the hyper-prior has {shape} entries for {n} components.")
        return (self.law.expand((n,)),)


def support_bounds(distribution: Any) -> tuple[Any, Any]:
    """Ends of the support of a distribution of positive numbers."""
    if isinstance(distribution, dist.ImproperUniform):
        return jnp.zeros(()), jnp.asarray(jnp.inf)
    support = distribution.support
    return jnp.asarray(support.lower_bound), jnp.asarray(getattr(support, "upper_bound", jnp.inf))


def clip_inside(distribution: Any, gamma: Gamma) -> Gamma:
    """Bring variances into the support, a hundredth of its width away from its ends."""
    low, high = support_bounds(distribution)
    margin = 0.01 * jnp.where(jnp.isfinite(high), high - low, low)
    return jnp.clip(gamma, low + margin, high - margin)


def _check_support(distribution: Any) -> None:
    """Refuse what is not one positive number a component."""
    support, name = distribution.support, type(distribution).__name__
    low = getattr(support, "lower_bound", None)
    positive = low is not None and (is_traced(low) or bool(np.all(np.asarray(low) >= 0)))
    if not positive or support.is_discrete or distribution.event_shape:
        raise InputError(
            f"variances are positive numbers: {name} has the support {support} and events of shape "
            f"{distribution.event_shape}. Try LogNormal, Gamma, InverseGamma or HalfCauchy."
        )


class HalfCauchyScale(HyperPrior):
    r"""Horseshoe: half-Cauchy standard deviations under a common half-Cauchy scale.

    .. math::
       \gamma_k = \tau^2 \tilde\lambda_k^2, \quad \lambda_k \sim C^+(0, 1), \quad
       \tau \sim C^+(0, \tau_0), \quad
       \tilde\lambda_k^2 = \frac{c^2 \lambda_k^2}{c^2 + \tau^2 \lambda_k^2}

    Parameters
    ----------
    scale : float
        :math:`\tau_0`: expected standard deviation of a typical component.
    slab : float | None
        c, the largest plausible standard deviation (regularised horseshoe); None for none.

    References
    ----------
    Carvalho, Polson and Scott 2010, doi:10.1093/biomet/asq017; Piironen and Vehtari 2017,
    doi:10.1214/17-EJS1337SI.
    """

    scale: Any = eqx.field(converter=scalar, default=0.1)
    slab: Any = eqx.field(converter=scalar, default=None)

    def __check_init__(self):
        check_positive(self.scale, "scale")
        if self.slab is not None:
            check_positive(self.slab, "slab")

    def sample(self, n: int, sizes: dict[str, int]) -> dict[str, Array]:  # noqa: ARG002
        """Draw local and common scales."""
        tau = _sampled("tau", dist.HalfCauchy(self.scale))
        local = _sampled("lambda", dist.HalfCauchy(jnp.ones(n)).to_event(1))
        gamma = (tau * local) ** 2
        if self.slab is not None:
            gamma = gamma * self.slab**2 / (self.slab**2 + gamma)
        return {"tau": tau, "lambda": local, "gamma": _recorded("gamma", gamma)}

    def start(self, gamma: Gamma) -> dict[str, Array]:
        """Undo the slab and divide by the geometric mean."""
        if self.slab is not None:
            gamma = jnp.minimum(gamma, 0.9 * self.slab**2)
            gamma = gamma * self.slab**2 / (self.slab**2 - gamma)
        tau = jnp.exp(0.5 * jnp.mean(jnp.log(gamma)))
        return {"tau": tau, "lambda": jnp.sqrt(gamma) / tau}


class HierarchicalLogNormal(HyperPrior):
    r"""Log-normal variances whose level and spread are learned too.

    .. math::
       \log \gamma_k \sim N(\mu, \tau^2), \quad
       \mu \sim N(\mu_0, \sigma_0^2), \quad \tau \sim N^+(0, \tau_0^2)

    What is drawn is :math:`z_k \sim N(c\mu, \tau^{2c})` with
    :math:`\log \gamma_k = \mu + \tau^{1-c} (z_k - c\mu)`: the same distribution for each c, and
    another shape for samplers to walk in. Many components pin down :math:`\tau` and data of
    hundreds of samples each :math:`\gamma_k`: there 1 is good. A handful of components leave
    :math:`\tau` free to vanish, a funnel in which a chain with c = 1 gets stuck: there 0 is.

    Parameters
    ----------
    level, level_scale : float
        :math:`\mu_0` and :math:`\sigma_0`.
    spread : float
        :math:`\tau_0`.
    centred : float | None
        c, from 0 to 1; None: 0 for fewer than 20 components, else 1.

    References
    ----------
    Papaspiliopoulos, Roberts and Sköld 2007, doi:10.1214/088342307000000014.
    """

    level: Any = eqx.field(converter=scalar, default=-2.0)
    level_scale: Any = eqx.field(converter=scalar, default=2.0)
    spread: Any = eqx.field(converter=scalar, default=2.0)
    centred: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_positive(self.level_scale, "level_scale")
        check_positive(self.spread, "spread")
        if self.centred is not None and not 0 <= self.centred <= 1:
            raise InputError(f"centred must lie between 0 and 1, got {self.centred!r}.")

    def sample(self, n: int, sizes: dict[str, int]) -> dict[str, Array]:  # noqa: ARG002
        """Draw level, spread and the logarithms, more or less standardised."""
        level = _sampled("mu", dist.Normal(self.level, self.level_scale))
        spread = _sampled("tau", dist.HalfNormal(self.spread))
        c = self._centred(n)
        z = _sampled("z", dist.Normal(jnp.full(n, c * level), spread**c).to_event(1))
        log = level + spread ** (1.0 - c) * (z - c * level)
        gamma = _recorded("gamma", jnp.exp(log))
        return {"mu": level, "tau": spread, "z": z, "gamma": gamma}

    def start(self, gamma: Gamma) -> dict[str, Array]:
        """Standardise the logarithms, the outermost drawn in to three deviations."""
        log = jnp.log(gamma)
        level = jnp.median(log)
        spread = jnp.clip(jnp.std(log), 0.3 * self.spread, 2.0 * self.spread)
        z = jnp.clip((log - level) / spread, -3.0, 3.0)
        c = self._centred(len(gamma))
        return {"mu": level, "tau": spread, "z": c * level + spread**c * z}

    def _centred(self, n: int) -> float:
        if self.centred is None:
            return 0.0 if n < 20 else 1.0
        return self.centred


class SparseSimplex(HyperPrior):
    r"""A total variance, shared out by a Dirichlet distribution that favours few.

    .. math::
       \gamma = s w, \quad w \sim \text{Dirichlet}(a, \dots, a), \quad \log s \sim N(\mu, \sigma^2)

    Parameters
    ----------
    concentration : float
        a; below 1 few components carry the total.
    level, spread : float
        :math:`\mu, \sigma` of the logarithm of the total.
    """

    concentration: Any = eqx.field(converter=scalar, default=0.3)
    level: Any = eqx.field(converter=scalar, default=0.0)
    spread: Any = eqx.field(converter=scalar, default=1.5)

    def __check_init__(self):
        check_positive(self.concentration, "concentration")
        check_positive(self.spread, "spread")

    def sample(self, n: int, sizes: dict[str, int]) -> dict[str, Array]:  # noqa: ARG002
        """Draw the total and independent Gamma variables whose shares are the Dirichlet's."""
        # shares of Gamma variables: unlike the stick-breaking chain, the same for each component
        total = _sampled("total", dist.LogNormal(self.level, self.spread))
        share = _sampled("share", dist.Gamma(self.concentration * jnp.ones(n), 1.0).to_event(1))
        gamma = _recorded("gamma", total * share / jnp.sum(share))
        return {"total": total, "share": share, "gamma": gamma}

    def start(self, gamma: Gamma) -> dict[str, Array]:
        """Split into total and shares."""
        total = jnp.sum(gamma)
        return {"total": total, "share": self.concentration * len(gamma) * gamma / total}


class BlockNorm(HyperPrior):
    r"""The scale mixture of the l2,1 norm.

    .. math::
       \gamma_l \sim \text{Gamma}\left(\tfrac{T n_{orient} + 1}{2}, \tfrac{\alpha^2}{2}\right)

    Parameters
    ----------
    alpha : float
        Weight of the norm.
    """

    alpha: Any = eqx.field(converter=scalar, default=1.0)

    def __check_init__(self):
        check_positive(self.alpha, "alpha")

    def distribution(self, sizes: dict[str, int]) -> dist.Distribution:
        """Gamma distribution for data of this size."""
        shape = (sizes["n_times"] * sizes["n_orients"] + 1) / 2
        return dist.Gamma(jnp.asarray(shape, dtype=float), self.alpha**2 / 2)

    def distributions(self, n: int, sizes: dict[str, int]) -> tuple[dist.Distribution, ...]:
        """Give the Gamma distribution, with n entries."""
        return (self.distribution(sizes).expand((n,)),)

    def sample(self, n: int, sizes: dict[str, int]) -> dict[str, Array]:
        """Draw n variances."""
        return {"gamma": _sampled("gamma", self.distributions(n, sizes)[0].to_event(1))}

    def start(self, gamma: Gamma) -> dict[str, Array]:
        """Give the variances themselves."""
        return {"gamma": gamma}


def as_arrays(distribution: Any) -> Any:
    """Give parameters one strong float type: new values compile nothing and have a gradient."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype=float), distribution)


def in_order(distribution: dist.Distribution) -> InOrder:
    """Give a distribution as models hold it: parameters of one float type, in one order."""
    arrays = as_arrays(distribution)
    # a few distributions of NumPyro lose their support as a pytree (Levy)
    return InOrder(distribution if arrays.support is None else arrays)


def hyperprior(value: Any) -> HyperPrior:
    """Read None (flat), a NumPyro distribution or one of the classes here."""
    if value is None:
        return Flat()
    if isinstance(value, HyperPrior):
        return value
    return Given(value)
