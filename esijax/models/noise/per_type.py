"""A factor per sensor type."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from esijax._types import InputError, is_traced
from esijax.models.noise.noise import LinearNoise, Noise, Square, variance_prior
from esijax.models.noise.scalar import Scalar
from esijax.problem import Problem, Whitener


class PerType(LinearNoise):
    r"""One unknown factor per sensor type: what M/EEG fusion needs.

    .. math:: N = \sum_t v_t\, E_t C E_t

    with :math:`E_t` the channels of type t. Types that C couples get one factor together:
    magnetometers and gradiometers do, where their noise was estimated in common.

    Parameters
    ----------
    variance : numpyro distribution | None
        Prior of each factor; InverseGamma(2, 1) by default; None is flat.
    types : tuple of str
        Set by `prepare`: sensor types in the order of the factors.
    member, within, own : arrays, optional
        Set by `prepare`: the factor of each channel, and the noise of each type in whitened axes.

    Attributes
    ----------
    types : tuple of str
        Sensor types in the order of the factors, known once the problem is: ("grad+mag", "eeg").

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.PerType()
    """

    variance: Any = eqx.field(converter=variance_prior, default="around one")
    types: tuple[str, ...] = eqx.field(static=True, default=())
    member: Int[Array, " channels"] | None = None
    within: Float[Array, "types rank rank"] | None = None
    own: Int[Array, " rank"] | None = None

    def prepare(self, problem: Problem) -> "PerType":
        """Read the types of the channels and join those that the noise covariance couples."""
        if self.types:
            return self
        kinds = problem.labels.ch_types
        if not kinds or "unknown" in kinds:
            raise InputError("noise.PerType needs channel types: from_arrays(..., ch_types=...).")
        if is_traced(problem.whitener):
            raise InputError(
                "noise.PerType looks at the whitener and cannot see through jit, vmap or grad: "
                "call `noise = noise.prepare(problem)` outside, and use that inside."
            )
        with jax.ensure_compile_time_eval():  # the whitener is known, also while jit traces
            names = list(dict.fromkeys(kinds))
            kind = np.array([names.index(k) for k in kinds])
            groups = _coupled(problem.whitener, kind, len(names))
            member = jnp.asarray([groups[k] for k in kind])
            types = tuple(
                "+".join(n for n, g in zip(names, groups, strict=True) if g == group)
                for group in range(max(groups) + 1)
            )
            own = _own_dimensions(problem.whitener, np.asarray(member), len(types))
            onto = jnp.stack([_onto(problem.whitener, member == t) for t in range(len(types))])
            # sums of products are kept: a sampler asks for the covariance thousands of times
            within = onto @ jnp.swapaxes(onto, 1, 2)
        return PerType(self.variance, types, member, within, own)

    def dimensions(self, whitener: Whitener) -> Int[Array, " rank"] | None:  # noqa: ARG002
        """Type of each whitened dimension; a whitener may mix them (None)."""
        return self.own

    @property
    def n_variances(self) -> int:
        """Number of types."""
        if not self.types:
            raise InputError("noise.PerType has not seen a problem: noise.prepare(problem) first.")
        return len(self.types)

    def factor(
        self, whitener: Whitener
    ) -> tuple[Float[Array, "rank columns"], Int[Array, " columns"]]:
        """Projections onto the types, W E_t W^+."""
        n, member = self.n_variances, jnp.asarray(self.member)
        factors = [_onto(whitener, member == t) for t in range(n)]
        return jnp.concatenate(factors, axis=1), jnp.repeat(jnp.arange(n), len(factors[0]))

    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:  # noqa: ARG002
        """Sum over the types."""
        return jnp.tensordot(hyper["noise_var"], jnp.asarray(self.within), 1)


def learned_level(problem: Problem) -> Noise:
    """A factor for each sensor type, prepared; one for all where types are unknown."""
    kinds = problem.labels.ch_types
    return (PerType() if kinds and "unknown" not in kinds else Scalar()).prepare(problem)


def _onto(whitener: Whitener, chosen: Any) -> Square:
    """Projection of white space onto some channels, W E W^+."""
    return whitener.matrix @ jnp.where(chosen[:, None], whitener.colorer, 0.0)


def _own_dimensions(whitener: Whitener, member: np.ndarray, n: int) -> Array | None:
    """Type of each whitened dimension, where W E_t W^+ picks dimensions out."""
    picked = [np.asarray(_onto(whitener, member == t)) for t in range(n)]
    own = np.argmax([np.diag(p) for p in picked], axis=0)
    mixed = max(np.abs(p - np.diag(own == t)).max() for t, p in enumerate(picked))
    return jnp.asarray(own) if mixed < 1e-10 else None


def _coupled(whitener: Whitener, member: np.ndarray, n: int) -> list[int]:
    """Group of each type; types that the noise covariance couples share one."""
    onto = [np.asarray(_onto(whitener, member == t)) for t in range(n)]
    group = list(range(n))
    for a in range(n):
        for b in range(a + 1, n):
            if np.abs(onto[a] @ onto[b].T).max() > 1e-3:
                group = [group[a] if g == group[b] else g for g in group]
    return [sorted(set(group)).index(g) for g in group]
