"""The door to MNE and ArviZ: problems in, estimates out, a template head, files."""

from esijax.io._geometry import geometry
from esijax.io.files import load, save
from esijax.io.mne_in import from_mne
from esijax.io.mne_out import to_arviz, to_mne, write_stc
from esijax.io.readers import read_evoked, read_forward, read_noise_cov
from esijax.io.simulated import (
    perturbed_forward,
    simulation_head,
    to_evoked,
    to_noise_cov,
    with_conductivity,
)
from esijax.io.template import Template, template

__all__ = [
    "Template",
    "from_mne",
    "geometry",
    "load",
    "perturbed_forward",
    "read_evoked",
    "read_forward",
    "read_noise_cov",
    "save",
    "simulation_head",
    "template",
    "to_arviz",
    "to_evoked",
    "to_mne",
    "to_noise_cov",
    "with_conductivity",
    "write_stc",
]
