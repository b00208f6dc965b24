"""Methods against scenarios with a known truth: the measuring stick that anyone can run."""

from esijax.benchmark.case import Case
from esijax.benchmark.methods import COMPARED as METHODS
from esijax.benchmark.page import markdown, summary, write_page
from esijax.benchmark.protocols import PROTOCOLS
from esijax.benchmark.runner import run
from esijax.benchmark.scenarios import SCENARIOS
from esijax.benchmark.study import Study

__all__ = [
    "METHODS",
    "PROTOCOLS",
    "SCENARIOS",
    "Case",
    "Study",
    "markdown",
    "run",
    "summary",
    "write_page",
]
