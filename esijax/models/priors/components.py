r"""The covariance components prior: any parts of the brain, their variances unknown."""

import dataclasses
from typing import Any

import equinox as eqx

from esijax._types import InputError
from esijax.models.components.component import Component, normalised_part
from esijax.models.components.read import read_components
from esijax.models.hyperpriors import hyperprior
from esijax.models.parts import Part
from esijax.models.priors.linear import OneLevel, sparse_variances
from esijax.problem import Problem

SPARSE = "InverseGamma(1, 0.05)"


def _local_prior(value: Any) -> Any:
    """Read the field `local`; by default most components are weak."""
    return hyperprior(sparse_variances() if isinstance(value, str) and value == SPARSE else value)


class Components(OneLevel):
    r"""Covariance components with unknown variances.

    .. math:: X \sim N\Big(0, \sum_k \gamma_k C_k\Big), \qquad
              \operatorname{tr}(G C_k G^\top) = \text{rank}

    so that :math:`\gamma_k` is the power of component k at the sensors, relative to the noise.

    Parameters
    ----------
    components : Component | list
        What may be active: objects of `esijax.models.components` (patches, labels, kernels, maps,
        ...), their sums and products; a string ("iid", "smooth", "ebb", "depth", "patches",
        "msp"), a (locations, locations) covariance, a (locations, columns) factor, a (locations,)
        map of floats, location numbers, a mask, or an `mne.Label`.
    local : numpyro distribution | HyperPrior | None
        Prior of each :math:`\gamma_k`; InverseGamma(1, 0.05) by default: most components are weak,
        5 % as strong as the noise or stronger. None is flat.
    built : tuple of Part, optional
        Set by `prepare`: the components on a problem's locations.

    Raises
    ------
    InputError
        For something that is no component, a component outside the source space or that reaches no
        sensor, a matrix that is not positive semi-definite.

    References
    ----------
    Friston et al. 2008, doi:10.1016/j.neuroimage.2007.09.048; Wipf and Nagarajan 2009,
    doi:10.1016/j.neuroimage.2008.02.059.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :2], noise_cov=1.0)
    >>> prior = ej.models.Components([np.arange(6), np.arange(6, 12)])
    >>> ej.solve(problem, prior, ej.inference.EM()).hyper["gamma"].shape
    (2,)
    """

    # ty takes the abstract field of the base class for one with a default
    components: tuple[Component, ...] = eqx.field(  # ty: ignore[invalid-dataclass-field-order]
        converter=read_components
    )
    local: Any = eqx.field(converter=_local_prior, default=SPARSE)
    built: tuple[Part, ...] | None = None

    def __check_init__(self):
        if not self.components and self.built is None:
            raise InputError("Components needs at least one component.")

    def prepare(self, problem: Problem) -> "Components":
        """Build the factors for this problem's sources, unless it was done before."""
        if self.built is not None:
            return self
        # what the factors were built from is not carried along
        parts = tuple(normalised_part(c.build(problem), problem) for c in self.components)
        return dataclasses.replace(
            self, components=(), built=parts
        )  # the matrices are not kept twice

    def parts(self, problem: Problem) -> tuple[Part, ...]:
        """Components on the sources of the problem."""
        built = self.prepare(problem).built
        return () if built is None else built

    def n_components(self, sizes: dict[str, int]) -> int:  # noqa: ARG002
        """Sum over the families."""
        if self.built is None:
            raise InputError("Components have not seen a problem: prior.prepare(problem) first.")
        return sum(part.n for part in self.built)
