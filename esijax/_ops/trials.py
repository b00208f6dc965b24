"""Trials of a recording, side by side: samples of all count alike where none depends on another."""

from typing import Any


def trials_as_columns(data: Any) -> Any:
    """(trials, rank, times) or (rank, times) becomes (rank, columns), for JAX and NumPy."""
    n_times, rank = data.shape[-1], data.shape[-2]
    return data.reshape(-1, rank, n_times).swapaxes(0, 1).reshape(rank, -1)
