"""Dimensions and coordinates by name: channels of a type, locations, orients, times, trials."""

from typing import Any

import numpy as np

from esijax.estimate import Estimate
from esijax.problem import Problem

ORIENTS = ("tangential_1", "tangential_2", "normal")


def channels_apart(problem: Problem) -> dict[str, tuple[str, np.ndarray, np.ndarray]]:
    """Variable to its dimension, names and indices of channels: one for each type of several.

    V and T in one panel are none of both.
    """
    labels, n = problem.labels, problem.whitener.matrix.shape[1]
    names = np.array(labels.ch_names) if labels.ch_names else np.arange(n)
    types = np.array(labels.ch_types)
    kinds = list(dict.fromkeys(labels.ch_types))
    if len(kinds) < 2:
        return {"data": ("channel", names, np.arange(n))}
    each = {kind: np.flatnonzero(types == kind) for kind in kinds}
    return {kind: (f"{kind}_channel", names[at], at) for kind, at in each.items()}


def data_variables(
    problem: Problem, values: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, list[str]], dict[str, Any]]:
    """Variables, dimensions and coordinates of (..., channels, times)."""
    lead, coords = lead_dims(problem), lead_coords(problem) | {"time": problem.times}
    variables, dims = {}, {}
    for name, (dim, channels, at) in channels_apart(problem).items():
        variables[name], dims[name] = values[..., at, :], [*lead, dim, "time"]
        coords[dim] = channels
    return variables, dims, coords


def lead_dims(problem: Problem) -> list[str]:
    """That of the trials, where there are any."""
    return ["trial"] if problem.data.ndim == 3 else []


def lead_coords(problem: Problem) -> dict[str, Any]:
    """Their numbers."""
    return {"trial": np.arange(problem.data.shape[0])} if problem.data.ndim == 3 else {}


def source_coords(estimate: Estimate, locations: np.ndarray, times: np.ndarray) -> dict[str, Any]:
    """Coordinates of sources; two orients of a filter have the names of the last."""
    problem = estimate.problem
    orients = list(ORIENTS[-estimate.n_orients :])
    own = {"location": locations, "orient": orients, "time": problem.times[times]}
    return lead_coords(problem) | own


def place_variables(problem: Problem, locations: np.ndarray) -> tuple[dict, dict, dict]:
    """Position (head coordinates, m), source space and vertex of the locations, where known."""
    variables, dims = {}, {}
    if problem.geometry.positions is not None:
        variables["position"] = np.asarray(problem.geometry.positions)[locations]
        dims["position"] = ["location", "xyz"]
    if problem.labels.vertices:
        sizes = [len(v) for v in problem.labels.vertices]
        variables["vertex"] = np.concatenate(problem.labels.vertices)[locations]
        variables["source_space"] = np.repeat(np.arange(len(sizes)), sizes)[locations]
        dims |= {"vertex": ["location"], "source_space": ["location"]}
    return variables, dims, {"location": locations, "xyz": ["x", "y", "z"]}


def hyper_variables(
    problem: Problem, hyper: dict[str, np.ndarray], lead: int, locations: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, list[str]], dict[str, Any]]:
    """Hyper-parameters with names that groups may have; one for each location at these alone.

    `lead` axes are those of chains and draws.
    """
    n_channels = problem.whitener.matrix.shape[1]
    variables, dims, coords = {}, {}, {}
    for full, value in hyper.items():
        name, own = full.replace("/", "_"), value.shape[lead:]  # a slash would be a group
        dims[name] = [f"{name}_dim_{i}" for i in range(len(own))]
        for axis, size in enumerate(own):
            if full.startswith("noise") and size == n_channels:
                dims[name][axis], coords["channel"] = "channel", channels_of(problem)
            elif not full.startswith("noise") and size == problem.n_locations:
                value = np.take(value, locations, axis=lead + axis)
                dims[name][axis], coords["location"] = "location", locations
        variables[name] = value
    return variables, dims, coords


def channels_of(problem: Problem) -> np.ndarray:
    """Names of all channels, or their numbers."""
    names = problem.labels.ch_names
    return np.array(names) if names else np.arange(problem.whitener.matrix.shape[1])
