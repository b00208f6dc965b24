"""Simulated truth: cortical patches, waveforms, coloured noise."""

from esijax.simulate.noise import pink_noise
from esijax.simulate.patches import patch
from esijax.simulate.waveforms import erp

__all__ = ["erp", "patch", "pink_noise"]
