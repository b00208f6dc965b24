r"""Hyper-parameters from their prior, and data from the model, the sources integrated out.

.. math:: \theta \sim p(\theta), \qquad Y_t \sim N(0, \Sigma(\theta))
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PRNGKeyArray
from numpyro import handlers
from tqdm.auto import tqdm

from esijax.inference.collapsed.answers import marginal
from esijax.inference.collapsed.target import Target
from esijax.inference.method import Setup
from esijax.metrics.calibration.sbc import with_white_data
from esijax.models.marginals import PooledMarginal

CALL = 256  # simulations of a compiled call
TOGETHER = 5e7  # bytes of those that run side by side
MOST_TOGETHER = 32


def draw_hyper_data(setup: Setup, key: PRNGKeyArray) -> tuple[Float[Array, " unknowns"], Target]:
    """Unconstrained hyper-parameters, and their posterior given data that they made."""
    target = Target(marginal(setup))
    assert isinstance(target.marginal, PooledMarginal)  # others are refused
    k_hyper, k_data = jax.random.split(key)
    trace = handlers.trace(handlers.seed(target.marginal.hyper, k_hyper)).get_trace()
    sites = {n: site["value"] for n, site in trace.items() if site["type"] == "sample"}
    free = target.free(sites)
    root = jnp.linalg.cholesky(target.marginal.sigma(target.hyper(free)))
    data = root @ jax.random.normal(k_data, (len(root), n_samples(setup)))
    return ravel_pytree(free)[0], given_data(setup, data)


def given_data(setup: Setup, data: Float[Array, "rank samples"]) -> Target:
    """The posterior of the hyper-parameters for other whitened data."""
    known = with_white_data(setup.problem, data)
    return Target(marginal(eqx.tree_at(lambda s: s.problem, setup, known)))


def n_samples(setup: Setup) -> int:
    """Samples of all trials."""
    return setup.problem.data.size // setup.problem.rank


def for_each(
    function: Callable, given: Any, keys: Key[Array, " sets"], *, what: str, progress: bool
) -> Any:
    """Results of `function(given, key)` for each key, (sets, ...), in calls of a second or less.

    Parameters
    ----------
    function : callable
        Of a module, so that it is compiled once.
    given : tuple
        Setup, and whatever else it needs.
    keys : (sets,)
    what : str
        Name of the progress bar.
    progress : bool
    """
    together = _side_by_side(given[0])
    n = len(keys)
    filled = keys[jnp.arange(-(-n // CALL) * CALL) % n].reshape(-1, CALL)
    out = []
    with tqdm(total=n, desc=what, unit="set", disable=not progress, delay=2) as bar:
        for some in filled:
            out.append(jax.block_until_ready(_call(function, given, some, together)))
            bar.update(min(CALL, n - bar.n))
    return jax.tree.map(lambda *x: jnp.concatenate(x)[:n], *out)


def _side_by_side(setup: Setup) -> int:
    """Simulations of which covariances and their derivatives fit into the memory together."""
    problem = setup.problem
    n_unknowns = eqx.filter_eval_shape(marginal, setup).n_unknowns
    columns = problem.n_locations * problem.n_orients + n_samples(setup)
    each = 8 * problem.rank * (columns + 4 * n_unknowns * problem.rank)
    return int(min(max(TOGETHER // each, 1), MOST_TOGETHER))


@eqx.filter_jit
def _call(function, given, keys, together: int):
    return jax.lax.map(lambda key: function(given, key), keys, batch_size=together)
