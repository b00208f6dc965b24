"""The door to MNE and ArviZ: problems in, estimates out, lead fields, a template head, files.

Names are loaded on first use: a lead field needs nothing of models and files.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esijax.io.files import load, save, shared_problem
    from esijax.io.head_in import head_model
    from esijax.io.leadfields import leadfield, to_forward
    from esijax.io.matlab_leadfields import read_leadfield
    from esijax.io.measured.geometry import geometry
    from esijax.io.mne_in import from_mne
    from esijax.io.mne_out import to_mne, write_stc
    from esijax.io.noise_time_in import noise_time
    from esijax.io.readers import read_evoked, read_forward, read_noise_cov
    from esijax.io.regions_in import regions
    from esijax.io.sensors_in import sensors
    from esijax.io.simulated import (
        perturbed_forward,
        simulation_head,
        to_evoked,
        to_noise_cov,
        with_conductivity,
    )
    from esijax.io.subject_of_examples import Subject, sample_subject
    from esijax.io.template_head import Template, template
    from esijax.io.tree.tree import to_arviz

__all__ = [
    "Subject",
    "Template",
    "from_mne",
    "geometry",
    "head_model",
    "leadfield",
    "load",
    "noise_time",
    "perturbed_forward",
    "read_evoked",
    "read_forward",
    "read_leadfield",
    "read_noise_cov",
    "regions",
    "sample_subject",
    "save",
    "sensors",
    "shared_problem",
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

_HOME = {
    "Subject": "subject_of_examples",
    "Template": "template_head",
    "from_mne": "mne_in",
    "geometry": "measured.geometry",
    "head_model": "head_in",
    "leadfield": "leadfields",
    "load": "files",
    "noise_time": "noise_time_in",
    "perturbed_forward": "simulated",
    "read_evoked": "readers",
    "read_forward": "readers",
    "read_leadfield": "matlab_leadfields",
    "read_noise_cov": "readers",
    "regions": "regions_in",
    "sample_subject": "subject_of_examples",
    "save": "files",
    "sensors": "sensors_in",
    "shared_problem": "files",
    "simulation_head": "simulated",
    "template": "template_head",
    "to_arviz": "tree.tree",
    "to_evoked": "simulated",
    "to_forward": "leadfields",
    "to_mne": "mne_out",
    "to_noise_cov": "simulated",
    "with_conductivity": "simulated",
    "write_stc": "mne_out",
}


def __getattr__(name: str):
    if name in _HOME:
        value = getattr(import_module(f"esijax.io.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'esijax.io' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
