"""Lead fields, as differentiable functions of geometry, conductivity and sensors."""

from esijax.forward.bem import BEMModel
from esijax.forward.leadfield import LeadField
from esijax.forward.placement import Placement, fit_points
from esijax.forward.rigid import rigid
from esijax.forward.sensors import Coils, Electrodes, Sensors
from esijax.forward.sphere import SphereModel
from esijax.forward.surface import Surface

__all__ = [
    "BEMModel",
    "Coils",
    "Electrodes",
    "LeadField",
    "Placement",
    "Sensors",
    "SphereModel",
    "Surface",
    "fit_points",
    "rigid",
]
