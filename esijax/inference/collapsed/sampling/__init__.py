"""Markov chains on the hyper-parameters."""
