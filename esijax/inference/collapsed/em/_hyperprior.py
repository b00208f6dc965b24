r"""The log hyper-prior of all variances, as the updates of expectation maximisation need it.

Each update maximises, component by component, a bound of one shape plus the log hyper-prior,

.. math:: -a \log \gamma - \frac{b}{\gamma} - c\, \gamma + \log p(\gamma)

Flat, Gamma, Exponential and InverseGamma hyper-priors have that shape themselves: Gamma(s, rate)
adds a = 1 - s, c = rate; InverseGamma(s, scale) adds a = s + 1, b = scale; and the maximum is the
root of :math:`c \gamma^2 + a \gamma - b = 0`. Any other density is maximised by Newton's method in
:math:`\log \gamma`, which never lowers the bound.
"""

import abc
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from jaxtyping import Array

from esijax._ops.safe import divisor
from esijax._ops.stop_gradient import stop_gradient
from esijax._types import InputError, Scalar, is_traced
from esijax.inference.collapsed.em._sensor import Variances, floor
from esijax.models._variance_blocks import VarianceBlock, variance_blocks

NEWTON_STEPS = 24
WIDEST = 8.0  # Newton step in the logarithm


class VariancePrior(eqx.Module):
    """Log hyper-prior of some variances."""

    @abc.abstractmethod
    def value(self, gamma: Variances) -> Scalar:
        """Log density, summed."""

    @abc.abstractmethod
    def gradient(self, gamma: Variances) -> Variances:
        """Derivative with respect to log gamma."""

    @abc.abstractmethod
    def maximum(self, a: Variances, b: Variances, c: Variances, gamma: Variances) -> Variances:
        r"""Maximiser of :math:`-a \log \gamma - b / \gamma - c \gamma + \log p(\gamma)`.

        `gamma` is where a search starts; b and c are not negative.
        """

    @abc.abstractmethod
    def log_bounds(self, n: int) -> tuple[Variances, Variances]:
        """Logarithms of the ends of the support."""


class ConjugatePrior(VariancePrior):
    r"""A log density :math:`-a \log\gamma - b / \gamma - c \gamma + d` of each variance."""

    a: Variances
    b: Variances
    c: Variances
    d: Variances

    def value(self, gamma: Variances) -> Scalar:
        """Sum over the components."""
        return jnp.sum(self.d - self.a * jnp.log(gamma) - self.b / gamma - self.c * gamma)

    def gradient(self, gamma: Variances) -> Variances:
        """Derivative with respect to log gamma."""
        return -self.a + self.b / gamma - self.c * gamma

    def maximum(self, a: Variances, b: Variances, c: Variances, gamma: Variances) -> Variances:  # noqa: ARG002
        """The positive root of c gamma^2 + a gamma - b."""
        return positive_root(a + self.a, b + self.b, c + self.c)

    def log_bounds(self, n: int) -> tuple[Variances, Variances]:
        """None: all positive numbers are in the support."""
        return jnp.full(n, -jnp.inf), jnp.full(n, jnp.inf)


class DensityPrior(VariancePrior):
    """Any density on positive numbers."""

    block: VarianceBlock

    def value(self, gamma: Variances) -> Scalar:
        """Sum over the components."""
        return jnp.sum(self.block.log_density(jnp.log(gamma)))

    def gradient(self, gamma: Variances) -> Variances:
        """Derivative with respect to log gamma."""
        return jax.grad(lambda u: jnp.sum(self.block.log_density(u)))(jnp.log(gamma))

    def log_bounds(self, n: int) -> tuple[Variances, Variances]:  # noqa: ARG002
        """Those of the distribution."""
        return self.block.log_bounds

    def maximum(self, a: Variances, b: Variances, c: Variances, gamma: Variances) -> Variances:
        """Newton's method in the logarithm, a fixed number of steps, none of them downwards.

        A step that would lower the bound is taken back, and the next is at most a quarter as long.
        """
        low, high = self.log_bounds(self.block.n)
        low = jnp.maximum(low, floor(gamma))

        def derivatives(u, a, b, c, block):
            def gradient(u):
                density = jax.grad(lambda v: jnp.sum(block.log_density(v)))(u)
                return -a + b * jnp.exp(-u) - c * jnp.exp(u) + density

            return jax.jvp(gradient, (u,), (jnp.ones_like(u),))

        given = (a, b, c, self.block)
        fixed, limits = stop_gradient(given), stop_gradient((low, high))

        def value(u):
            a, b, c, block = fixed
            return -a * u - b * jnp.exp(-u) - c * jnp.exp(u) + block.log_density(u)

        def step(_, state):
            u, best, width = state
            first, second = derivatives(u, *fixed)
            newton = -first / jnp.where(second < 0, second, -1.0)
            move = jnp.where(second < 0, newton, jnp.sign(first) * width)
            trial = jnp.clip(u + jnp.clip(move, -width, width), *limits)
            tried = value(trial)
            better = tried >= best
            width = jnp.where(better, jnp.minimum(2 * width, WIDEST), width / 4)
            return jnp.where(better, trial, u), jnp.where(better, tried, best), width

        start = jnp.clip(jnp.log(stop_gradient(gamma)), *limits)
        state = (start, value(start), jnp.ones_like(start))
        u = stop_gradient(jax.lax.fori_loop(0, NEWTON_STEPS, step, state)[0])
        # the derivative of the maximiser, by the implicit function theorem; the value stays
        first, second = derivatives(u, *given)
        inside = (u > limits[0]) & (u < limits[1]) & (second < 0)
        change = (first - stop_gradient(first)) / jnp.where(inside, stop_gradient(-second), 1.0)
        u = jnp.where(inside, u + change, u)
        return jnp.exp(jnp.where(u >= high, high, jnp.where(u <= low, low, u)))


class BlockwisePrior(VariancePrior):
    """Variances of several blocks, one after the other, each with a prior of its own."""

    pieces: tuple[VariancePrior, ...]
    sizes: tuple[int, ...] = eqx.field(static=True)

    def _split(self, values: Array) -> list[Array]:
        ends = list(itertools.accumulate(self.sizes, initial=0))
        return [values[a:b] for a, b in itertools.pairwise(ends)]

    def _each(self, *values: Variances):
        return zip(self.pieces, *map(self._split, values), strict=True)

    def value(self, gamma: Variances) -> Scalar:
        """Sum over the blocks."""
        return sum((own.value(g) for own, g in self._each(gamma)), start=jnp.zeros(()))

    def gradient(self, gamma: Variances) -> Variances:
        """Side by side."""
        return jnp.concatenate([own.gradient(g) for own, g in self._each(gamma)])

    def maximum(self, a: Variances, b: Variances, c: Variances, gamma: Variances) -> Variances:
        """Block by block."""
        return jnp.concatenate([own.maximum(*rest) for own, *rest in self._each(a, b, c, gamma)])

    def log_bounds(self, n: int) -> tuple[Variances, Variances]:  # noqa: ARG002
        """Side by side."""
        each = [own.log_bounds(k) for own, k in zip(self.pieces, self.sizes, strict=True)]
        low, high = (jnp.concatenate(ends) for ends in zip(*each, strict=True))
        return low, high


def positive_root(a: Variances, b: Variances, c: Variances) -> Variances:
    r"""Root of :math:`c \gamma^2 + a \gamma - b = 0` for b, c >= 0, without cancellation."""
    square = a**2 + 4 * b * c
    root = jnp.sqrt(divisor(square))
    root = jnp.where(square > 0, root, 0.0)
    low = a + root  # a > 0: 2 b / (a + root)
    high = 2 * c  # a <= 0: (root - a) / (2 c)
    small = 2 * b / jnp.where((a > 0) & (low > 0), low, 1.0)
    large = (root - a) / divisor(high)
    return jnp.where(a > 0, small, jnp.where(high > 0, large, 0.0))


# ---------------------------------------------------------------- from distributions
def log_hyperprior(distributions: tuple[dist.Distribution, ...]) -> VariancePrior:
    """Log hyper-prior of all blocks of variances."""
    blocks = variance_blocks(distributions)
    pieces = tuple(_of_block(block) for block in blocks)
    conjugate = [own for own in pieces if isinstance(own, ConjugatePrior)]
    if len(conjugate) == len(pieces):
        return jax.tree.map(lambda *x: jnp.concatenate(x), *conjugate)
    return BlockwisePrior(pieces, tuple(block.n for block in blocks))


def _of_block(block: VarianceBlock) -> VariancePrior:
    law, zero = block.law, jnp.zeros(block.n)
    if not block.proper:
        return ConjugatePrior(zero, zero, zero, zero)
    if isinstance(law, dist.Exponential):
        rate = law.rate + zero
        return ConjugatePrior(zero, zero, rate, jnp.log(rate))
    if isinstance(law, dist.Gamma):  # Chi2 is one; InverseGamma is not derived from it
        shape, rate = law.concentration + zero, law.rate + zero
        constant = shape * jnp.log(rate) - gammaln(shape)
        return ConjugatePrior(1.0 - shape, zero, rate, constant)
    if isinstance(law, dist.InverseGamma):
        shape, scale = law.concentration + zero, law.rate + zero
        constant = shape * jnp.log(scale) - gammaln(shape)
        return ConjugatePrior(shape + 1.0, scale, zero, constant)
    return DensityPrior(block)


def check_bounded(distributions: tuple[dist.Distribution, ...]) -> None:
    """Refuse densities that grow without limit: no most probable variance exists."""
    for block in variance_blocks(distributions):
        if block.proper and not is_traced(block):
            with jax.ensure_compile_time_eval():  # within jit the numbers are known all the same
                _check_ends(block)


def _check_ends(block: VarianceBlock) -> None:
    low, high = block.log_bounds
    least = floor(low)
    slope = jax.grad(lambda u: jnp.sum(block.log_density(u)))(jnp.full(block.n, least))
    end = None
    if bool(jnp.any((low < least) & (slope < -1e-6))):
        end = "zero"
    elif bool(jnp.any(jnp.isfinite(high) & jnp.isposinf(block.log_density(high)))):
        end = f"{float(jnp.exp(jnp.min(high))):g}"
    if end is not None:
        raise InputError(
            f"{_law_name(block)} is unbounded at {end}, so that no most probable variance exists: "
            "take another distribution (a Gamma of concentration >= 1, LogNormal), or "
            "inference.NUTS."
        )


def _law_name(block: VarianceBlock) -> str:
    law = block.law
    if isinstance(law, dist.Gamma):
        return f"Gamma({float(jnp.min(law.concentration)):g}, ...)"
    return type(law).__name__
