"""One self-contained page that says what was done and what came out."""

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esijax._files import replacing
from esijax._types import InputError
from esijax.estimate import RESULT, Estimate
from esijax.tables.places import Places
from esijax.tables.places import places as places_of
from esijax.trust import Trust
from esijax.viz import figures, films, maps
from esijax.viz.places import COLUMNS, caption, place_rows
from esijax.viz.summary import Summary, place_name, summarise

COMMAND = "command: "  # a note that starts so has a row of its own
# of the lights, told apart by those who do not see red and green (Okabe and Ito), by sign and word
LIGHTS = {"green": ("#009e73", "✔"), "amber": ("#e69f00", "▲"), "red": ("#d55e00", "✖")}


def report(
    estimate: Estimate,
    path,
    *,
    title: str | None = None,
    time: float | None = None,
    tables: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
    places: Places | None = None,
    keep: Callable[[str, Any], object] | None = None,
    beside: Mapping[str, Estimate] | None = None,
    patches: Any = None,
) -> Path:
    """Write a report of an estimate: whether to believe it, places, data, courses, cortex.

    Parameters
    ----------
    estimate : Estimate
        The answer of `solve`.
    path : path
        The HTML file; it needs nothing else, and no network.
    title : str, optional
        Title of the page; None: model, method and condition.
    time : float, optional
        s; sample of the maps, by default that of the largest amplitude.
    tables : dict of lists of dicts, optional
        Further tables, such as scores, by heading.
    places : Places, optional
        From `esijax.places`, which is called without further arguments where there are none.
    keep : callable, optional
        Given heading and figure of each picture before it is closed, e.g. to save it too.
    beside : dict of Estimate, optional
        Answers of several methods, drawn side by side at the same time.
    patches : (sources, 3), optional
        Head coordinates of active simulated sources, m, outlined on the cortex.

    Returns
    -------
    path : Path

    Raises
    ------
    InputError
        If the problem has no positions, or `time` is outside the data.

    Examples
    --------
    >>> import esijax as ej
    >>> ej.report(estimate, "auditory.html")  # doctest: +SKIP
    """
    import matplotlib.pyplot as plt
    import mne

    if estimate.problem.geometry.positions is None:
        raise InputError("a report shows where sources are: give positions to from_arrays.")
    path = Path(path)
    summary = summarise(estimate, time)
    labels = estimate.problem.labels
    title = title or f"esijax: {labels.comment or 'source estimate'}"
    page = mne.Report(title=title, verbose="ERROR", image_format="png")
    page.add_html(verdict(estimate.trust()), title="Can this map be believed?", tags=("trust",))
    page.add_html(_table(facts(estimate, summary)), title="What was done", tags=("method",))
    _add_places(page, estimate, places_of(estimate) if places is None else places)
    for heading, rows in (tables or {}).items():
        page.add_html(_html_table(rows), title=heading, tags=("scores",))
    drawn = {
        "Data": figures.plot_data(estimate, time=summary),
        "Time courses at the peaks": figures.plot_courses(estimate, time=summary),
        "Source maps": maps.plot_map(estimate, summary, patches=patches),
        "Diagnostics": figures.plot_diagnostics(estimate),
    }
    if beside:
        seconds = float(estimate.problem.times[summary.peak_time])
        drawn["Methods side by side"] = maps.plot_compare(beside, seconds, patches=patches)
    for name, figure in drawn.items():
        if figure is not None:
            page.add_figure(figure, title=name, tags=("figure",), image_format="png")
            if keep is not None:
                keep(name, figure)
            plt.close(figure)
        if name == "Source maps":
            _add_interactive(page, estimate, summary)
    with replacing(path) as temporary:
        page.save(temporary, open_browser=False, overwrite=True, verbose="ERROR")
    return path


def _add_places(page, estimate: Estimate, places: Places) -> None:
    rows = _html_table(place_rows(places, estimate))
    texts = "".join(f"<p>{html.escape(text)}</p>" for text in (caption(places), COLUMNS))
    page.add_html(rows + texts, title="Places", tags=("places",))


def verdict(trust: Trust) -> str:
    """The light, in words beside its colour, the sentence, and the checks: HTML."""
    said = f"<p>{_light(trust.light)} {html.escape(trust.sentence)}</p>"
    rows = [
        row | {"light": _light(check.light)}
        for check, row in zip(trust.checks, trust.rows, strict=True)
    ]
    table = _html_table(rows, wrap=True, ready=("light",))
    return f'<div role="status" style="font-size:1.15em">{said}</div>{table}'


def _light(light: str) -> str:
    colour, sign = LIGHTS[light]
    return (
        f'<strong class="text-nowrap" style="border-left:1em solid {colour};padding-left:.4em">'
        f"{sign} {light}</strong>"
    )


def _add_interactive(page, estimate: Estimate, summary: Summary) -> None:
    view = films.view_map(estimate, summary)
    frame = (
        f'<iframe srcdoc="{html.escape(view, quote=True)}" title="source maps" '
        'style="width:100%;height:620px;border:0"></iframe>'
    )
    page.add_html(frame, title="Source maps to turn", tags=("interactive",))


def facts(estimate: Estimate, summary: Summary) -> dict[str, str]:
    """List what was done, as names and texts."""
    import jax

    from esijax import __version__

    problem, labels = estimate.problem, estimate.problem.labels
    counts = {kind: labels.ch_types.count(kind) for kind in dict.fromkeys(labels.ch_types)}
    times = 1e3 * problem.times
    rows = {
        "condition": labels.comment or "-",
        "subject": labels.subject or "-",
        "model": estimate.model,
        "method": estimate.method,
        "channels": ", ".join(f"{n} {kind}" for kind, n in counts.items()),
        "rank after whitening": str(problem.rank),
        "averages": f"{float(problem.whitener.nave):g}",
        "sources": f"{problem.n_locations} locations x {problem.n_orients} orientations",
        "time": f"{times[0]:.0f} to {times[-1]:.0f} ms, {problem.n_times} samples",
        "peak": f"{times[summary.peak_time]:.0f} ms, "
        + "; ".join(place_name(estimate, p) for p in summary.places),
        "result": RESULT[estimate.result],
    }
    for name, value in estimate.hyper.items():
        rows[name] = _hyper_text(np.asarray(value), estimate.is_mixture)
    for name, value in _checks(estimate).items():
        rows[name] = value
    if estimate.explained_variance is not None:
        rows["explained variance"] = f"{100 * float(estimate.explained_variance):.1f} %"
    if estimate.log_evidence is not None:
        rows["log-evidence"] = f"{float(estimate.log_evidence):.1f}"
    typed = [n.removeprefix(COMMAND) for n in estimate.notes if n.startswith(COMMAND)]
    notes = [n for n in estimate.notes if not n.startswith(COMMAND)]
    if notes:
        rows["notes"] = " · ".join(notes)
    if typed:
        rows["command"] = " · ".join(typed)
    rows["computed with"] = (
        f"esijax {__version__}, JAX {jax.__version__} on {jax.default_backend()}, "
        f"{problem.gain.dtype}"
    )
    return rows


def _hyper_text(value: np.ndarray, drawn: bool) -> str:
    """Values, or what the draws say: of one number its interval, of several their medians."""
    if not drawn:
        return np.array2string(value, precision=4, threshold=6)
    value = value.reshape(len(value), -1)
    low, middle, high = np.quantile(value, [0.05, 0.5, 0.95], axis=0)
    if value.shape[1] <= 6:
        each = (f"{m:.3g} ({a:.3g} to {b:.3g})" for m, a, b in zip(middle, low, high, strict=True))
        return ", ".join(each) + f", median and 90 % of {len(value)} draws"
    return (
        f"{value.shape[1]} values, posterior medians {middle.min():.3g} to {middle.max():.3g}, "
        f"{len(value)} draws"
    )


def _checks(estimate: Estimate) -> dict[str, str]:
    """What the method found of its own quality, as names and texts."""
    if estimate.diagnostics is None:
        return {}
    found = estimate.diagnostics.verdict()
    rows = {
        name.replace("_", " "): f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in found.items()
    }
    rows["doubts of the computation"] = "; ".join(estimate.diagnostics.doubts()) or "none"
    return rows


def _table(rows: Mapping[str, str]) -> str:
    body = "".join(
        f'<tr><th class="text-nowrap">{html.escape(k)}</th><td>{html.escape(v)}</td></tr>'
        for k, v in rows.items()
    )
    return f'<table class="table table-sm w-auto">{body}</table>'


def _html_table(
    rows: Sequence[Mapping[str, object]], wrap: bool = False, ready: Sequence[str] = ()
) -> str:
    """Rows as a table; what stands under the names `ready` is HTML already."""
    if not rows:
        return "<p>empty</p>"
    cell = "<td>" if wrap else '<td class="text-nowrap">'
    head = "".join(f"<th>{html.escape(str(k))}</th>" for k in rows[0])
    body = "".join(
        "<tr>"
        + "".join(f"{cell}{v if k in ready else html.escape(str(v))}</td>" for k, v in row.items())
        + "</tr>"
        for row in rows
    )
    return f'<table class="table table-sm w-auto"><tr>{head}</tr>{body}</table>'
