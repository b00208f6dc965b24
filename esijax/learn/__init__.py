"""Training of learned inverses: tasks, losses, networks that come out of them."""

from esijax.learn.adapt import adapt
from esijax.learn.amortise import amortise
from esijax.learn.calibrate import calibrate
from esijax.learn.kernel import kernel
from esijax.learn.task import Task
from esijax.learn.train import CHECKPOINT, train
from esijax.models.networks import Trained
from esijax.models.networks import load_network as load
from esijax.models.networks import save_network as save

__all__ = [
    "CHECKPOINT",
    "Task",
    "Trained",
    "adapt",
    "amortise",
    "calibrate",
    "kernel",
    "load",
    "save",
    "train",
]
