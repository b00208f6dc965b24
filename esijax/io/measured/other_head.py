"""The sources of a forward, seen through another head or by other sensors."""

from typing import Any

import mne

from esijax import _checks
from esijax._types import InputError
from esijax.forward import BEMModel, Sensors, SphereModel
from esijax.io.leadfields import computed
from esijax.io.measured.channels import Measurement, common_channels
from esijax.io.measured.picks import channel_types
from esijax.io.sensors_in import sensors as sensors_of


def through_head(
    forward: mne.Forward,
    data: Measurement,
    noise_cov: mne.Covariance | None,
    picks: Any,
    head: Any,
    sensors: Any,
) -> tuple[mne.Forward, Sensors]:
    """The forward as a head and sensors have it, and the sensors.

    Without a head the forward stays; without sensors they are those of the measurement.
    """
    info = data.inst.info
    if head is not None and not isinstance(head, SphereModel | BEMModel):
        raise TypeError(
            f"head must be an esijax SphereModel or BEMModel, got {type(head).__name__}: "
            "ej.io.head_model(bem, trans) makes one."
        )
    if sensors is None:
        channels = common_channels(data, info["ch_names"], noise_cov, picks)
        sensors = sensors_of(info, reference="info", picks=channels.names)
    if not isinstance(sensors, Sensors):
        raise TypeError(f"sensors must be esijax Sensors, got {type(sensors).__name__}.")
    _check_sensors(sensors, info)
    return (forward if head is None else computed(forward, head, sensors, info)), sensors


def _check_sensors(sensors: Sensors, info: mne.Info) -> None:
    """Refuse sensors that are no channels of the measurement."""
    kinds = dict(zip(info["ch_names"], channel_types(info), strict=True))
    each = zip(sensors.ch_names, sensors.ch_types, strict=True)
    strange = [name for name, kind in each if kinds.get(name) != kind]
    if strange:
        raise InputError(
            f"sensors {_checks.names(strange)} are no channels of the measurement, or of another "
            "type there: names and types must be its own."
        )
