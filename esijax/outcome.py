"""How an inference ended, and what a method knows of its own quality."""

import abc
from typing import Any

import equinox as eqx


class RESULT(eqx.Enumeration):
    """How an inference ended; the value is the message for the user."""

    successful = "done"
    interrupted = "interrupted: what was finished until then"
    not_converged = "stopped before convergence: raise the number of iterations"
    doubtful = "the computation did not meet its own checks: see estimate.verdict()"


class Diagnostics(eqx.Module):
    """What a stochastic or iterative method knows of its own quality, kept with the estimate."""

    @property
    def evidence_note(self) -> str:
        """What a reader must know of the evidence; empty where it is what the method promises."""
        return ""

    def with_ch_names(self, ch_names: tuple[str, ...]) -> "Diagnostics":  # noqa: ARG002
        """Take the names of the channels, which stay outside compiled code."""
        return self

    @abc.abstractmethod
    def verdict(self) -> dict[str, Any]:
        """Numbers by name, on concrete arrays."""

    @abc.abstractmethod
    def doubts(self) -> tuple[str, ...]:
        """What did not meet its check, in words; empty if all did."""
