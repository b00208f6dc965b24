r"""What a covariance component is, before it meets a problem; sums and products of components."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from esijax._types import InputError, check_positive, is_number, is_traced
from esijax.models.components._product import product
from esijax.models.parts import Joined, Part, Separate, Whole, stacked
from esijax.models.source_cov import SourceCov
from esijax.problem import Problem


class Component(eqx.Module):
    """One covariance component, or a family of them; subclasses give `build`.

    `build` runs once, on the host, with concrete arrays: it may use anything. What it returns holds
    arrays alone, in units where all components of the family are equally strong; `Components` then
    scales each so that it alone gives a signal as strong as the noise.

    ``a + b`` is one component with both covariances under one variance (first made equally strong;
    ``0.3 * a + b`` gives the first 0.3 times the power of the second). ``a * b`` is the elementwise
    product of the covariances, as kernels multiply: a map times anything scales its rows and
    columns.
    """

    @abc.abstractmethod
    def build(self, problem: Problem) -> Part:
        """Factors on the sources of the problem."""

    def __add__(self, other: Any) -> "Plus":
        return Plus((*_terms(self), *_terms(other)))

    def __mul__(self, other: Any) -> "Component":
        if is_number(other):
            return Weighted(self, other)
        return Times(self, _component(other))

    def __rmul__(self, other: Any) -> "Component":
        return self * other


class IID(Component):
    """Independent sources of equal variance (in units of the problem's scale): minimum norm.

    Examples
    --------
    >>> import esijax as ej
    >>> prior = ej.models.Components(ej.models.components.IID())
    """

    def build(self, problem: Problem) -> Part:
        """All locations are one component."""
        n = problem.n_locations
        return Separate(jnp.ones(n), jnp.zeros(n, dtype=int), 1)


class Fixed(Component):
    """Any source covariance with the problem's scale in it, as one component.

    Parameters
    ----------
    cov : SourceCov
        The covariance.

    Raises
    ------
    InputError
        If it is for another number of sources.
    """

    cov: SourceCov

    def build(self, problem: Problem) -> Part:
        """The covariance itself."""
        shape = eqx.filter_eval_shape(self.cov.blocks).shape[:2]
        if shape != problem.gain.shape[1:]:
            raise InputError(
                f"the source covariance is for {shape} (locations, orients), the problem has "
                f"{problem.gain.shape[1:]}."
            )
        return Whole(self.cov, problem.rank)


class Weighted(Component):
    """A component with its share in a sum."""

    component: Component
    weight: float = eqx.field(static=True, converter=float)

    def __check_init__(self):
        check_positive(self.weight, "the weight of a component")

    def build(self, problem: Problem) -> Part:
        """The component, of power 1 at the sensors times its share."""
        part = normalised_part(self.component.build(problem), problem)
        return part.scaled(jnp.full(part.n, self.weight))


class Plus(Component):
    """Sum of components under one variance."""

    terms: tuple[Component, ...]

    def build(self, problem: Problem) -> Part:
        """Terms made equally strong (times their weights) and joined."""
        parts = []
        for term in self.terms:
            weighted = isinstance(term, Weighted)
            part = term.build(problem)
            parts.append(part if weighted else normalised_part(part, problem))
        sizes = {part.n for part in parts}
        if len(sizes) > 1:
            raise InputError(
                f"components of a sum must be as many as each other, got {[p.n for p in parts]}: "
                "to let each have its own variance give Components a list."
            )
        return Joined(tuple(parts), parts[0].n)


class Times(Component):
    """Elementwise product of two covariances."""

    left: Component
    right: Component

    def build(self, problem: Problem) -> Part:
        """Product of the factors."""
        return product(self.left.build(problem), self.right.build(problem), problem.prior_scale)


def _terms(given: Any) -> tuple[Component, ...]:
    given = _component(given)
    return given.terms if isinstance(given, Plus) else (given,)


def _component(given: Any) -> Component:
    if not isinstance(given, Component):
        raise InputError(f"only components add and multiply, got {given!r:.60}.")
    return given


def normalised_part(part: Part, problem: Problem) -> Part:
    r"""Scale each component so that :math:`\operatorname{tr}(G C_k G^\top)` is the rank.

    Raises
    ------
    InputError
        If a component reaches no sensor.
    """
    factor, group = stacked((part,), problem.gain, problem.prior_scale)
    power = jnp.zeros(part.n).at[group].add(jnp.sum(factor**2, axis=0))
    if not is_traced(power):
        silent = np.flatnonzero(~(np.asarray(power) > 0))
        if silent.size:
            raise InputError(
                f"component {silent[0]} of {part.n} reaches no sensor: it lies outside the source "
                "space, or on sources without lead field."
            )
    return part.scaled(problem.rank / power)
