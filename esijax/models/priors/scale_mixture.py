r"""Scale mixtures: each location has its own variance, shared by its orients and all times.

.. math:: \gamma_l \sim p(\gamma), \qquad X_l \mid \gamma_l \sim N(0, \gamma_l P_l^2)

P is the problem's scale: with all :math:`\gamma_l = 1` the signal is as strong as the noise.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist

from esijax._types import check_positive, scalar
from esijax.models.hyperpriors import BlockNorm, Given, HalfCauchyScale, hyperprior
from esijax.models.parts import Part, Separate
from esijax.models.priors.linear import OneLevel
from esijax.problem import Problem


class ScaleMixture(OneLevel):
    """One variance per location."""

    def n_components(self, sizes: dict[str, int]) -> int:
        """As many as locations."""
        return sizes["n_locations"]

    def parts(self, problem: Problem) -> tuple[Part, ...]:
        """Each location a component."""
        n = problem.n_locations
        return (Separate(jnp.ones(n), jnp.arange(n), n),)


class ARD(ScaleMixture):
    r"""Automatic relevance determination: a variance per location, most of them zero.

    .. math:: X_l \mid \gamma_l \sim N(0, \gamma_l P_l^2), \qquad \gamma_l \sim p(\gamma)

    Parameters
    ----------
    local : numpyro distribution | HyperPrior | None
        :math:`p(\gamma)`: Gamma, InverseGamma, LogNormal, HalfCauchy, any with positive support.
        None is flat (sparse Bayesian learning, Champagne): a point estimate exists, but there is
        no posterior to sample from.

    Raises
    ------
    InputError
        For a distribution that is not positive.

    References
    ----------
    MacKay 1992, doi:10.1162/neco.1992.4.3.415; Wipf and Nagarajan 2009,
    doi:10.1016/j.neuroimage.2008.02.059.

    Examples
    --------
    >>> import esijax as ej, numpyro.distributions as dist
    >>> prior = ej.models.ARD(dist.InverseGamma(1.0, 0.1))
    """

    local: Any = eqx.field(converter=hyperprior, default=None)


class StudentT(ScaleMixture):
    r"""Student's t sources: heavy tails, sparse also for long data.

    .. math::
       \gamma_l \sim \text{InverseGamma}(\nu / 2,\; \nu s^2 / 2) \quad\Rightarrow\quad
       X_l / P_l \sim t_\nu(0, s)

    Parameters
    ----------
    nu : float
        Degrees of freedom; small is sparse.
    scale : float
        s, in standard deviations of the problem's scale.

    Raises
    ------
    InputError
        For parameters that are not positive.

    References
    ----------
    Tipping 2001, https://jmlr.org/papers/v1/tipping01a.html.

    Examples
    --------
    >>> import esijax as ej
    >>> prior = ej.models.StudentT(nu=1.0, scale=0.2)
    """

    local: Any

    def __init__(self, nu: Any = 1.0, scale: Any = 0.3):
        check_positive(nu, "nu")
        check_positive(scale, "scale")
        nu, scale = scalar(nu), scalar(scale)
        self.local = Given(dist.InverseGamma(nu / 2, nu * scale**2 / 2))


class Horseshoe(ScaleMixture):
    r"""Horseshoe: most sources near zero, a few unshrunk.

    .. math::
       \gamma_l = \tau^2 \lambda_l^2, \quad \lambda_l \sim C^+(0, 1), \quad \tau \sim C^+(0, \tau_0)

    Parameters
    ----------
    scale : float
        :math:`\tau_0`, the common standard deviation that is expected, in units of the problem's
        scale.
    slab : float | None
        Largest plausible standard deviation c (regularised horseshoe):
        :math:`\gamma \to \gamma c^2 / (c^2 + \gamma)`.

    Raises
    ------
    InputError
        For parameters that are not positive.

    References
    ----------
    Carvalho, Polson and Scott 2010, doi:10.1093/biomet/asq017; Piironen and Vehtari 2017,
    doi:10.1214/17-EJS1337SI.

    Examples
    --------
    >>> import esijax as ej
    >>> prior = ej.models.Horseshoe(scale=0.1, slab=30.0)
    """

    local: HalfCauchyScale

    def __init__(self, scale: Any = 0.1, slab: Any = None):
        self.local = HalfCauchyScale(scale, slab)


class GroupLaplace(ScaleMixture):
    r"""The prior whose mode over the sources is the l2,1 mixed norm (MxNE).

    .. math::
       \gamma_l \sim \text{Gamma}\left(\tfrac{T n_{orient} + 1}{2}, \tfrac{\alpha^2}{2}\right)
       \quad\Rightarrow\quad p(X) \propto \prod_l e^{-\alpha \lVert X_l / P_l \rVert_F}

    Only the joint mode over X under white noise is sparse. For :math:`T n_{orient} = 200` the
    prior lets :math:`\gamma` vary by 10 %, so that the full posterior of long data is close to
    minimum norm: for sparse posteriors use `Horseshoe`, `StudentT` or `ARD`.

    Parameters
    ----------
    alpha : float
        Weight of the norm; it grows with the data (absolute, not relative to alpha_max).

    Raises
    ------
    InputError
        If alpha is not positive.

    References
    ----------
    Gramfort, Kowalski and Hämäläinen 2012, doi:10.1088/0031-9155/57/7/1937; Raman et al. 2009,
    doi:10.1145/1553374.1553487.

    Examples
    --------
    >>> import esijax as ej
    >>> prior = ej.models.GroupLaplace(alpha=3.0)
    """

    local: BlockNorm

    def __init__(self, alpha: Any = 1.0):
        self.local = BlockNorm(alpha)
