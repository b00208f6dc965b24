"""A check and the verdict over all of them: Check, Trust."""

import textwrap
from dataclasses import dataclass

LIGHTS = ("green", "amber", "red")  # from good to bad
WIDTH = 100  # of the table, characters


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Parameters
    ----------
    name : str
        What is looked at.
    value : float
        What was found.
    limit : tuple of float
        Lowest and highest value that are green.
    light : "green" | "amber" | "red"
        How far the value is from its limit.
    meaning : str
        What the value says.
    advice : str
        What to do; empty where there is nothing to do.
    """

    name: str
    value: float
    limit: tuple[float, float]
    light: str
    meaning: str
    advice: str = ""

    @property
    def limit_text(self) -> str:
        """The limit in words."""
        low, high = self.limit
        if low == high:
            return f"{low:.3g}"
        if low == -float("inf"):
            return f"up to {high:.3g}"
        return f"at least {low:.3g}" if high == float("inf") else f"{low:.3g} to {high:.3g}"

    @property
    def row(self) -> dict[str, str]:
        """All of it as texts, for a table."""
        return {
            "light": self.light,
            "check": self.name,
            "value": f"{self.value:.3g}",
            "limit": self.limit_text,
            "what it means": self.meaning,
            "what to do": self.advice or "-",
        }


@dataclass(frozen=True)
class Trust:
    """Whether a map can be believed: `print` shows a table, the worst first.

    Parameters
    ----------
    light : "green" | "amber" | "red"
        The worst of all checks.
    sentence : str
        Whether the map can be believed, and what speaks against it.
    checks : tuple of Check
        The worst first.
    """

    light: str
    sentence: str
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, checks: list[Check]) -> "Trust":
        """Sum up checks."""
        ordered = tuple(sorted(checks, key=lambda c: -LIGHTS.index(c.light)))
        light = ordered[0].light if ordered else "amber"
        return cls(light, _sentence(light, ordered), ordered)

    @property
    def doubts(self) -> tuple[Check, ...]:
        """The checks that are not green."""
        return tuple(check for check in self.checks if check.light != "green")

    @property
    def rows(self) -> list[dict[str, str]]:
        """The checks as texts, for a table."""
        return [check.row for check in self.checks]

    def __repr__(self) -> str:
        names = ", ".join(check.name for check in self.doubts) or "no doubts"
        return f"Trust({self.light}, {len(self.checks)} checks: {names})"

    def __str__(self) -> str:
        lines = textwrap.wrap(f"{self.light.upper()}: {self.sentence}", WIDTH)
        lines += ["", f"{'light':6}  {'check':28}  {'value':>8}  limit"]
        for check in self.checks:
            row = check.row
            lines.append(f"{check.light:6}  {check.name:28}  {row['value']:>8}  {row['limit']}")
            told = check.meaning if not check.advice else f"{check.meaning}: {check.advice}"
            if check.light != "green":
                gap = " " * 8
                lines += textwrap.wrap(told, WIDTH, initial_indent=gap, subsequent_indent=gap)
        return "\n".join(lines)


def graded(value: float, green: tuple[float, float], amber: tuple[float, float]) -> str:
    """Light of a value within two nested ranges; NaN is red."""
    for light, (low, high) in (("green", green), ("amber", amber)):
        if low <= value <= high:
            return light
    return "red"


def _sentence(light: str, checks: tuple[Check, ...]) -> str:
    """One sentence: the verdict, its main reason, what to do."""
    bad = [check for check in checks if check.light == light]
    if light == "green" or not bad:
        return (
            f"Nothing that was checked speaks against this map ({len(checks)} checks of noise, "
            "fit, channels, time and computation; a head that sits elsewhere need not show)."
        )
    rest = sum(check.light != "green" for check in checks) - 1
    more = f" (and {rest} more {'doubt' if rest == 1 else 'doubts'})" if rest else ""
    start = "Do not believe this map yet" if light == "red" else "Believe this map with care"
    return f"{start}: {bad[0].meaning}{more}; {bad[0].advice}."
