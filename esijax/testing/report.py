"""The table that `check` hands over."""

import dataclasses

HOLDS, FAILS, SKIPPED = "ok", "FAILS", "-"


@dataclasses.dataclass(frozen=True)
class ReportRow:
    """One inference (or one property) and what was found of it.

    Parameters
    ----------
    name : str
    cells : dict
        Promise -> "ok", "FAILS" or "-" (not asked).
    reasons : tuple of str
        Why something failed.
    refusal : str | None
        What the inference says where it does not take the object.
    """

    name: str
    cells: dict[str, str]
    reasons: tuple[str, ...] = ()
    refusal: str | None = None


@dataclasses.dataclass(frozen=True)
class Report:
    """What `esijax.testing.check` found; print it to see the table.

    Parameters
    ----------
    subject : str
        Class of the object.
    rows : tuple of ReportRow
        What was checked, and what came out.

    Examples
    --------
    >>> from esijax.testing import Report
    >>> Report("MyPrior", ()).passes()
    False
    """

    subject: str
    rows: tuple[ReportRow, ...]

    def passes(self) -> bool:
        """Tell whether nothing failed, and something takes the object."""
        return not self.failures and any(row.cells for row in self.rows)

    @property
    def failures(self) -> tuple[str, ...]:
        """Every failure with its reason, "row: promise: reason"."""
        return tuple(f"{row.name}: {reason}" for row in self.rows for reason in row.reasons)

    @property
    def taken_by(self) -> tuple[str, ...]:
        """Rows of what takes the object."""
        return tuple(row.name for row in self.rows if row.cells)

    @property
    def refused_by(self) -> dict[str, str]:
        """Inferences that do not take the object, and what they say."""
        return {row.name: row.refusal for row in self.rows if row.refusal is not None}

    def __str__(self) -> str:
        promises = list(dict.fromkeys(name for row in self.rows for name in row.cells))
        width = max([len(row.name) for row in self.rows], default=0)
        sizes = [max(len(name), 5) for name in promises]
        names = [f"{name:>{w}}" for name, w in zip(promises, sizes, strict=True)]
        head = "  ".join([" " * width, *names])
        lines = [f"{self.subject}: {'all holds' if self.passes() else 'NOT all holds'}", head]
        for row in self.rows:
            if row.cells:
                shown = [row.cells.get(name, SKIPPED) for name in promises]
                cells = [f"{cell:>{w}}" for cell, w in zip(shown, sizes, strict=True)]
                lines.append("  ".join([f"{row.name:{width}}", *cells]))
        lines += [f"{name} refuses it: {why}" for name, why in self.refused_by.items()]
        lines += [f"FAILS  {failure}" for failure in self.failures]
        return "\n".join(lines)
