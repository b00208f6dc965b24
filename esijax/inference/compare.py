r"""Which model do the data prefer? Posterior probabilities of models from their evidences.

.. math:: \Pr(M_i \mid Y) = \frac{p(Y \mid M_i)}{\sum_j p(Y \mid M_j)}
"""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esijax._types import InputError
from esijax.estimate import RESULT, Estimate
from esijax.models.temporal.basis import FROM_DATA
from esijax.problem import Problem

TABLE_HEAD = ("model", "method", "log evidence", "difference", "probability", "")


@dataclass(frozen=True)
class Row:
    """One model in a comparison.

    Parameters
    ----------
    name : str
        As given, or model and place in the list.
    model, method : str
    log_evidence : float
        Log density of the data in their own units.
    difference : float
        To the best, nats; 0 for the best.
    probability : float
        Of the model, all being equally probable before.
    note : str
        What is doubtful of this evidence.
    """

    name: str
    model: str
    method: str
    log_evidence: float
    difference: float
    probability: float
    note: str

    def _cells(self) -> tuple[str, ...]:
        numbers = f"{self.log_evidence:.2f}", f"{self.difference:.2f}", f"{self.probability:.3f}"
        return self.name, self.method, *numbers, self.note


@dataclass(frozen=True)
class Comparison:
    """Models by their evidence, the best first; prints as a table.

    Parameters
    ----------
    rows : tuple of Row
    """

    rows: tuple[Row, ...]

    def __str__(self) -> str:
        cells = [TABLE_HEAD, *(row._cells() for row in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(TABLE_HEAD))]

        def text(line):
            named = [c.ljust(w) for c, w in zip(line[:2], widths, strict=False)]
            counted = [c.rjust(w) for c, w in zip(line[2:5], widths[2:5], strict=True)]
            return "  ".join([*named, *counted, line[5]]).rstrip()

        return "\n".join(text(line) for line in cells)

    def _repr_html_(self) -> str:
        def line(tag, cells):
            return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

        body = "".join(line("td", row._cells()) for row in self.rows)
        return f"<table>{line('th', TABLE_HEAD)}{body}</table>"


def compare(estimates: Any) -> Comparison:
    """Rank models of the same data by their evidence.

    Parameters
    ----------
    estimates : sequence of Estimate | dict of name to Estimate
        Of the same channels, samples, projectors and data.

    Returns
    -------
    comparison : Comparison
        A table that prints, the best model first.

    Raises
    ------
    InputError
        For fewer than two, estimates of different data (channels, rank, projectors, times), or an
        estimate without evidence.

    Notes
    -----
    Evidences of `Evidence` and `EM` are maxima over the hyper-parameters, of `Laplace` and `SVI`
    integrals: a maximum is never below the integral, so that the methods should be the same where
    differences are small. That of `Unrolled` is a value at variances of a network; its note says
    what updates of EM would add. Noise covariances may differ; their densities are in the data's
    units.

    References
    ----------
    Kass and Raftery 1995, doi:10.1080/01621459.1995.10476572.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, gain[:, :3], noise_cov=0.1)
    >>> fits = [
    ...     ej.solve(problem, ej.models.MinimumNorm(lambda2), ej.inference.Linear())
    ...     for lambda2 in (0.1, 10.0)
    ... ]
    >>> len(ej.inference.compare(fits).rows)
    2
    """
    named = _named_estimates(estimates)
    values = [_known_evidence(name, estimate) for name, estimate in named]
    for name, estimate in named[1:]:
        _check_same(named[0][0], named[0][1].problem, name, estimate.problem)
    best = max(values)
    weights = np.exp(np.array(values) - best)
    weights /= weights.sum()
    rows = [
        Row(name, e.model, e.method, value, value - best, float(weight), _note(e))
        for (name, e), value, weight in zip(named, values, weights, strict=True)
    ]
    return Comparison(tuple(sorted(rows, key=lambda row: -row.log_evidence)))


def _named_estimates(estimates: Any) -> list[tuple[str, Estimate]]:
    if isinstance(estimates, Mapping):
        pairs = [(str(name), estimate) for name, estimate in estimates.items()]
    elif isinstance(estimates, Sequence):
        pairs = [
            (f"{i}: {getattr(estimate, 'model', '')}", estimate)
            for i, estimate in enumerate(estimates)
        ]
    else:
        raise InputError(
            f"compare takes a list of estimates or a dict of them by name, got {type(estimates)}."
        )
    for name, estimate in pairs:
        if not isinstance(estimate, Estimate):
            raise InputError(f"compare: {name!r} is no Estimate but {type(estimate).__name__}.")
    if len(pairs) < 2:
        raise InputError(f"compare needs at least two estimates, got {len(pairs)}.")
    return pairs


def _known_evidence(name: str, estimate: Estimate) -> float:
    value = estimate.log_evidence
    if FROM_DATA in estimate.notes:
        raise InputError(
            f"compare: {name!r} ({estimate.model}) has no evidence: its temporal basis was made "
            "from the same data, and a fit to them that is not paid for wins always. Give a basis "
            'that the data do not know ("dct:16", courses of another subject or condition).'
        )
    if value is None or not math.isfinite(float(value)):
        raise InputError(
            f"compare: {name!r} ({estimate.method}) has no evidence: use Linear, EM, Evidence, "
            "Laplace or SVI."
        )
    return float(value)


def _note(estimate: Estimate) -> str:
    """How the solve ended, where not well, and what its evidence is of."""
    fine = estimate.result == RESULT.successful
    ended = "" if fine else RESULT[estimate.result].split(":")[0]
    known = "" if estimate.diagnostics is None else estimate.diagnostics.evidence_note
    return "; ".join(part for part in (ended, known) if part)


def _check_same(first: str, one: Problem, second: str, two: Problem) -> None:
    """Evidences compare only as densities of the same numbers in the same space."""
    a, b = one.whitener, two.whitener
    found = None
    if one.labels.ch_names != two.labels.ch_names or a.matrix.shape[1] != b.matrix.shape[1]:
        found = f"channels ({a.matrix.shape[1]} and {b.matrix.shape[1]}, or other names)"
    elif one.rank != two.rank:
        found = f"rank ({one.rank} and {two.rank})"
    elif one.data.shape[:-2] != two.data.shape[:-2] or not _same_numbers(one.times, two.times):
        found = f"times ({one.n_times} and {two.n_times}, or other onsets, rates or trials)"
    elif not _same_numbers(np.asarray(a.colorer @ a.matrix), np.asarray(b.colorer @ b.matrix)):
        # colorer @ matrix projects onto what the projectors leave
        found = "projectors"
    elif not _same_numbers(np.asarray(one.recording), np.asarray(two.recording)):
        found = "data"
    if found:
        raise InputError(f"compare: {first!r} and {second!r} differ in {found}: fit the same data.")


def _same_numbers(left: Any, right: Any) -> bool:
    left, right = np.asarray(left), np.asarray(right)
    size = float(np.max(np.abs(left), initial=0.0))
    return left.shape == right.shape and bool(np.allclose(left, right, rtol=1e-6, atol=1e-6 * size))
