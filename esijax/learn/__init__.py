"""Training of learned inverses: tasks, losses, networks that come out of them."""

<<<<<<< HEAD
from esijax.learn.adapt import adapt
=======
from esijax.learn.amortise import amortise
>>>>>>> main
from esijax.learn.calibrate import calibrate
from esijax.learn.kernel import kernel
from esijax.learn.task import Task
from esijax.learn.train import CHECKPOINT, train
from esijax.models.networks import Trained
from esijax.models.networks import load_network as load
from esijax.models.networks import save_network as save

<<<<<<< HEAD
__all__ = ["CHECKPOINT", "Task", "Trained", "adapt", "calibrate", "kernel", "load", "save", "train"]
=======
__all__ = [
    "CHECKPOINT",
    "Task",
    "Trained",
    "amortise",
    "calibrate",
    "kernel",
    "load",
    "save",
    "train",
]
>>>>>>> main
