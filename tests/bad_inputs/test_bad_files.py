"""Truncated, damaged and forged files, full disks (rows 54 to 60)."""

import hashlib
import io
import json
import os
import resource
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bad_rows import AVE, COV, FWD, WORKS, Table, check_case, toy

import esijax as ej
from esijax import EsijaxWarning, InputError

TABLE = Table()
row = TABLE.row


def _broken(x, source, content, reader):
    path = x.folder / source.name
    path.write_bytes(content)
    return lambda: reader(path)


for _kind, _path in [("read_evoked", AVE), ("read_noise_cov", COV), ("read_forward", FWD)]:
    for _share in (0.0, 0.1, 0.5, 0.9, 0.999):

        def _cut(x, kind=_kind, path=_path, share=_share):
            content = path.read_bytes()
            return _broken(x, path, content[: int(share * len(content))], getattr(ej.io, kind))

        row(54, f"{_kind}-{100 * _share:g}%", InputError, "truncated or corrupt", _path.name)(_cut)


@row(54, "missing-file", InputError, "nothing-fwd.fif", "no such file")
def _(x):
    return lambda: ej.io.read_forward(x.folder / "nothing-fwd.fif")


@row(54, "other-kind-of-file", InputError, "audvis-cov.fif", "expected kind")
def _(x):
    return lambda: ej.io.read_forward(COV)


@row(54, "unknown-condition", InputError, "Left Auditory", "Smell")
def _(x):
    return lambda: ej.io.read_evoked(AVE, "Smell")


@row(55, "bit-flips-in-fwd", WORKS)
def _(x):
    """Either an InputError or a finite answer: a FIF file has no checksum."""
    content = FWD.read_bytes()
    rng = np.random.default_rng(2)

    def act():
        for place in rng.integers(0, len(content), 10):
            flipped = bytearray(content)
            flipped[place] ^= 1 << int(rng.integers(8))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EsijaxWarning)
                try:
                    x.forward = _broken(x, FWD, flipped, ej.io.read_forward)()
                    estimate = ej.solve(x.problem(), x.model, ej.inference.Linear())
                except InputError:
                    continue
            assert np.isfinite(estimate.mean).all()
            assert np.isfinite(estimate.std).all()

    return act


@row(55, "exponent-flip-in-gain", InputError, "lead field", "MEG 0113", "NaN or Inf")
def _(x):
    i = x.forward["sol"]["row_names"].index("MEG 0113")
    x.forward["sol"]["data"].view(np.uint32)[i, 1000] ^= 1 << 30


def _stored(x) -> Path:
    return ej.save(ej.solve(toy(), x.model, ej.inference.Linear()), x.folder / "estimate.npz")


@row(55, "bit-flips-in-ours", InputError, "estimate.npz", "checksum")
def _(x):
    path = _stored(x)
    content = path.read_bytes()
    rng = np.random.default_rng(0)

    def act():
        for place in rng.integers(0, len(content) - 200, 300):
            flipped = bytearray(content)
            flipped[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
            with pytest.raises(InputError, match="checksum"):
                ej.load(path)
        return ej.load(path)

    return act


for _share in (0.0, 0.1, 0.5, 0.999):

    def _cut_ours(x, share=_share):
        path = _stored(x)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return lambda: ej.load(path)

    row(56, f"ours-{100 * _share:g}%", InputError, "estimate.npz", "truncated")(_cut_ours)


def _sealed(x, arrays: dict, spoil: Callable = lambda entry: entry) -> Path:
    """Write a file with a valid checksum over whatever it holds."""
    from esijax.io import files

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.save(entry, array, allow_pickle=True)
            z.writestr(f"{name}.npy", spoil(entry.getvalue()))
        z.comment = files._MARK + b"0" * files._DIGEST
    body = buffer.getvalue()[: -files._DIGEST]
    path = x.folder / "crafted.npz"
    path.write_bytes(body + hashlib.sha256(body).hexdigest().encode())
    return path


class _Trap:
    def __reduce__(self):
        return (os.mkdir, (os.environ["ESIJAX_TEST_TRAP"],))


@row(57, "pickle-in-npz", InputError, "crafted.npz", "not a plain array")
def _(x):
    trap = x.folder / "executed"
    os.environ["ESIJAX_TEST_TRAP"] = str(trap)
    path = _sealed(x, {"header": np.array([_Trap()], dtype=object)})
    del os.environ["ESIJAX_TEST_TRAP"]

    def act():
        try:
            ej.load(path)
        finally:
            assert not trap.exists()

    return act


@row(57, "foreign-class", InputError, "subprocess:Popen", "foreign class")
def _(x):
    return lambda: ej.load(_sealed(x, _header({"class": "subprocess:Popen", "fields": {}})))


for _name, _tree in [
    ("no-header", None),
    ("not-json", "{"),
    ("missing-array", {"array": "a7", "jax": True}),
    ("wrong-fields", {"class": "esijax.problem:Geometry", "fields": {"x": {"plain": 1}}}),
    ("no-estimate", {"plain": 1}),
]:
    row(57, f"crafted-{_name}", InputError, "crafted.npz")(
        lambda x, tree=_tree: lambda: ej.load(_sealed(x, _header(tree)))
    )


def _header(tree) -> dict:
    if tree is None:
        return {"a0": np.ones(3)}
    text = tree if isinstance(tree, str) else json.dumps(tree)
    return {"header": np.frombuffer(text.encode(), dtype=np.uint8)}


@row(58, "external-link-in-nc", InputError, "linked.nc", "no esijax file")
def _(x):
    h5py = pytest.importorskip("h5py")
    path = x.folder / "linked.nc"
    with h5py.File(path, "w") as f:
        f["posterior"] = h5py.ExternalLink("/etc/passwd", "/")
    return lambda: ej.load(path)


def _claim(shape: bytes) -> Callable:
    """Make an array's own header claim another shape, its length unchanged."""
    return lambda entry: entry.replace(b"(3,), }" + b" " * (len(shape) - 4), shape + b", }", 1)


@row(59, "claims-160-GB", InputError, "crafted.npz", "not a plain array of its size")
def _(x):
    path = _sealed(x, {"header": np.ones(3)}, _claim(b"(20000000000,)"))
    return lambda: ej.load(path)


@row(59, "claims-more-than-64-bits", InputError, "crafted.npz", "not a plain array of its size")
def _(x):
    path = _sealed(x, {"header": np.ones(3)}, _claim(b"(4294967296, 4294967296)"))
    return lambda: ej.load(path)


@row(60, "disk-full", InputError, "estimate.npz", "cannot be written", "untouched")
def _(x):
    path = _stored(x)
    content = path.read_bytes()
    estimate = ej.load(path)

    def act():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, hard))
        try:
            ej.save(estimate, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert path.read_bytes() == content
            assert [p.name for p in x.folder.iterdir()] == [path.name]

    return act


@row(60, "no-such-folder", InputError, "estimate.npz", "cannot be written")
def _(x):
    estimate = ej.load(_stored(x))
    return lambda: ej.save(estimate, x.folder / "nowhere" / "estimate.npz")


@row(60, "saved-and-loaded", WORKS, lcmv=True)
def _(x):
    def act():
        estimates = x.run()
        again = [ej.load(ej.save(e, x.folder / "estimate.npz")) for e in estimates]
        for old, new in zip(estimates, again, strict=True):
            np.testing.assert_array_equal(old.mean, new.mean)
        return again

    return act


@pytest.mark.parametrize("case", TABLE.params())
def test_bad_files(case, good_inputs, tmp_path):
    check_case(case, good_inputs, tmp_path)
