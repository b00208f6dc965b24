"""Norms of linear maps of the sources as a descent."""

import equinox as eqx

from esijax._ops.stop_gradient import stop_gradient
from esijax.inference.sparse.analysis.derivative import primal_dual_minimiser
from esijax.inference.sparse.analysis.primal_dual import (
    STEPS_PER_ROUND,
    GainSpectrum,
    PrimalDualState,
    primal_dual_round,
    primal_dual_start,
    spectrum_of,
)
from esijax.inference.sparse.base.answer import SparseAnswer, pack_info
from esijax.inference.sparse.base.descent import Descent
from esijax.inference.sparse.base.gap import Limits, goes_on
from esijax.models.penalties import Analysis
from esijax.models.penalties.least_squares import LeastSquares


class PrimalDualDescent(Descent):
    """Sources and dual variables in turn, from zero whatever the start."""

    fit: LeastSquares
    penalty: Analysis
    spectrum: GainSpectrum
    limits: Limits
    iteration: str = eqx.field(static=True)

    @classmethod
    def of(
        cls, fit: LeastSquares, penalty: Analysis, limits: Limits, iteration: str
    ) -> "PrimalDualDescent":
        """Diagonalise the gain, measure the maps."""
        spectrum = spectrum_of(*stop_gradient((fit, penalty)))
        return cls(fit, penalty, spectrum, limits, iteration)

    def at(self, data):
        """The same for another recording: the factorisation is that of the gain."""
        return eqx.tree_at(lambda d: d.fit.data, self, data)

    def first(self, start) -> PrimalDualState:  # noqa: ARG002
        """Sources that no map sees, and the dual variables that belong to them."""
        return primal_dual_start(self.fit, self.penalty, self.spectrum)

    def go(self, carry: PrimalDualState):
        """Until the gap is closed."""
        return goes_on(carry.proof, carry.steps, self.limits)

    def body(self, carry: PrimalDualState) -> PrimalDualState:
        """Some steps, and their certificate."""
        return primal_dual_round(self.fit, self.penalty, self.spectrum, carry, self.iteration)

    def answer(self, carry: PrimalDualState) -> SparseAnswer:
        """With the derivative of the optimality conditions."""
        z = primal_dual_minimiser(self.fit, self.penalty, stop_gradient(self.spectrum), carry)
        fit, penalty = stop_gradient((self.fit, self.penalty))
        scale, rounds = penalty.alpha_max(fit) / penalty.alpha, STEPS_PER_ROUND[self.iteration]
        info = pack_info(carry.proof, scale, carry.steps / rounds, carry.steps, z.dtype)
        return SparseAnswer(z, stop_gradient(info))
