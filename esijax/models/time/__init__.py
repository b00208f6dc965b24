"""How samples go together: temporal covariances of sources and of noise."""

from esijax.models.time.autoregressive import Autoregressive
from esijax.models.time.kernels import Periodic, SquaredExponential, White
from esijax.models.time.matern import Matern
from esijax.models.time.oscillator import Oscillator
from esijax.models.time.time import Eigen, Kernel, Sum, Time, TimeCov

__all__ = [
    "Autoregressive",
    "Eigen",
    "Kernel",
    "Matern",
    "Oscillator",
    "Periodic",
    "SquaredExponential",
    "Sum",
    "Time",
    "TimeCov",
    "White",
]
