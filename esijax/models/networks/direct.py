r"""Direct networks: from one whitened sample to its sources, for one lead field.

.. math:: z = K y \quad\text{or}\quad
          z_l = e^{f_l(y / \lVert y \rVert)} K_l y, \qquad x = P z

What the physics says is in the weights here, so that they are of no use in another head: a
network keeps a digest of the lead field that it was made for, and refuses another.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.safe import divide, safe_sqrt
from esijax._types import Data, Gain, InputError, Sources, is_traced
from esijax.models.networks.network import PointNetwork
from esijax.problem import Problem

LAMBDA2 = 1 / 9  # of the minimum norm that a linear map begins as
WIDTH = 256  # hidden features of the MLP
GAIN = 5.0  # of hidden layers
LARGEST = 6.0  # logarithm of what a location lets through
SKETCH = 8  # random sums of channels, and of sources, in a digest
SAME = 1e-3  # relative difference of digests: what single precision leaves
Sample = Float[Array, " rank"]
PerSource = Float[Array, "locations orients"]


def lead_field_digest(problem: Problem) -> Float[np.ndarray, " numbers"]:
    """Give the sizes of a whitened lead field, and sums of its entries with random signs.

    It is that times the prior's scale: neither the unit of the sources nor the number of averages
    changes it, and rounding hardly; another head, noise covariance, or order of channels or
    locations does.

    Parameters
    ----------
    problem : Problem
        Not traced.

    Returns
    -------
    digest : (67,)
    """
    gain, scale = np.asarray(problem.gain), np.asarray(problem.prior_scale)
    left, right = (_signs(n, seed) for seed, n in enumerate((len(gain), scale.size)))
    sums = left.astype(gain.dtype) @ gain.reshape(len(gain), -1) * scale.reshape(1, -1)
    return np.concatenate([gain.shape, (sums @ right.T).ravel()])


def _signs(n: int, seed: int) -> Float[np.ndarray, "sketch n"]:
    """Random signs, the same wherever NumPy runs."""
    raw = np.asarray(np.random.PCG64(seed).random_raw(SKETCH * n))
    return np.where(raw >> np.uint64(63), 1.0, -1.0).reshape(SKETCH, n)


def same_lead_field(first: Any, second: Any) -> bool:
    """Whether two digests are of one lead field."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    apart, size = np.linalg.norm(first[3:] - second[3:]), np.linalg.norm(second[3:])
    return bool((first[:3] == second[:3]).all() and apart <= SAME * size)


class DirectNetwork(PointNetwork):
    """A map of single samples for one lead field; implement `of_sample`.

    Attributes
    ----------
    layers : dict of arrays
    digest : (67,)
        Of its lead field; put there by `of`.
    """

    layers: eqx.AbstractVar[dict[str, Array]]
    digest: eqx.AbstractVar[Any]
    kept: ClassVar[tuple[str, ...]] = ("digest",)
    one_head: ClassVar[bool] = True

    @abc.abstractmethod
    def of_sample(self, sample: Sample) -> PerSource:
        """Sources of one whitened sample, in units of the prior's scale."""

    @property
    def matrix(self) -> Float[Array, "locations orients rank"] | None:
        """The map; None where it is not linear."""
        return None

    def sources(self, gain: Gain, data: Data) -> Sources:  # noqa: ARG002
        """Sample by sample; the lead field is in the weights."""
        return jax.vmap(self.of_sample, in_axes=-1, out_axes=-1)(data)

    def of(self, problem: Problem) -> "DirectNetwork":
        """Say that it is for the lead field of this problem."""
        digest = jnp.asarray(lead_field_digest(problem), float)
        return eqx.tree_at(lambda n: n.digest, self, digest)

    def check(self, problem: Problem) -> None:
        """Raise InputError for another lead field than its own, as far as it can be looked at."""
        if is_traced(self.digest):
            return
        own = np.asarray(self.digest, float)
        same = tuple(own[:3]) == problem.gain.shape
        if same and not is_traced((problem.gain, problem.prior_scale)):
            same = same_lead_field(lead_field_digest(problem), own)
        if not same:
            raise InputError(
                "this network was made for another lead field (head, channels, noise covariance, "
                "sources), which is in its weights: train one for this head (ej.learn.Task of "
                "scenarios of this problem), or take inference.Unrolled, which serves any head."
            )


def check_one_head(problems: Sequence[Problem]) -> None:
    """Raise InputError unless all problems have one lead field.

    Parameters
    ----------
    problems : sequence of Problem
        That are to share a lead field.
    """
    different = list({id(p): p for p in problems}.values())
    first, *others = (lead_field_digest(p) for p in different)
    if not all(same_lead_field(digest, first) for digest in others):
        raise InputError(
            "a direct network is of one lead field, and the scenarios have several: give those of "
            "one problem (any heads may make their data), or train a network whose input the lead "
            "field is ('mesh', 'ista')."
        )


class LinearMap(DirectNetwork):
    r"""A matrix; it begins as the kernel of the minimum norm.

    .. math:: K = A^\top (A A^\top + \lambda^2 I)^{-1}, \qquad \lambda^2 = 1 / 9

    with the whitened lead field A times the prior's scale.

    Parameters
    ----------
    key : PRNG key
        Of no use here: nothing is drawn.
    n_locations, n_orients, rank : int
        Sizes; the matrix is zero. `untrained` gives the kernel of a problem.

    References
    ----------
    Hämäläinen and Ilmoniemi 1994, doi:10.1007/BF02512476.
    """

    layers: dict[str, Array]
    digest: Any
    sized_by: ClassVar[str] = "map"

    def __init__(self, key: PRNGKeyArray, n_locations: int, n_orients: int, rank: int):  # noqa: ARG002
        self.layers = {"map": jnp.zeros((n_locations, n_orients, rank)), "log_size": jnp.zeros(())}
        self.digest = jnp.zeros(3 + SKETCH**2)

    @classmethod
    def untrained(cls, key: PRNGKeyArray, problem: Problem) -> "LinearMap":
        """Minimum norm of a problem, its entries of order one and their size apart."""
        gain = problem.gain * problem.prior_scale[None]
        columns = gain.reshape(problem.rank, -1)
        filtered = jnp.linalg.inv(columns @ columns.T + LAMBDA2 * jnp.eye(problem.rank)) @ columns
        size = jnp.sqrt(jnp.mean(filtered**2))
        layers = {"map": filtered.T.reshape(*gain.shape[1:], -1) / size, "log_size": jnp.log(size)}
        network = cls(key, *gain.shape[1:], problem.rank).of(problem)
        return eqx.tree_at(lambda n: n.layers, network, layers)

    @property
    def matrix(self) -> Float[Array, "locations orients rank"]:
        """The map."""
        return jnp.exp(self.layers["log_size"]) * self.layers["map"]

    def of_sample(self, sample: Sample) -> PerSource:
        """One product."""
        return self.matrix @ sample


class MLP(DirectNetwork):
    r"""A matrix, and two hidden layers that say how much of it each location lets through.

    .. math:: z_l = e^{f_l(u)}\, K_l y, \qquad u = \sqrt r\, y / \lVert y \rVert

    for rank r; f is bounded, and zero before training: the minimum norm. A sample twice as large
    has a map twice as large.

    Parameters
    ----------
    key : PRNG key
        Of the random numbers.
    n_locations, n_orients, rank : int
        Sizes; the matrix is zero. `untrained` gives the kernel of a problem.
    width : int
        Width of the hidden layers.

    References
    ----------
    Hecker et al. 2021, doi:10.3389/fnins.2021.569918 (a network for one lead field).
    """

    layers: dict[str, Array]
    digest: Any

    def __init__(
        self, key: PRNGKeyArray, n_locations: int, n_orients: int, rank: int, width: int = WIDTH
    ):
        first, second = jax.random.split(key)
        linear = LinearMap(key, n_locations, n_orients, rank)
        self.layers = {
            "w1": jax.random.normal(first, (rank, width)) / GAIN,
            "b1": jnp.zeros(width),
            "w2": jax.random.normal(second, (width, width)) / GAIN,
            "b2": jnp.zeros(width),
            "w3": jnp.zeros((width, n_locations)),
            "b3": jnp.zeros(n_locations),
            **linear.layers,
        }
        self.digest = linear.digest

    @classmethod
    def untrained(cls, key: PRNGKeyArray, problem: Problem) -> "MLP":
        """Minimum norm of a problem, all of it let through."""
        linear = LinearMap.untrained(key, problem)
        network = cls(key, *linear.layers["map"].shape)
        layers = network.layers | linear.layers
        return eqx.tree_at(lambda n: (n.layers, n.digest), network, (layers, linear.digest))

    @classmethod
    def of_shapes(cls, shapes: Mapping[str, tuple[int, ...]]) -> "MLP":
        """Network of the sizes of some arrays."""
        n_locations, n_orients, rank = shapes["map"]
        (width,) = shapes["b1"]
        return cls(jax.random.key(0), n_locations, n_orients, rank, width)

    def of_sample(self, sample: Sample) -> PerSource:
        """Minimum norm, times what the hidden layers say."""
        w = self.layers
        x = divide(sample, safe_sqrt(jnp.sum(sample**2))) * len(sample) ** 0.5
        x = jax.nn.gelu(_dense(x, w["w1"], w["b1"]))
        x = jax.nn.gelu(_dense(x, w["w2"], w["b2"]))
        passed = jnp.exp(LARGEST * jnp.tanh(_dense(x, w["w3"], w["b3"]) / LARGEST))
        return passed[:, None] * (jnp.exp(w["log_size"]) * w["map"] @ sample)


def _dense(x, weights, bias):
    """One layer, its weights in units in which the learning rate of the matrix suits them."""
    return GAIN * (x @ weights) / len(weights) ** 0.5 + bias
