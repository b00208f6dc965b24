"""All checks of an estimate, summed up: `estimate.trust()`."""

from typing import Any

from esijax._types import InputError, is_traced
from esijax.trust import fit, noise, time
from esijax.trust.check import Trust
from esijax.trust.inputs import TrustInputs

CHECKS = (
    noise.before_zero,
    fit.response,
    noise.channels,
    noise.where_no_source_reaches,
    fit.explained,
    fit.residual,
    fit.places,
    time.peak,
    fit.computation,
    noise.conditioning,
    noise.sensors,
)


def trust_of(estimate: Any) -> Trust:
    """Check an `Estimate` of any method.

    Parameters
    ----------
    estimate : Estimate
        With the problem that it was computed from.

    Returns
    -------
    trust : Trust

    Raises
    ------
    InputError
        Under jit, vmap and grad, where no value can be looked at.
    """
    if is_traced(estimate):
        raise InputError("trust looks at numbers: call it outside jit, vmap and grad.")
    evidence = TrustInputs(estimate)
    return Trust.of([found for check in CHECKS for found in check(evidence)])
