r"""What methods on the hyper-parameters ask of a model whose sources are integrated out.

.. math:: \theta \sim p(\theta), \qquad p(Y \mid \theta) = \int p(Y \mid X, \theta)\,
          p(X \mid \theta)\, dX
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro import handlers
from numpyro.infer.initialization import init_to_median

from esijax._types import Scalar
from esijax.posterior import Posterior
from esijax.problem import Problem

Hyper = dict[str, Array]
Sites = dict[str, Array]


class JointDraw(NamedTuple):
    """One draw of a model: hyper-parameters, sources, and the whitened data they make.

    Parameters
    ----------
    hyper : dict
        Hyper-parameters.
    sources : (locations, orients, times)
        Sources in normalised units.
    data : (rank, times)
        Whitened data.
    """

    hyper: Hyper
    sources: Float[Array, "locations orients times"]
    data: Float[Array, "rank times"]


class Marginal(eqx.Module):
    """A model with its sources integrated out; called, it declares the NumPyro model.

    Subclasses give the abstract methods. `hyper` below is a dict as the model's own `hyper`
    returns it; `sites` are the values of what it samples (`numpyro.sample`).
    """

    problem: eqx.AbstractVar[Problem]

    # ------------------------------------------------------------------ the model
    @abc.abstractmethod
    def hyper(self) -> Hyper:
        """Draw all hyper-parameters with `numpyro.sample`."""

    @abc.abstractmethod
    def log_evidence(self, hyper: Hyper) -> Scalar:
        """Log density of the data in their own units, the sources integrated out."""

    @abc.abstractmethod
    def posterior(self, hyper: Hyper) -> Posterior:
        """Posterior of the sources at one value of the hyper-parameters."""

    @abc.abstractmethod
    def mixture(self, draws: Hyper) -> Posterior:
        """Posterior of the sources over draws of the hyper-parameters, (draws, ...)."""

    @abc.abstractmethod
    def simulate(self, key: PRNGKeyArray) -> JointDraw:
        """Draw hyper-parameters, sources and one recording as long as the problem's."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Name of the model, as estimates carry it."""

    @property
    @abc.abstractmethod
    def proper(self) -> bool:
        """Whether the hyper-parameters have a distribution (a flat hyper-prior is none)."""

    def __call__(self) -> Hyper:
        """Declare the NumPyro model."""
        hyper = self.hyper()
        numpyro.factor("log_evidence", self.log_evidence(hyper))
        return hyper

    # ------------------------------------------------------------------ sizes and costs
    @property
    def sizes(self) -> dict[str, int]:
        """Sizes that hyper-priors ask for."""
        p = self.problem
        n_columns = p.data.size // p.rank
        return {"n_locations": p.n_locations, "n_orients": p.n_orients, "n_times": n_columns}

    @property
    def n_unknowns(self) -> int:
        """How many numbers are sampled."""
        shapes = eqx.filter_eval_shape(Marginal.medians, self)
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    @property
    @abc.abstractmethod
    def work(self) -> float:
        """Operations of one log-evidence and its gradient, about."""

    @property
    @abc.abstractmethod
    def side_by_side(self) -> int:
        """Evaluations that may run together without filling the memory."""

    # ------------------------------------------------------------------ where to start
    def medians(self) -> Sites:
        """Sampled sites at the median of a few draws of the prior (improper ones near 1)."""
        return medians_of(self.hyper)

    def analytic_sites(self, earlier: Hyper | None) -> Sites:  # noqa: ARG002
        """Sites that an analytic answer or an earlier estimate's `hyper` implies; {} for none."""
        return {}

    @abc.abstractmethod
    def start_sites(self, earlier: Hyper | None, *, warm: bool) -> Sites:
        """Value of each sampled site for an optimiser to start from.

        From the `hyper` of an earlier estimate, an analytic answer or the prior's medians. With
        `warm`, and no earlier estimate, it may be brought nearer to the optimum.
        """

    def starts_from(self, earlier: Hyper) -> bool:  # noqa: ARG002
        """Whether the `hyper` of an earlier estimate is of use; if not, the user is told."""
        return True

    def sites_of(self, hyper: Hyper) -> Sites:
        """Entries of a `hyper` by the name of the site that is sampled, and the others too."""
        return hyper

    # ------------------------------------------------------------------ derivatives
    def evidence_hessian(
        self,
        hyper_of: Callable[[Array], Hyper],  # noqa: ARG002
        at: Float[Array, " unknowns"],  # noqa: ARG002
    ) -> Float[Array, "unknowns unknowns"] | None:
        """Second derivatives of ``log_evidence(hyper_of(u))`` at `at`; None without closed form."""
        return None


def medians_of(model: Callable[[], Any]) -> Sites:
    """Sampled sites of a NumPyro model at the median of a few draws (improper ones near 1)."""
    seeded = handlers.seed(model, jax.random.key(0))
    middle = handlers.substitute(seeded, substitute_fn=init_to_median(num_samples=15))
    trace = handlers.trace(middle).get_trace()
    return {n: site["value"] for n, site in trace.items() if site["type"] == "sample"}


def only_known(sites: Sites, values: Sites) -> Sites:
    """Other values for some of the sites; those of no site are left out."""
    return {name: values.get(name, value) for name, value in sites.items()}


def sites_named_alike(sites: Sites, hyper: dict[str, Any]) -> Sites:
    """Entries of an earlier estimate with name and shape of a site, draws averaged."""
    return {
        name: jnp.mean(hyper[name].reshape(-1, *site.shape), axis=0)
        for name, site in sites.items()
        if name in hyper and hyper[name].shape[-site.ndim or hyper[name].ndim :] == site.shape
    }


def seeded_hyper(marginal: Marginal, key: PRNGKeyArray) -> Hyper:
    """One draw of the hyper-parameters from their prior."""
    with handlers.seed(rng_seed=key):
        hyper = marginal.hyper()
    return {name: jnp.asarray(value) for name, value in hyper.items()}
