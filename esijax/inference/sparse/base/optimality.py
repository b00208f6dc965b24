"""Diagnostics of a minimiser: gap, KKT distance, and whether they are within tolerance."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from esijax._types import Scalar
from esijax.estimate import Diagnostics


class Optimality(Diagnostics):
    r"""How close an answer is to the minimum, proved on all locations.

    Parameters
    ----------
    primal : ()
        Objective; with trials or times that are solved apart, their sum.
    gap : ()
        Objective minus a lower bound of its minimum; NaN where the penalty is not convex.
    kkt : ()
        Largest distance of zero to the subdifferential, over alpha times the weight.
    alpha, alpha_max : ()
        Weight of the penalty, and the smallest at which every source is zero. For analysis
        penalties (`TV`, `SISSY`, `Analysis`) alpha_max may only be an upper bound of the one at
        which no map sees anything; it is infinite where none is known.
    iterations, rounds : ()
        Newton or proximal steps, working sets.
    n_active : ()
        Locations that are not zero.
    converged : ()
    """

    primal: Scalar
    gap: Scalar
    kkt: Scalar
    alpha: Scalar
    alpha_max: Scalar
    iterations: Int[Array, ""]
    rounds: Int[Array, ""]
    n_active: Int[Array, ""]
    converged: Bool[Array, ""]

    @property
    def relative_gap(self) -> Scalar:
        """Gap over the objective; 0 for an objective of 0."""
        return jnp.where(self.primal > 0, self.gap / jnp.where(self.primal > 0, self.primal, 1), 0)

    def verdict(self) -> dict[str, Any]:
        """What `estimate.verdict()` says of the minimum, by name."""
        gap = float(self.gap)
        return {
            "converged": bool(self.converged),
            "objective": float(self.primal),
            "gap": gap if np.isfinite(gap) else None,
            "relative_gap": float(self.relative_gap) if np.isfinite(gap) else None,
            "kkt": float(self.kkt),
            "alpha": float(self.alpha),
            "alpha_max": float(self.alpha_max),
            "active": int(self.n_active),
            "iterations": int(self.iterations),
        }

    def doubts(self) -> tuple[str, ...]:
        """Say where it has not converged, or where every source is zero."""
        said = []
        if not bool(self.converged):
            said.append(
                f"not converged after {int(self.iterations)} iterations (gap "
                f"{float(self.relative_gap):.1e} of the objective, distance to the "
                f"subdifferential {float(self.kkt):.1e}): raise max_iter or tol"
            )
        if float(self.alpha) >= float(self.alpha_max) and int(self.n_active) == 0:
            said.append(
                f"every source is zero: alpha = {float(self.alpha):.6g} is not below alpha_max = "
                f"{float(self.alpha_max):.6g}; alpha grows with the data, esijax.relative(0.4) "
                "does not"
            )
        return tuple(said)
