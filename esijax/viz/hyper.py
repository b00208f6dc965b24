"""Hyper-parameters before and after the data."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from esijax._types import InputError, prng_key
from esijax.estimate import Estimate
from esijax.models.marginals.marginal import seeded_hyper
from esijax.viz._canvas import figure_for, is_axes
from esijax.viz._style import LINES

MOST = 12  # numbers that have a panel of their own


def prior_draws(estimate: Estimate, model: Any, noise: Any, key: Any, n: int) -> dict[str, Any]:
    """Draws of the hyper-parameters from their prior, (n, ...) by name."""
    if not callable(getattr(model, "marginal", None)):
        raise InputError(f"model must be the prior that was solved with, got {model!r:.60}.")
    problem = estimate.problem
    marginal = model.marginal(problem, model.default_noise(problem) if noise is None else noise)
    if not marginal.proper:
        raise InputError("a flat hyper-prior has no draws: leave model out.")
    return jax.vmap(lambda one: seeded_hyper(marginal, one))(jax.random.split(prng_key(key), n))


def plot_prior_posterior(
    estimate: Estimate,
    model: Any = None,
    names: Any = None,
    *,
    noise: Any = None,
    n: int = 1000,
    key: Any = 0,
    ax: Any = None,
):
    """Draw hyper-parameters before and after the data: `esijax.plot.prior_posterior`."""
    after = numbers_of(estimate.hyper, estimate.is_mixture)
    if not after:
        raise InputError(f"{estimate.model} / {estimate.method} has no hyper-parameters to draw.")
    before = {}
    if model is not None:
        before = numbers_of(prior_draws(estimate, model, noise, key, n), True)
    chosen = _chosen(names, after)
    single = is_axes(ax)
    if single and len(chosen) > 1:
        raise InputError(f"one Axes holds one of {', '.join(chosen)}: choose it by names.")
    if single:
        panels = [ax]
    else:
        columns = min(4, len(chosen))
        rows = -(-len(chosen) // columns)
        ax = figure_for(ax, (3.1 * columns, 2.5 * rows + 0.3))
        panels = ax.subplots(rows, columns, squeeze=False).ravel()
        for spare in panels[len(chosen) :]:
            spare.remove()
    for panel, name in zip(panels, chosen, strict=False):
        _draw(panel, before.get(name), after[name])
        panel.set(title=name, yticks=[])
        panel.spines[["left", "right", "top"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=9)
    return ax


def numbers_of(hyper: Mapping[str, Any], drawn: bool) -> dict[str, np.ndarray]:
    """Each number by name, with its draws (n,) or its value (1,)."""
    out = {}
    for name, value in hyper.items():
        value = np.asarray(value, float)
        value = value if drawn else value[None]
        flat = value.reshape(len(value), -1)
        for i in range(flat.shape[1]):
            at = ",".join(str(int(j)) for j in np.unravel_index(i, value.shape[1:] or (1,)))
            out[name if value.ndim == 1 else f"{name}[{at}]"] = flat[:, i]
    return out


def _chosen(names: Any, known: Mapping[str, np.ndarray]) -> list[str]:
    """What is asked for, one name standing for all its numbers; the first ones by default."""
    if names is None:
        return list(known)[:MOST]
    names = [names] if isinstance(names, str) else list(names)
    found = [k for k in known for name in names if k == name or k.partition("[")[0] == name]
    missing = [n for n in names if n not in {*known, *(k.partition("[")[0] for k in known)}]
    if missing or not found:
        few = ", ".join([*known][:8])
        raise InputError(f"names: {missing} are no hyper-parameters; there are {few}.")
    return found[:MOST]


def _draw(ax, before: np.ndarray | None, after: np.ndarray) -> None:
    """Histograms of draws, a line at a single value; on a log scale where all are positive."""
    both = after if before is None else np.concatenate([before, after])
    both = both[np.isfinite(both)]
    logarithmic = bool((both > 0).all()) and len(both) > 1 and both.max() > 20 * both.min()
    low, high = np.quantile(both, [0.005, 0.995])
    low, high = min(low, after.min()), max(high, after.max())
    if not high > low:
        low, high = low - abs(low or 1.0) / 2, high + abs(high or 1.0) / 2
    bins = np.geomspace(low, high, 41) if logarithmic else np.linspace(low, high, 41)
    across = np.log(bins) if logarithmic else bins
    if logarithmic:
        ax.set_xscale("log")
    for draws, colour, name in ((before, "0.6", "prior"), (after, LINES[0], "posterior")):
        if draws is None:
            continue
        if len(draws) == 1:
            ax.axvline(draws[0], color=colour, lw=2, label="estimate")
            continue
        count, _ = np.histogram(draws, bins)
        ax.stairs(
            count / (len(draws) * np.diff(across)), bins, color=colour, fill=True, alpha=0.55,
            label=name,
        )  # fmt: skip
