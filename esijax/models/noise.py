r"""Sensor noise, defined on channels and carried through the whitener.

.. math:: E \sim N(0,\, W N(\theta) W^\top), \qquad W C W^\top = I

with C the noise covariance of the problem, so that `White` is the identity. Variances are relative
to C: 1 says that C was right.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from esijax._checks import warn
from esijax._types import InputError, check_positive, is_traced, scalar
from esijax.models.hyperpriors import HyperPrior, hyperprior
from esijax.problem import Problem, Whitener

Square = Float[Array, "rank rank"]


def around_one() -> dist.Distribution:
    """Variance relative to the given covariance: median 0.6, 90 % between 0.2 and 2.8."""
    return dist.InverseGamma(2.0, 1.0)


def _variance_prior(value: Any) -> HyperPrior:
    return hyperprior(around_one() if isinstance(value, str) and value == "around one" else value)


def _draw(prior: HyperPrior, n: int) -> dict[str, Array]:
    """Draw n variances under names of their own; "noise_scale" holds their roots."""
    with numpyro.handlers.scope(prefix="noise"):
        own = prior.sample(n, {})
    own = {f"noise/{name}": value for name, value in own.items()}
    variance = own.pop("noise/gamma")
    return {**own, "noise_var": variance, "noise_scale": jnp.sqrt(variance)}


def _start(prior: HyperPrior, variance: Array) -> dict[str, Array]:
    return {f"noise/{name}": value for name, value in prior.start(variance).items()}


class Noise(eqx.Module):
    """A noise model; subclasses draw its parameters and give its covariance."""

    def prepare(self, problem: Problem) -> "Noise":  # noqa: ARG002
        """Learn the sizes of a problem, once."""
        return self

    @abc.abstractmethod
    def hyper(self) -> dict[str, Array]:
        """Draw the parameters with `numpyro.sample`."""

    @abc.abstractmethod
    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:
        """Covariance of the whitened noise."""

    @property
    def n_variances(self) -> int:
        """How many unknown variances there are."""
        return 0

    @property
    def proper(self) -> bool:
        """Whether the parameters have a distribution."""
        return True

    def start(self, variance: Float[Array, " variances"]) -> dict[str, Array]:  # noqa: ARG002
        """Sampled sites at which the variances are these."""
        return {}


class White(Noise):
    """The noise is as the noise covariance says.

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.White()
    """

    def hyper(self) -> dict[str, Array]:
        """Nothing to learn."""
        return {}

    def dimensions(self, whitener: Whitener) -> Int[Array, " rank"]:
        """Give all dimensions the same variance, 1."""
        return jnp.zeros(whitener.matrix.shape[0], dtype=int)

    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:  # noqa: ARG002
        """Identity."""
        return jnp.eye(whitener.matrix.shape[0])


class LinearNoise(Noise):
    r"""Noise that is linear in unknown variances: :math:`W N W^\top = \sum_j v_j B_j B_j^\top`.

    Parameters
    ----------
    variance : numpyro distribution | HyperPrior | None
        Prior of the variances, relative to the given noise covariance; None is flat.
    """

    variance: eqx.AbstractVar[HyperPrior]

    @abc.abstractmethod
    def factor(
        self, whitener: Whitener
    ) -> tuple[Float[Array, "rank columns"], Int[Array, " columns"]]:
        """Factors B side by side, and the variance that each column belongs to."""

    def dimensions(self, whitener: Whitener) -> Int[Array, " rank"] | None:  # noqa: ARG002
        """Variance of each whitened dimension where the noise is diagonal there, else None."""
        return None

    def hyper(self) -> dict[str, Array]:
        """Draw the variances; "noise_scale" holds their roots."""
        return _draw(self.variance, self.n_variances)

    def start(self, variance: Float[Array, " variances"]) -> dict[str, Array]:
        """Sampled sites at which the variances are these."""
        return _start(self.variance, variance)

    @property
    def proper(self) -> bool:
        """Ask the prior of the variances."""
        return self.variance.proper

    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:
        """Sum of the components."""
        factor, member = self.factor(whitener)
        return (factor * hyper["noise_var"][member][None]) @ factor.T


class Scalar(LinearNoise):
    r"""One unknown factor for the whole noise covariance: :math:`N = v\, C`.

    Parameters
    ----------
    variance : numpyro distribution | None
        Prior of v; InverseGamma(2, 1) by default (median 0.6); None is flat.

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.Scalar()
    """

    variance: Any = eqx.field(converter=_variance_prior, default="around one")

    @property
    def n_variances(self) -> int:
        """One."""
        return 1

    def factor(
        self, whitener: Whitener
    ) -> tuple[Float[Array, "rank columns"], Int[Array, " columns"]]:
        """Identity."""
        rank = whitener.matrix.shape[0]
        return jnp.eye(rank), jnp.zeros(rank, dtype=int)

    def dimensions(self, whitener: Whitener) -> Int[Array, " rank"]:
        """Give all dimensions the same variance."""
        return jnp.zeros(whitener.matrix.shape[0], dtype=int)

    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:
        """The variance on the diagonal."""
        return hyper["noise_var"][0] * jnp.eye(whitener.matrix.shape[0])


class PerType(LinearNoise):
    r"""One unknown factor per sensor type: what M/EEG fusion needs.

    .. math:: N = \sum_t v_t\, E_t C E_t

    with :math:`E_t` the channels of type t. Types that C couples get one factor together:
    magnetometers and gradiometers do, where their noise was estimated in common.

    Parameters
    ----------
    variance : numpyro distribution | None
        Prior of each factor; InverseGamma(2, 1) by default; None is flat.

    Attributes
    ----------
    types : tuple of str
        Sensor types in the order of the factors, known once the problem is: ("grad+mag", "eeg").

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.PerType()
    """

    variance: Any = eqx.field(converter=_variance_prior, default="around one")
    types: tuple[str, ...] = eqx.field(static=True, default=())
    member: Int[Array, " channels"] | None = None
    within: Float[Array, "types rank rank"] | None = None
    own: Int[Array, " rank"] | None = None

    def prepare(self, problem: Problem) -> "PerType":
        """Read the types of the channels and join those that the noise covariance couples."""
        if self.types:
            return self
        kinds = problem.labels.ch_types
        if not kinds:
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


class Diagonal(LinearNoise):
    r"""Independent noise on each channel with unknown variances (heteroscedastic).

    .. math:: N = \operatorname{diag}(v_c\, C_{cc})

    Correlations of the given noise covariance are left aside; its projectors are kept.

    Parameters
    ----------
    variance : numpyro distribution | None
        Prior of each variance relative to the channel's own; InverseGamma(2, 1) by default.

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.Diagonal()
    """

    variance: Any = eqx.field(converter=_variance_prior, default="around one")
    n_channels: int = eqx.field(static=True, default=0)

    def prepare(self, problem: Problem) -> "Diagonal":
        """Count the channels."""
        return Diagonal(self.variance, problem.whitener.matrix.shape[1])

    @property
    def n_variances(self) -> int:
        """Number of channels."""
        if not self.n_channels:
            raise InputError("noise.Diagonal has not seen a problem: noise.prepare(problem) first.")
        return self.n_channels

    def factor(
        self, whitener: Whitener
    ) -> tuple[Float[Array, "rank columns"], Int[Array, " columns"]]:
        """Whitened channels."""
        std = jnp.sqrt(jnp.sum(whitener.colorer**2, axis=1))
        return whitener.matrix * std[None], jnp.arange(whitener.matrix.shape[1])


class LowRank(Noise):
    r"""Independent noise per channel and k common noise sources with unknown fields.

    .. math:: N = D^{1/2} (\operatorname{diag}(v) + L L^\top) D^{1/2}, \qquad
              L_{cj} \sim N(0, s^2), \qquad D = \operatorname{diag}(C)

    Without a baseline the fields L cannot be told from sources: only the prior keeps them apart.

    Parameters
    ----------
    k : int
        Number of common noise sources.
    scale : float
        s, standard deviation of the entries of L relative to the channel's noise.
    variance : numpyro distribution | None
        Prior of v; InverseGamma(2, 1) by default.

    Raises
    ------
    InputError
        If k is not a positive number or the scale is not positive.

    References
    ----------
    Cai et al. 2021, doi:10.1016/j.neuroimage.2020.117411.

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.LowRank(2)
    """

    k: int = eqx.field(static=True, default=1)
    scale: Any = eqx.field(converter=scalar, default=0.3)
    variance: Any = eqx.field(converter=_variance_prior, default="around one")
    n_channels: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        if not isinstance(self.k, int) or isinstance(self.k, bool) or self.k < 1:
            raise InputError(f"noise.LowRank needs a positive number of sources, got {self.k!r}.")
        check_positive(self.scale, "noise.LowRank: scale")

    def prepare(self, problem: Problem) -> "LowRank":
        """Count the channels; say what cannot be learned."""
        if self.n_channels:
            return self
        warn(
            "noise.LowRank: without a baseline its fields are told from sources by their prior "
            "alone; keep `scale` small, or estimate the noise covariance from a baseline."
        )
        return LowRank(self.k, self.scale, self.variance, problem.whitener.matrix.shape[1])

    def hyper(self) -> dict[str, Array]:
        """Draw the variances and the fields."""
        own = _draw(self.variance, self.n_variances)
        white = dist.Normal(jnp.zeros((self.n_channels, self.k)), 1.0).to_event(2)
        fields: Any = numpyro.sample("noise/fields", white)
        return {**own, "noise_fields": self.scale * fields}

    @property
    def n_variances(self) -> int:
        """Number of channels."""
        if not self.n_channels:
            raise InputError("noise.LowRank has not seen a problem: noise.prepare(problem) first.")
        return self.n_channels

    @property
    def proper(self) -> bool:
        """Ask the prior of the variances."""
        return self.variance.proper

    def start(self, variance: Float[Array, " variances"]) -> dict[str, Array]:
        """Fields that are small, and not zero: there the slope of L L' is zero."""
        waves = jnp.cos(
            jnp.pi * jnp.outer(jnp.arange(self.n_channels) + 0.5, jnp.arange(self.k) + 1)
        )
        fields = 0.1 * jnp.where(jnp.abs(waves) > 0.01, waves, 0.01)
        return {**_start(self.variance, variance), "noise/fields": fields}

    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:
        """Diagonal plus low rank, whitened."""
        std = jnp.sqrt(jnp.sum(whitener.colorer**2, axis=1))
        scaled = whitener.matrix * std[None]
        fields = scaled @ hyper["noise_fields"]
        return (scaled * hyper["noise_var"][None]) @ scaled.T + fields @ fields.T
