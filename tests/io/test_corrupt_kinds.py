"""A channel whose kind a damaged file has changed into one that does not exist."""

import mne
import pytest

import esijax as ej
from esijax.io.measured.picks import channel_types


@pytest.mark.parametrize("changed", [{"kind": 514}, {"kind": 1, "unit": 32769}])
def test_channels_of_unknown_kind_are_told(changed):
    info = mne.create_info(["Fz", "Cz", "Pz"], 100.0, "eeg")
    assert channel_types(info) == ["eeg"] * 3
    info["chs"][1].update(changed)
    with pytest.raises(ej.InputError, match="unknown kind"):
        channel_types(info)
