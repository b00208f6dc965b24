"""Lead fields of other tools, from files written here in their layouts."""

import os
import zlib

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
import scipy.sparse

import esijax as ej
from esijax.forward import Sensors, SphereModel
from esijax.io import _mat5

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


def write_new_york(path, field):
    with h5py.File(path, "w") as file:
        cortex = file.create_group("sa/cortex75K")
        cortex["V_fem"] = np.asarray(field.gain).T / 1e3
        cortex["vc"] = 1e3 * np.asarray(field.positions).T
        refs = []
        for i, name in enumerate(NAMES):
            file[f"#refs#/{i}"] = np.array([[ord(c)] for c in name], dtype=np.uint16)
            refs.append(file[f"#refs#/{i}"].ref)
        file["sa/clab_electrodes"] = np.array([refs], dtype=h5py.ref_dtype)


def test_new_york_head(field, tmp_path):
    path = tmp_path / "sa_nyhead.mat"
    write_new_york(path, field)
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


# ------------------------------------------------------------------ MATLAB's format 5
def test_format_5_as_scipy_reads_it(tmp_path):
    """Numbers of all types, texts, cells and structs, plain and compressed."""
    cells = np.empty(3, dtype=object)
    cells[:] = ["Fz", np.arange(6.0).reshape(2, 3), np.zeros((0, 0))]
    content = {
        "short": np.arange(-3, 3, dtype=np.int16),
        "large": np.arange(24, dtype=np.uint64).reshape(2, 3, 4),
        "single": np.float32([[1.5, -2.5]]),
        "complex": np.array([[1 + 2j, 3 - 4j]]),
        "logical": np.array([[True, False]]),
        "text": "Näss",
        "rows": np.array(["Fz ", "CPz"]),
        "cells": cells,
        "grid": {"unit": "mm", "inner": {"cells": cells}, "n": 3},
        "sparse": scipy.sparse.eye(3, format="csc"),
    }
    for compressed in (False, True):
        scipy.io.savemat(tmp_path / "x.mat", content, do_compression=compressed)
        got = _mat5.read_mat5((tmp_path / "x.mat").read_bytes(), 10**9)
        assert list(got) == list(content)
        for name in ("short", "large", "single", "complex", "logical"):
            want = np.atleast_2d(content[name])
            np.testing.assert_array_equal(got[name], want)
            assert got[name].dtype.kind == ("u" if name == "logical" else want.dtype.kind)
        assert got["text"] == "Näss"
        assert got["rows"] == ["Fz", "CPz"]
        for found in (got["cells"], got["grid"]["inner"]["cells"]):
            assert found[0] == "Fz"
            np.testing.assert_array_equal(found[1], cells[1])
            assert found[2].shape == (0, 0)
        assert (got["grid"]["unit"], got["grid"]["n"].item()) == ("mm", 3)
        assert got["sparse"] is None


def damaged_at(path, find, replacement):
    content = path.read_bytes()
    assert content.count(find) == 1
    path.write_bytes(content.replace(find, replacement))


def test_claims_of_format_5_are_held_against_the_file(field, tmp_path, monkeypatch):
    """192 GB in the head of an array, in a compressed part, and honest ones that are too large."""
    path = tmp_path / "x.mat"
    gain = {"Gain": np.asarray(field.gain).reshape(3, -1), "GridLoc": np.asarray(field.positions)}
    scipy.io.savemat(path, gain)
    damaged_at(path, np.int32([3, 36]).tobytes(), np.int32([600_000, 40_000]).tobytes())
    with pytest.raises(ej.InputError, match=r"x\.mat: claims 600000 x 40000 numbers = 192 GB"):
        ej.io.read_leadfield(path)
    head = path.read_bytes()[:128]
    claim = np.uint32([14, 4_000_000_000]).tobytes()
    monkeypatch.setenv("ESIJAX_MAX_GB", "3")
    body = zlib.compress(claim + bytes(1000))
    path.write_bytes(head + np.uint32([15, len(body)]).tobytes() + body)
    with pytest.raises(ej.InputError, match="compressed bytes claim 4 GB, more than the 3 GB"):
        ej.io.read_leadfield(path)
    # a bomb that claims little is not inflated beyond its claim
    body = zlib.compress(np.uint32([14, 1000]).tobytes() + bytes(50_000_000))
    path.write_bytes(head + np.uint32([15, len(body)]).tobytes() + body)
    with pytest.raises(ej.InputError, match="end too early or too late"):
        ej.io.read_leadfield(path)
    scipy.io.savemat(path, gain, do_compression=True)
    monkeypatch.setenv("ESIJAX_MAX_GB", "1e-6")
    with pytest.raises(ej.InputError, match=r"x\.mat: .*ESIJAX_MAX_GB"):
        ej.io.read_leadfield(path)


def test_wrong_types_inside(field, tmp_path):
    path, rng = tmp_path / "x.mat", np.random.default_rng(0)
    gain, places = np.asarray(field.gain).reshape(3, -1), np.asarray(field.positions)
    cells = np.empty(12, dtype=object)
    cells[:] = list(np.asarray(field.gain).transpose(1, 0, 2))
    ragged, complex_, text = cells.copy(), cells.copy(), cells.copy()
    ragged[3], complex_[3], text[3] = rng.standard_normal((2, 3)), 1j * cells[3], "abc"
    grid = dict(leadfield=cells, pos=places, unit="m", label=np.array(NAMES, dtype=object))
    for content, told in [
        ({"Gain": "text", "GridLoc": places}, "Gain holds text where real numbers"),
        ({"Gain": 1j * gain, "GridLoc": places}, "Gain holds complex numbers"),
        ({"Gain": cells, "GridLoc": places}, "Gain holds cells"),
        ({"Gain": gain, "GridLoc": places.T}, r"GridLoc is \(3, 12\)"),
        ({"Gain": gain * np.nan, "GridLoc": places}, "NaN or Inf in every channel"),
        ({"Gain": np.zeros((0, 36)), "GridLoc": places}, "Gain is"),
        ({"grid": {**grid, "leadfield": ragged}}, r"different shapes: \[\(2, 3\), \(3, 3\)\]"),
        ({"grid": {**grid, "leadfield": complex_}}, "leadfield holds complex numbers"),
        ({"grid": {**grid, "leadfield": text}}, "leadfield holds text"),
        ({"grid": {**grid, "leadfield": gain}}, "leadfield holds no cells"),
        ({"grid": {**grid, "pos": places[:5]}}, r"pos is \(5, 3\); \(12, 3\) is needed"),
        ({"grid": {**grid, "pos": "here"}}, "pos holds text"),
        ({"grid": {**grid, "label": 3}}, "label holds no names"),
        ({"grid": {**grid, "label": np.array(["a", "a", "b"], dtype=object)}}, "several .* a:"),
        ({"grid": {**grid, "unit": 3}}, "positions in"),
    ]:
        scipy.io.savemat(path, content)
        with pytest.raises(ej.InputError, match=told):
            ej.io.read_leadfield(path, ch_names=NAMES if "Gain" in content else None)
    scipy.io.savemat(path, {"grid": grid})
    for kwargs, told in [
        ({"scale": "1"}, "scale must be a finite number"),
        ({"scale": np.nan}, "scale must be a finite number"),
        ({"scale": 0}, "scale must be a finite number"),
    ]:
        with pytest.raises(ej.InputError, match=told):
            ej.io.read_leadfield(path, **kwargs)
    scipy.io.savemat(path, {"Gain": gain, "GridLoc": places})
    with pytest.raises(ej.InputError, match="ch_names must be the names"):
        ej.io.read_leadfield(path, ch_names="abc")


# ------------------------------------------------------------------ HDF5
def test_links_and_outside_data_are_refused(field, tmp_path):
    path, secret = tmp_path / "x.mat", tmp_path / "secret.h5"
    values = np.asarray(field.gain).T / 1e3
    with h5py.File(secret, "w") as file:
        file["x"] = values
    (tmp_path / "raw").write_bytes(values.tobytes())
    layout = h5py.VirtualLayout(values.shape, float)
    layout[...] = h5py.VirtualSource(str(secret), "x", values.shape)
    ways = {
        "link to x": lambda g: g.__setitem__("V_fem", h5py.ExternalLink(str(secret), "x")),
        "link to /sa/other": lambda g: g.__setitem__("V_fem", h5py.SoftLink("/sa/other")),
        "lie in other files": lambda g: g.create_virtual_dataset("V_fem", layout),
        "numbers of sa/cortex75K/V_fem lie in other files": lambda g: g.create_dataset(
            "V_fem", values.shape, float, external=[(str(tmp_path / "raw"), 0, values.nbytes)]
        ),
    }
    for told, way in ways.items():
        write_new_york(path, field)
        with h5py.File(path, "r+") as file:
            file["sa/other"] = values
            del file["sa/cortex75K/V_fem"]
            way(file["sa/cortex75K"])
        with pytest.raises(ej.InputError, match=rf"x\.mat: .*{told}"):
            ej.io.read_leadfield(path)
    write_new_york(path, field)
    with h5py.File(path, "r+") as file:
        file.move("sa", "real")
        file["sa"] = h5py.SoftLink("/real")
    with pytest.raises(ej.InputError, match="is a link to /real: refused"):
        ej.io.read_leadfield(path)


def test_claims_and_types_of_hdf5(field, tmp_path):
    path = tmp_path / "x.mat"
    chunks = {"chunks": (1, 100, 100)}
    for kwargs, told in [
        ({"shape": (3, 200_000, 40_000), "dtype": "f8", **chunks}, "= 192.0 GB, more than"),
        ({"shape": (3, 4000, 1000), "dtype": "f8", **chunks}, r"claims 0\.096 GB, which \d+ bytes"),
        ({"data": np.ones((3, 12, 3), dtype=complex)}, "holds complex128 where real numbers"),
        ({"data": np.full((3, 12, 3), b"x")}, "where real numbers"),
        ({"data": np.ones((3, 11, 3))}, r"V_fem is \(3, 11, 3\)"),
        ({"data": h5py.Empty("f8")}, "is no array"),
    ]:
        write_new_york(path, field)
        with h5py.File(path, "r+") as file:
            del file["sa/cortex75K/V_fem"]
            file["sa/cortex75K"].create_dataset("V_fem", **kwargs)
        with pytest.raises(ej.InputError, match=told):
            ej.io.read_leadfield(path)
    write_new_york(path, field)
    with h5py.File(path, "r+") as file:
        del file["sa/clab_electrodes"]
        file["sa/clab_electrodes"] = np.zeros(3)
    with pytest.raises(ej.InputError, match="no cells of text"):
        ej.io.read_leadfield(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ej.InputError, match="cannot be read"):
            ej.io.read_leadfield(path)
