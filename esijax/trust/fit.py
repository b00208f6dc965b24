"""Checks of the map: what it leaves, what it explains, how many places, how it was computed."""

import numpy as np

from esijax.outcome import RESULT
from esijax.trust.check import Check, graded
from esijax.trust.inputs import TrustInputs

INF = float("inf")
RESPONSE = 0.1, 0.0  # power above the noise, in variances of it
RESIDUAL = (0.1, 2.0), (0.0, 4.0)  # variance of the residual over that of the noise
EXPLAINED = 0.5, 0.25  # of what stands above the noise
CHANCE = 4.0  # standard deviations
ACTIVE = (1.0, 20.0), (1.0, 100.0)  # locations of a sparse map
WORST_RHAT = 1.1


def response(e: TrustInputs) -> list[Check]:
    """Whether anything stands above the noise."""
    power = float(np.mean(e.data**2)) / e.noise - 1
    green = RESPONSE[0] + CHANCE * np.sqrt(2 / (len(e.data) * e.n_effective))
    light = graded(power, (green, INF), (RESPONSE[1], INF))
    told = f"in this window the data stand {power:.2f} noise variances above the noise"
    advice = "" if light == "green" else "look at another window, or average more trials"
    return [Check("response", power, (green, INF), light, told, advice)]


def residual(e: TrustInputs) -> list[Check]:
    """Compare what the map leaves with the noise."""
    if e.left is None:
        return []
    ratio = float(np.mean(e.left**2)) / e.noise
    light = graded(ratio, *RESIDUAL)
    told = f"the map leaves {ratio:.2f} times the variance of the noise unexplained"
    advice = ""
    if ratio > RESIDUAL[0][1]:
        advice = "regularise less (a smaller lambda2 or alpha), or check head and noise"
    elif ratio < RESIDUAL[0][0]:
        advice = "it explains the noise too: regularise more (a larger lambda2 or alpha)"
    return [Check("residual", ratio, RESIDUAL[0], light, told, advice)]


def explained(e: TrustInputs) -> list[Check]:
    """Compare what the map explains with what stands above the noise."""
    if e.left is None:
        return []
    total, left = float(np.mean(e.data**2)), float(np.mean(e.left**2))
    above = total - e.noise
    if above <= RESPONSE[0] * e.noise:
        return []  # there is nothing to explain: `response` says so
    share = (total - left) / above
    light = graded(share, *((limit, INF) for limit in EXPLAINED))
    part = "all" if share >= 1 else f"{100 * share:.0f} %"
    told = (
        f"the map explains {100 * (1 - left / total):.1f} % of the data, {part} of what stands "
        "above the noise"
    )
    advice = (
        "lower alpha (or take irMxNE, which shrinks less) or lambda2, or take a prior that is not "
        "sparse; if that does not help, check head and noise"
    )
    return [
        Check("explained share", share, (EXPLAINED[0], INF), light, told,
              "" if light == "green" else advice)
    ]  # fmt: skip


def places(e: TrustInputs) -> list[Check]:
    """Count the locations of a sparse map."""
    n = e.n_active
    if n is None:
        return []
    light = graded(float(n), *ACTIVE)
    told = f"the sparse map has {n} active location{'s' * (n != 1)}"
    fewer = "a response has few: raise alpha, take irMxNE, or check that the noise is as stated"
    more = "lower alpha: nothing is left to look at"
    advice = "" if light == "green" else more if n == 0 else fewer
    return [Check("active places", float(n), ACTIVE[0], light, told, advice)]


def computation(e: TrustInputs) -> list[Check]:
    """What the method says of its own answer."""
    estimate, known = e.estimate, e.estimate.diagnostics
    doubts = () if known is None else known.doubts()
    done = estimate.result in (RESULT.successful, RESULT.doubtful)
    if done and not doubts:
        said = "the computation met its own checks" if known else "the map has a closed form"
        return [Check("computation", 0.0, (0.0, 0.0), "green", said)]
    told = "; ".join(doubts) or RESULT[estimate.result]
    verdict = {} if known is None else known.verdict()
    stuck = not verdict.get("rhat", 1.0) <= WORST_RHAT or verdict.get("stuck_chains", 0) > 0
    unfinished = not bool(getattr(known, "warmed", True))
    light = "red" if stuck or unfinished else "amber"
    advice = "go on from where it stopped, with more iterations or draws (init=estimate)"
    return [Check("computation", float(max(len(doubts), 1)), (0.0, 0.0), light, told, advice)]
