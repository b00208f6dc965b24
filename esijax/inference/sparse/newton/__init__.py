"""Sums of location norms: Newton on working sets."""
