"""Simulated truth: where sources are, what they do, what is heard of it, and what goes wrong."""

from esijax.simulate.faults import (
    average_reference,
    bad_channels,
    pick_channels,
    project_out,
    spread_channels,
    through,
)
from esijax.simulate.head import Head, deep, depths
from esijax.simulate.noise import (
    BrainBackground,
    FromCov,
    FromRecording,
    Noise,
    White,
    pink_noise,
)
from esijax.simulate.patches import PatchTable, patch, patch_table
from esijax.simulate.rhythms import Autoregressive, Microstates, Oscillation
from esijax.simulate.simulation import Draw, Scenario, Simulation, simulate
from esijax.simulate.snr import alpha_to_db, db_to_alpha, db_to_lambda2, lambda2_to_db, snr_db
from esijax.simulate.sources import Dipoles, Patches, Placement, Sources
from esijax.simulate.truth import Truth
from esijax.simulate.waveforms import Gabors, Given, HannNoise, Spikes, Waveform, erp

__all__ = [
    "Autoregressive",
    "BrainBackground",
    "Dipoles",
    "Draw",
    "FromCov",
    "FromRecording",
    "Gabors",
    "Given",
    "HannNoise",
    "Head",
    "Microstates",
    "Noise",
    "Oscillation",
    "PatchTable",
    "Patches",
    "Placement",
    "Scenario",
    "Simulation",
    "Sources",
    "Spikes",
    "Truth",
    "Waveform",
    "White",
    "alpha_to_db",
    "average_reference",
    "bad_channels",
    "db_to_alpha",
    "db_to_lambda2",
    "deep",
    "depths",
    "erp",
    "lambda2_to_db",
    "patch",
    "patch_table",
    "pick_channels",
    "pink_noise",
    "project_out",
    "simulate",
    "snr_db",
    "spread_channels",
    "through",
]
