"""Lead fields of other tools, from files written here in their layouts."""

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io

import esijax as ej
from esijax.forward import Sensors, SphereModel

NAMES = ["Fz", "Cz", "Pz"]


@pytest.fixture(scope="module")
def field():
    """Three electrodes on a sphere, twelve places."""
    v = np.array([[0.3, 0.5, 1.0], [0.0, 0.0, 1.0], [-0.2, -0.6, 0.8]])
    at = 0.09 * v / np.linalg.norm(v, axis=1, keepdims=True) + [0, 0, 0.04]
    rng = np.random.default_rng(0)
    places = rng.uniform(-0.04, 0.04, (12, 3)) + np.array([0, 0, 0.04])
    return SphereModel().leadfield(places, None, Sensors.eeg(at, ch_names=NAMES))


def write_fieldtrip(path, field, unit="mm", factor=1e3, gain=1.0):
    """Two of the sources lie outside the brain: empty there."""
    n = len(field.positions)
    cells = np.empty(n + 2, dtype=object)
    for i in range(n):
        cells[i] = gain * np.asarray(field.gain[:, i])
    cells[n], cells[n + 1] = np.zeros((0, 0)), np.zeros((0, 0))
    pos = np.concatenate([factor * np.asarray(field.positions), np.full((2, 3), 200.0)])
    grid = dict(pos=pos, unit=unit, leadfield=cells, label=np.array(NAMES, dtype=object))
    scipy.io.savemat(path, {"grid": grid})


def test_fieldtrip(field, tmp_path):
    path = tmp_path / "leadfield.mat"
    write_fieldtrip(path, field)
    got = ej.io.read_leadfield(path)
    assert got.ch_names == tuple(NAMES)
    assert got.ch_types == ("eeg",) * 3
    np.testing.assert_allclose(got.positions, field.positions, atol=1e-15)
    np.testing.assert_allclose(got.gain, field.gain, rtol=1e-12)
    write_fieldtrip(path, field, gain=1e-9)
    with pytest.raises(ej.InputError, match="Say with scale"):
        ej.io.read_leadfield(path)
    np.testing.assert_allclose(ej.io.read_leadfield(path, scale=1e9).gain, field.gain, rtol=1e-12)
    write_fieldtrip(path, field, unit="m")
    with pytest.raises(ej.InputError, match="metres"):
        ej.io.read_leadfield(path)
    write_fieldtrip(path, field, unit="inch")
    with pytest.raises(ej.InputError, match="'inch'"):
        ej.io.read_leadfield(path)
    with pytest.raises(ej.InputError, match="names its channels itself"):
        ej.io.read_leadfield(path, ch_names=NAMES)


def test_other_coordinates(field, tmp_path):
    """A file in turned coordinates, brought back: positions and moments."""
    path = tmp_path / "leadfield.mat"
    motion = np.asarray(ej.forward.rigid([0.01, 0.0, 0.02, 0.3, -0.4, 1.2]))
    turn, shift = motion[:3, :3], motion[:3, 3]
    there = ej.forward.LeadField(
        jnp.einsum("cld,de->cle", field.gain, turn),
        (field.positions - shift) @ turn,
        field.orientations,
        field.ch_names,
        field.ch_types,
    )
    write_fieldtrip(path, there)
    got = ej.io.read_leadfield(path, to_head=motion)
    np.testing.assert_allclose(got.positions, field.positions, atol=1e-14)
    np.testing.assert_allclose(got.gain, field.gain, rtol=1e-10, atol=1e-10)
    with pytest.raises(ej.InputError, match="rigid motion"):
        ej.io.read_leadfield(path, to_head=2 * np.eye(4))


def test_brainstorm(field, tmp_path):
    path = tmp_path / "headmodel_surf_os_meg.mat"
    gain = np.asarray(field.gain).reshape(3, -1)
    scipy.io.savemat(path, {"Gain": gain, "GridLoc": np.asarray(field.positions)})
    got = ej.io.read_leadfield(path, ch_names=NAMES)
    np.testing.assert_allclose(got.gain, field.gain)
    with pytest.raises(ej.InputError, match="give ch_names"):
        ej.io.read_leadfield(path)
    with pytest.raises(ej.InputError, match="eeg, mag or grad"):
        ej.io.read_leadfield(path, ch_names=NAMES, ch_types="meg")
    gain = np.concatenate([gain, np.full((1, 36), np.nan)])
    scipy.io.savemat(path, {"Gain": gain, "GridLoc": np.asarray(field.positions)})
    with pytest.warns(ej.EsijaxWarning, match="1 channels"):
        got = ej.io.read_leadfield(path, ch_names=[*NAMES, "EOG"])
    assert not np.asarray(got.gain[3]).any()


def test_new_york_head(field, tmp_path):
    path = tmp_path / "sa_nyhead.mat"
    with h5py.File(path, "w") as file:
        cortex = file.create_group("sa/cortex75K")
        cortex["V_fem"] = np.asarray(field.gain).T / 1e3
        cortex["vc"] = 1e3 * np.asarray(field.positions).T
        refs = []
        for i, name in enumerate(NAMES):
            file[f"#refs#/{i}"] = np.array([[ord(c)] for c in name], dtype=np.uint16)
            refs.append(file[f"#refs#/{i}"].ref)
        file["sa/clab_electrodes"] = np.array([refs], dtype=h5py.ref_dtype)
    got = ej.io.read_leadfield(path)
    assert got.ch_names == tuple(NAMES)
    np.testing.assert_allclose(got.gain, field.gain, rtol=1e-12)
    np.testing.assert_allclose(got.positions, field.positions, atol=1e-15)


def test_files_of_another_kind(tmp_path):
    with pytest.raises(ej.InputError, match="no such file"):
        ej.io.read_leadfield(tmp_path / "no.mat")
    scipy.io.savemat(tmp_path / "a.mat", {"x": 1})
    with pytest.raises(ej.InputError, match=r"holds no lead field of .* but x"):
        ej.io.read_leadfield(tmp_path / "a.mat")
    (tmp_path / "b.mat").write_bytes(b"this is not a MATLAB file" * 20)
    with pytest.raises(ej.InputError, match="not a MATLAB file"):
        ej.io.read_leadfield(tmp_path / "b.mat")
    with h5py.File(tmp_path / "c.mat", "w") as file:
        file["y"] = 1
    with pytest.raises(ej.InputError, match="not the New York Head"):
        ej.io.read_leadfield(tmp_path / "c.mat")
