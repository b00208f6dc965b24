"""Whether a map can be believed: checks with a light, and what to do (`estimate.trust()`)."""

from esijax.trust.check import Check, Trust
from esijax.trust.trust import trust_of
from esijax.trust.window import proposed_window

__all__ = ["Check", "Trust", "proposed_window", "trust_of"]
