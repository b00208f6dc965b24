"""Priors over sources, one assumption a file."""
