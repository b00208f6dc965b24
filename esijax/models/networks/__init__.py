"""Networks: of variances and of sources, whose input the lead field is; direct ones of one head."""

from esijax.models.networks.direct import MLP, DirectNetwork, LinearMap, check_one_head
from esijax.models.networks.files import (
    NETWORKS,
    Trained,
    load_network,
    save_network,
    shipped_network,
)
from esijax.models.networks.neighbours import Neighbours, mesh_neighbours
from esijax.models.networks.network import Network, PointNetwork
from esijax.models.networks.sources import FISTA, ISTA, SourceNetwork
from esijax.models.networks.variances import MeshNetwork, Smoothing, VarianceNetwork, unrolled

__all__ = [
    "FISTA",
    "ISTA",
    "MLP",
    "NETWORKS",
    "DirectNetwork",
    "LinearMap",
    "MeshNetwork",
    "Neighbours",
    "Network",
    "PointNetwork",
    "Smoothing",
    "SourceNetwork",
    "Trained",
    "VarianceNetwork",
    "check_one_head",
    "load_network",
    "mesh_neighbours",
    "save_network",
    "shipped_network",
    "unrolled",
]
