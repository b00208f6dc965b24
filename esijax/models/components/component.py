r"""What a covariance component is, before it meets a problem."""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from esijax._types import InputError
from esijax.models.parts import Part, Separate, Whole, stacked
from esijax.models.source_cov import SourceCov
from esijax.problem import Problem


class Component(eqx.Module):
    """One covariance component, or a family of them; subclasses give `build`.

    `build` runs once, on the host, with concrete arrays: it may use anything. What it returns holds
    arrays alone, in units where all components of the family are equally strong; `Components` then
    scales each so that it alone gives a signal as strong as the noise.
    """

    @abc.abstractmethod
    def build(self, problem: Problem) -> Part:
        """Factors on the sources of the problem."""


class IID(Component):
    """Independent sources of equal variance (in units of the problem's scale): minimum norm."""

    def build(self, problem: Problem) -> Part:
        """All locations are one component."""
        n = problem.n_locations
        return Separate(jnp.ones(n), jnp.zeros(n, dtype=int), 1)


class Fixed(Component):
    """Any source covariance with the problem's scale in it, as one component."""

    cov: SourceCov

    def build(self, problem: Problem) -> Part:
        """The covariance itself."""
        return Whole(self.cov, problem.rank)


def normalised(part: Part, problem: Problem) -> Part:
    r"""Scale each component so that :math:`\operatorname{tr}(G C_k G^\top)` is the rank.

    Raises
    ------
    InputError
        If a component reaches no sensor.
    """
    factor, group = stacked((part,), problem.gain, problem.prior_scale)
    power = jnp.zeros(part.n).at[group].add(jnp.sum(factor**2, axis=0))
    silent = np.flatnonzero(~(np.asarray(power) > 0))
    if silent.size:
        raise InputError(
            f"component {silent[0]} of {part.n} reaches no sensor: it lies outside the source "
            "space, or on sources without lead field."
        )
    return part.scaled(problem.rank / power)
