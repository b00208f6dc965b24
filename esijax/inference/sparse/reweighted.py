r"""A fixed number of convex problems, each with the weights of the last answer.

.. math:: Z^{k+1} = \arg\min_Z \tfrac12 \lVert Y - G P Z \rVert_F^2
   + \alpha \sum_l w(Z^k_l) \lVert Z_l \rVert
"""

from typing import Any, ClassVar

import equinox as eqx

from esijax._types import InputError, scalar
from esijax.inference.method import Setup
from esijax.inference.sparse.families import family_of
from esijax.inference.sparse.map import MAP
from esijax.models.penalties import Penalty


class Reweighted(MAP):
    r"""Iteratively reweighted norms: sparser and less biased than the convex answer (irMxNE).

    .. math:: Z^{k+1} = \arg\min_Z \tfrac12 \lVert Y - G P Z \rVert_F^2 + \alpha \sum_l
       \frac{\lVert Z_l \rVert}{2 \sqrt{\lVert Z^k_l \rVert}}

    Each step solves the majoriser of :math:`\sum_l \sqrt{\lVert Z_l \rVert}` at the last answer,
    the first one the convex problem itself; locations at zero stay there. With `Lrq` the power is
    its own, with `TimeFrequency` (irTF-MxNE) the norms of locations and the coefficients are under
    the root alike. The objective of the power never rises. `MAP` with `Lrq` goes on until nothing
    moves.

    Parameters
    ----------
    n : int
        Convex problems, the first included.
    solver, tol, max_iter : str, float, int
        As for `MAP`.

    Raises
    ------
    InputError
        For parameters out of range, a model that is not `L21`, `L1`, `Lrq` or `TimeFrequency`.

    References
    ----------
    Strohmeier et al. 2016, doi:10.1109/TMI.2016.2553445; 2015,
    doi:10.1109/PRNI.2015.14 (irTF-MxNE); Candès, Wakin and Boyd 2008,
    doi:10.1007/s00041-008-9045-x.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]] * np.hanning(9), noise_cov=1.0)
    >>> estimate = ej.solve(problem, ej.models.L21(ej.relative(0.5)), ej.inference.Reweighted(5))
    >>> [int(i) for i in np.flatnonzero(abs(estimate.mean).sum((1, 2)))]
    [3]
    """

    n: int = eqx.field(static=True, default=10)
    takes_robust: ClassVar[bool] = False

    def __init__(self, n: int = 10, solver: str = "auto", tol: Any = 1e-6, max_iter: int = 1000):
        if not (isinstance(n, int) and n >= 1):
            raise InputError(f"n must be a positive integer, got {n!r}.")
        self.n, self.solver, self.tol, self.max_iter = n, solver, scalar(tol), max_iter

    def check(self, setup: Setup) -> None:
        """Take the norms that reweighting makes sparser."""
        super().check(setup)
        if self.solver == "fista" or not family_of(setup.model).reweights:
            raise InputError(
                "Reweighted is for L21, L1 and Lrq, solved by Newton's method, and TimeFrequency."
            )

    def turns(self, model: Penalty) -> int | None:  # noqa: ARG002
        """Convex problems that were asked for."""
        return self.n
