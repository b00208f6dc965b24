"""The terminal: what the command line prints on, the words it speaks, the signals it hears."""

import ast
import contextlib
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Generator, Sequence

from rich.console import Console

OPTIONS = "picks|loose|depth|rank|lambda2|nave"
# what messages tell those who call from Python, and what a user of `esijax localize` can do
SPOKEN = (
    (r"\s*\(throw=False[^)]*\)", ""),
    (r"depth=dict\(allow_fixed_depth=True\)", "--depth allow_fixed_depth=true"),
    (r": raise the number of iterations$", ""),
    (r"\(`at`\)", "(--tmin, --tmax)"),
    (r"pass picks without it", "leave it out with --bads"),
    (r", or pass None\b", ", or leave --noise-cov out"),
    (r"\bmark (them|it|the channel) bad\b", r"mark \1 bad (--bads)"),
    (r"[Cc]all set_eeg_reference\(projection=True\) on the measurement", "try --average-reference"),
    (r"pick_ori='max-power'", "--method LCMV-max-power"),
    (r": raise (\w+(?: or \w+)?)(?=[;.]|$)", r": raise \1 in Python"),
    (r'noise_time="auto"', "--noise-time auto"),
    (r"problem\.crop\((-?[\d.]+), (-?[\d.]+)\)", r"--tmin \1 --tmax \2"),
    (
        r"or let noise=PerType\(\) learn its level",
        "or take --method patches, which learns its level",
    ),
    (r"noise=PerType\(\) learns", "--method patches learns"),
    (r"mark it bad \(info\['bads'\]\) and", "mark it bad (--bads) and"),
    (r" \(init=estimate\)", " (--checkpoint)"),
    (r"(?<![-\w])picks\b(?!=)", "--picks"),
)
KEYWORD = rf"\b({OPTIONS})=(\[[^\]]*\]|\{{[^}}]*\}}|\([^)]*\)|'[^']*'|-?[\w.]+\b)"


def console() -> Console:
    """Make a console; 100 columns where the output goes into a file or a pipe."""
    narrow = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=100 if narrow else None, log_path=False)


def spoken(text: str) -> str:
    """Say a message of the library in the words of `esijax localize`: options for arguments."""
    for python, here in SPOKEN:
        text = re.sub(python, here, text)
    return re.sub(KEYWORD, lambda found: f"--{found[1]} {_as_typed(found[2])}", text)


def _as_typed(text: str) -> str:
    """Write a value of Python's as the command line takes it."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    if isinstance(value, dict):
        return shlex.quote(",".join(f"{k}={v}" for k, v in value.items()))
    if isinstance(value, list | tuple):
        return shlex.quote(",".join(map(str, value)))
    return "none" if value is None else shlex.quote(str(value))


def listed(given: Sequence[str], names: Sequence[str]) -> list[str]:
    """Names as given one by one or between commas; a name of `names` may hold a comma itself."""
    parts = (part for text in given for part in ([text] if text in names else text.split(",")))
    return [part.strip() for part in parts if part.strip()]


def mark_bad(evoked, given: Sequence[str], path) -> None:
    """Mark the channels of `--bads`, beside those that are marked already.

    Raises
    ------
    InputError
        If a channel is not in the measurement.
    """
    from esijax._types import InputError

    bads = listed(given, evoked.ch_names)
    unknown = [name for name in bads if name not in evoked.ch_names]
    if unknown:
        raise InputError(f"--bads: {path} has no channels {unknown}.")
    evoked.info["bads"] = sorted({*evoked.info["bads"], *bads})


@contextlib.contextmanager
def stoppable() -> Generator[list[int]]:
    """Let SIGTERM do what Ctrl-C does: `solve` keeps what is drawn, all else ends.

    Yields
    ------
    came : list of int
        The signals as they come.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came  # only the main thread hears signals
        return

    def stop(number, _frame):
        came.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
