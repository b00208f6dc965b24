"""The door to MNE and ArviZ: problems in, estimates out, a template head, files."""

from esijax.io._geometry import geometry
from esijax.io.files import load, save
from esijax.io.head_in import head_model
from esijax.io.leadfields import leadfield, to_forward
from esijax.io.matlab_leadfields import read_leadfield
from esijax.io.mne_in import from_mne
from esijax.io.mne_out import to_arviz, to_mne, write_stc
from esijax.io.readers import read_evoked, read_forward, read_noise_cov
from esijax.io.sensors_in import sensors
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
    "head_model",
    "leadfield",
    "load",
    "perturbed_forward",
    "read_evoked",
    "read_forward",
    "read_leadfield",
    "read_noise_cov",
    "save",
    "sensors",
    "simulation_head",
    "template",
    "to_arviz",
    "to_evoked",
    "to_forward",
    "to_mne",
    "to_noise_cov",
    "with_conductivity",
    "write_stc",
]
