"""What a set of chains is worth: the checks of Vehtari et al. and of Betancourt."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int

from esijax.estimate import Diagnostics

MAX_RHAT = 1.01
MIN_ESS = 400.0
MIN_BFMI = 0.3
MAX_AT_DEPTH = 0.05


class ChainDiagnostics(Diagnostics):
    r"""Chains of NUTS and the checks that they must pass.

    Parameters
    ----------
    draws : dict of (chains, samples, ...)
        Hyper-parameters.
    potential, energy, accept : (chains, samples)
        Minus log posterior, the same plus kinetic energy, acceptance probability.
    steps, diverging : (chains, samples)
        Leapfrog steps of each transition; whether it left the surface of constant energy.
    step_size : (chains,)
    warmed : ()
        Whether the warm-up was finished.
    max_steps : int
        Leapfrog steps at the maximum tree depth.

    References
    ----------
    Vehtari et al. 2021, doi:10.1214/20-BA1221; Betancourt 2016, doi:10.48550/arXiv.1604.00695.
    """

    draws: dict[str, Array]
    potential: Float[Array, "*batch chains samples"]
    energy: Float[Array, "*batch chains samples"]
    accept: Float[Array, "*batch chains samples"]
    steps: Int[Array, "*batch chains samples"]
    diverging: Array
    step_size: Float[Array, "*batch chains"]
    warmed: Array
    max_steps: int

    def verdict(self) -> dict[str, Any]:
        """Worst R-hat and effective sample sizes over all hyper-parameters, and the transitions."""
        from arviz_stats.base import array_stats

        chains, samples = self.potential.shape
        found: dict[str, Any] = {
            "chains": chains,
            "samples": samples,
            "divergences": int(np.sum(self.diverging)),
            "at_max_depth": float(np.mean(np.asarray(self.steps) >= self.max_steps)),
            "steps": float(np.mean(self.steps)),
            "accept": float(np.mean(self.accept)),
            "stuck_chains": self._stuck(),
        }
        found |= mixing(self.draws, self.potential)
        few = samples < 4
        found["bfmi"] = np.nan if few else _worst(array_stats.bfmi(np.asarray(self.energy)), np.min)
        return found

    def doubts(self) -> tuple[str, ...]:
        """Checks that were not met, in words."""
        v = self.verdict()
        if not bool(self.warmed):
            return ("the warm-up was not finished: no draw is one of the posterior",)
        rows = (
            (v["stuck_chains"], f"{v['stuck_chains']} of {v['chains']} chains did not move"),
            *_unmixed(v),
            (v["divergences"], f"{v['divergences']} divergences: raise target_accept"),
            (not v["bfmi"] >= MIN_BFMI, f"E-BFMI {v['bfmi']:.2f} < {MIN_BFMI}: heavy tails"),
            (
                v["at_max_depth"] > MAX_AT_DEPTH,
                f"{100 * v['at_max_depth']:.0f} % of the transitions reach max_tree_depth",
            ),
        )
        return tuple(text for failed, text in rows if failed)

    def _stuck(self) -> int:
        """Chains whose transitions are all but rejected."""
        return int(np.sum(np.mean(np.asarray(self.accept), axis=1) < 0.05))


def _worst(values: Any, worst: Any) -> float:
    """Worst of many; NaN (a constant, a number that overflowed) is the worst of all."""
    return float(worst(np.asarray(values)))


class SweepDiagnostics(Diagnostics):
    """Chains of a Gibbs sampler and the checks that they must pass.

    Parameters
    ----------
    draws : dict of (chains, samples, ...)
        Hyper-parameters.
    potential : (chains, samples)
        Minus log posterior.
    warmed : ()
        Whether the warm-up was finished.
    """

    draws: dict[str, Array]
    potential: Float[Array, "*batch chains samples"]
    warmed: Array

    def verdict(self) -> dict[str, Any]:
        """Worst R-hat and effective sample sizes over all hyper-parameters."""
        chains, samples = self.potential.shape
        return {"chains": chains, "samples": samples, **mixing(self.draws, self.potential)}

    def doubts(self) -> tuple[str, ...]:
        """Checks that were not met, in words."""
        if not bool(self.warmed):
            return ("the warm-up was not finished: no draw is one of the posterior",)
        return tuple(text for failed, text in _unmixed(self.verdict()) if failed)


def mixing(draws: dict[str, Array], potential: Array) -> dict[str, float]:
    """Worst R-hat, bulk and tail effective sizes of all hyper-parameters and the log posterior."""
    from arviz_stats.base import array_stats

    chains, samples = potential.shape
    if samples < 4:
        return dict.fromkeys(("rhat", "ess_bulk", "ess_tail"), np.nan)
    every = [np.asarray(d).reshape(chains, samples, -1) for d in draws.values()]
    every.append(np.asarray(potential)[..., None])
    values = np.moveaxis(np.concatenate(every, axis=2), 2, 0)
    with np.errstate(all="ignore"):
        tail = array_stats.ess(values, method="tail", prob=(0.05, 0.95))
        return {
            "rhat": _worst(array_stats.rhat(values), np.max),
            "ess_bulk": _worst(array_stats.ess(values, method="bulk"), np.min),
            "ess_tail": _worst(tail, np.min),
        }


def _unmixed(v: dict[str, Any]) -> tuple[tuple[bool, str], ...]:
    if v["chains"] == 1:
        rhat = "one chain: R-hat compares chains, so run two or more"
    elif np.isnan(v["rhat"]):
        rhat = f"R-hat is undefined: {v['samples']} draws a chain, or one that does not move"
    else:
        rhat = f"R-hat {v['rhat']:.3f} > {MAX_RHAT}: run longer"
    return (
        (not v["rhat"] <= MAX_RHAT, rhat),
        (not v["ess_bulk"] >= MIN_ESS, f"bulk ESS {v['ess_bulk']:.0f} < {MIN_ESS:.0f}"),
        (not v["ess_tail"] >= MIN_ESS, f"tail ESS {v['ess_tail']:.0f} < {MIN_ESS:.0f}"),
    )
