"""A linear map for live data, from the variances of some data before."""

from typing import Any

from jaxtyping import Array, Float

from esijax.inference import Unrolled, solve
from esijax.models import ARD
from esijax.problem import Problem


def kernel(network: Any, problem: Problem) -> Float[Array, "locations orients channels"]:
    """Map from a sample to the mean of its sources, at the variances that the problem's data give.

    Made anew every second or so from the latest data, it follows what is active; in between a
    sample costs one product.

    Parameters
    ----------
    network : Trained | VarianceNetwork | None
        None: the one that comes with esijax.
    problem : Problem
        With the latest data.

    Returns
    -------
    kernel : (locations, orients, channels)
        ``kernel.reshape(-1, n_channels) @ sample`` is the map of one sample, A m.

    Raises
    ------
    InputError
        As of `Unrolled`.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain, positions = rng.standard_normal((8, 12)), 0.03 * rng.standard_normal((12, 3))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [4]], noise_cov=1.0, positions=positions)
    >>> live = ej.learn.kernel(None, problem)
    >>> int(abs(live.reshape(12, 8) @ problem.recording[:, 0]).argmax())
    4
    """
    return solve(problem, ARD(), Unrolled(network)).kernel
