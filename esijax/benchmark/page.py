"""The table and the page: medians over seeds, and how far the seeds spread."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import pandas as pd

from esijax import __version__
from esijax._files import replacing
from esijax.metrics.large import EDGES

SHOWN = {  # metric -> heading, digits, what is best
    "peak_error_mm": ("peak error (mm)", 1, "0"),
    "outside_mm": ("peak outside (mm)", 1, "0"),
    "matched_error_mm": ("matched error (mm)", 1, "0"),
    "dispersion_mm": ("dispersion (mm)", 1, "0"),
    "auc": ("AUC", 3, "1"),
    "average_precision": ("average precision", 3, "1"),
    "size_correlation": ("size correlation", 2, "1"),
    "coverage_90_all": ("90 % coverage, all", 3, ""),
    "coverage_90_chosen": ("90 % coverage, chosen", 2, ""),
    "coverage_90_active": ("90 % coverage, active", 2, ""),
    "coverage_90_inactive": ("90 % coverage, inactive", 3, ""),
    "coverage_50_active": ("50 % coverage, active", 2, ""),
    "crps_active_nAm": ("CRPS, active (nA m)", 2, "0"),
    "emd_mm": ("earth mover's distance (mm)", 1, "0"),
    "large_brier": ("Brier score of Pr(large), a map", 2, "0"),
    "large_brier_never": ("the same of always saying no", 2, ""),
    "failed": ("share that failed", 2, "0"),
}
LEGEND = (
    "Peak error: from the largest amplitude to the middle of the nearest source; peak outside: to "
    "the nearest active location. Size correlation: of the active sources' amplitudes over time. "
    "Coverage of 90 % intervals: of all sources, of the largest 1 % of the map (chosen), of the "
    "truly active and inactive. That of all and of the chosen is nominal where the truth comes "
    "from the prior, which here it does not; that of the truly active never needs to be. "
    "Pr(large): that a source along the normal exceeds a quarter of the largest true one, at the "
    "peak. Data sets that failed are left out of the other tables. Medians over data sets; of "
    "coverage, AUC, Brier scores and failures: means."
)
WHAT = ("count", "stated", "true")
MEANS = ("coverage", "failed", "auc", "large")
PEERS = ("mne:", "calibrain:", "invert:")


def summary(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Medians over seeds: scenarios x methods; means of shares and probabilities.

    Parameters
    ----------
    results : DataFrame
        From `run`.
    metric : str
        Name of a score.

    Returns
    -------
    table : DataFrame
        Empty where no method has the metric.
    """
    rows = results[results["metric"] == metric]
    how = "mean" if metric.startswith(MEANS) else "median"
    table = rows.pivot_table("value", "scenario", "method", aggfunc=how)
    order = [list(dict.fromkeys(results[k])) for k in ("scenario", "method")]
    return table.reindex(
        index=[s for s in order[0] if s in table.index],
        columns=[m for m in order[1] if m in table.columns],
    )


def exceedance(results: pd.DataFrame, scenario: str) -> pd.DataFrame:
    """Stated and true share of large sources: methods x bins of stated probability.

    Parameters
    ----------
    results : DataFrame
        From `run`.
    scenario : str

    Returns
    -------
    table : DataFrame of str
        "stated -> true (sources a map)"; empty where no method states a probability.
    """
    rows = results[(results["scenario"] == scenario) & results["metric"].str.startswith("large_")]
    sums = rows.pivot_table("value", "method", "metric", aggfunc="sum")
    maps = rows.groupby("method")["seed"].nunique()
    out = pd.DataFrame(index=[m for m in dict.fromkeys(rows["method"]) if m in sums.index])
    edges = (0.0, *EDGES, 1.0)
    for k in range(len(EDGES) + 1):
        cells = []
        for method in out.index:
            n, stated, true = (sums.loc[method, f"large_{w}_{k}"] for w in WHAT)
            one = f"{stated / n:.2f} -> {true / n:.2f} ({n / maps[method]:.0f})" if n else "-"
            cells.append(one)
        out[f"{edges[k]:g} to {edges[k + 1]:g}"] = cells
    return out


def markdown(results: pd.DataFrame, metrics: Sequence[str] = tuple(SHOWN)) -> str:
    """Tables for a text file, one per metric, methods down and scenarios across.

    Parameters
    ----------
    results : DataFrame
        Rows that `run` has given.
    metrics : sequence of str
        Names of scores.

    Returns
    -------
    text : str
        In Markdown.
    """
    parts = [LEGEND]
    for metric in metrics:
        table = summary(results, metric).T
        if table.empty:
            continue
        heading, digits, best = SHOWN.get(metric, (metric, 3, ""))
        parts.append(f"### {heading}" + (f" (best: {best})" if best else ""))
        lines = ["| method | " + " | ".join(table.columns) + " |"]
        lines.append("|---" * (1 + table.shape[1]) + "|")
        for name, row in table.iterrows():
            cells = ["-" if pd.isna(v) else f"{v:.{digits}f}" for v in row]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    for scenario in dict.fromkeys(results["scenario"]) if "large_brier" in metrics else ():
        table = exceedance(results, scenario)
        if len(table):
            parts.append(f"### Pr(large) stated -> true (sources a map): {scenario}")
            lines = ["| method | " + " | ".join(table.columns) + " |"]
            lines.append("|---" * (1 + table.shape[1]) + "|")
            for name, row in table.iterrows():
                lines.append(f"| {name} | " + " | ".join(map(str, row)) + " |")
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def write_page(results: pd.DataFrame, path: Path, command: str) -> Path:
    """Write one self-contained HTML page with the tables and plots.

    Parameters
    ----------
    results : DataFrame
        Rows that `run` has given.
    path : Path
        The file.
    command : str
        What made it.

    Returns
    -------
    path : Path
    """
    page = mne.Report(title="esijax benchmark", verbose="ERROR", image_format="png")
    seeds = results["seed"].nunique()
    page.add_html(
        f"<p><code>{command}</code></p><p>esijax {__version__}, {seeds} data sets per scenario. "
        f"{LEGEND}</p>",
        title="What was done",
    )
    for metric, (heading, digits, best) in SHOWN.items():
        table = summary(results, metric)
        if table.empty:
            continue
        title = heading + (f", best {best}" if best else "")
        style = table.T.round(digits).to_html(na_rep="-", classes="table table-sm w-auto", border=0)
        page.add_html(style, title=title, tags=("table",))
        figure = draw(results, metric)
        page.add_figure(figure, title=f"{heading}, spread", tags=("plot",))
        plt.close(figure)
    for scenario in dict.fromkeys(results["scenario"]):
        table = exceedance(results, scenario)
        if len(table):
            style = table.to_html(classes="table table-sm w-auto", border=0)
            title = f"Pr(large) stated -> true (sources a map): {scenario}"
            page.add_html(style, title=title, tags=("table",))
    with replacing(path) as temporary:
        page.save(temporary, open_browser=False, overwrite=True, verbose="ERROR")
    return path


def draw(results: pd.DataFrame, metric: str) -> plt.Figure:
    """Median and middle half over the seeds, a panel per scenario, methods down."""
    rows = results[results["metric"] == metric]
    scenarios = list(dict.fromkeys(rows["scenario"]))
    methods = list(dict.fromkeys(rows["method"]))[::-1]
    quartiles = rows.groupby(["scenario", "method"])["value"].quantile([0.25, 0.5, 0.75]).unstack()
    columns = min(len(scenarios), 4)
    lines = -(-len(scenarios) // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(2 + 2.4 * columns, lines * (0.9 + 0.22 * len(methods))),
        sharey=True,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[len(scenarios) :]:
        ax.axis("off")
    for ax, scenario in zip(axes.flat, scenarios, strict=False):
        for y, method in enumerate(methods):
            if (scenario, method) in quartiles.index:
                low, middle, high = quartiles.loc[(scenario, method)]
                colour = "C7" if method.startswith(PEERS) else "C0"
                ax.plot([low, high], [y, y], color=colour, lw=2, solid_capstyle="butt")
                ax.plot(middle, y, "o", color=colour, ms=5)
        ax.set_title(scenario, fontsize=9)
        ax.set_ylim(-0.6, len(methods) - 0.4)
        ax.set_yticks(range(len(methods)), methods, fontsize=8)
        ax.grid(axis="x", alpha=0.3)
        if metric.startswith("coverage"):
            ax.axvline(0.9, color="k", lw=0.8, ls=":")
    figure.supxlabel(SHOWN.get(metric, (metric,))[0], fontsize=9)
    return figure
