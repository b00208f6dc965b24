"""Networks that solve for variances; the lead field is their input, never a weight."""

from esijax.models.networks.files import Trained, load_network, save_network, shipped_network
from esijax.models.networks.neighbours import Neighbours, mesh_neighbours
from esijax.models.networks.variances import MeshNetwork, Smoothing, VarianceNetwork, unrolled

__all__ = [
    "MeshNetwork",
    "Neighbours",
    "Smoothing",
    "Trained",
    "VarianceNetwork",
    "load_network",
    "mesh_neighbours",
    "save_network",
    "shipped_network",
    "unrolled",
]
