"""Estimates on disk: what comes back, and what is refused."""

import hashlib
import io
import json
import os
import zipfile

import jax
import numpy as np
import pytest

import esijax as ej
from esijax.io import files


@pytest.fixture(scope="module")
def estimates(fixed, free, trials):
    """One of each posterior, source covariance and shape."""
    linear, lcmv = ej.inference.Linear, ej.inference.LCMV
    return {
        "diagonal": ej.solve(fixed, ej.models.MinimumNorm("evidence"), linear("dSPM")),
        "blocks": ej.solve(free, ej.models.ELORETA(), linear()),
        "graph": ej.solve(free, ej.models.LORETA(), linear()),
        "trials": ej.solve(trials, ej.models.MinimumNorm(), linear("sLORETA")),
        "filters": ej.solve(free, None, lcmv()),
    }


@pytest.fixture
def saved(estimates, tmp_path):
    return ej.save(estimates["diagonal"], tmp_path / "estimate.npz")


KINDS = ("diagonal", "blocks", "graph", "trials", "filters")


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow if k == "blocks" else ()) for k in KINDS]
)
def test_what_was_saved_comes_back(estimates, kind, tmp_path):
    before = estimates[kind]
    after = ej.load(str(ej.save(before, str(tmp_path / "estimate"))))
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(a, b)
    key = jax.random.key(3)
    questions = [lambda e: e.mean, lambda e: e.std]
    if kind == "blocks":
        questions += [
            lambda e: e.sample(key, 3),
            lambda e: e.label([1, 2, 5]).upper,
            lambda e: e.exceedance(1.0),
        ]
    for ask in questions:
        np.testing.assert_array_equal(ask(after), ask(before))
    assert after.verdict() == before.verdict()
    assert after.problem.labels == before.problem.labels
    assert (after.model, after.method, after.unit) == (before.model, before.method, before.unit)
    assert [p.name for p in tmp_path.iterdir()] == ["estimate"]


def test_the_file_is_a_plain_npz(saved):
    with np.load(saved) as content:
        header = json.loads(content["header"].tobytes())
        assert header["class"] == "Estimate"
        assert len(content.files) > 5


def test_interrupted_stays_interrupted(estimates, tmp_path):
    import dataclasses

    from esijax.estimate import RESULT

    for result in (RESULT.interrupted, RESULT.not_converged):
        estimate = dataclasses.replace(estimates["diagonal"], result=result)
        after = ej.load(ej.save(estimate, tmp_path / "x"))
        assert RESULT[after.result] == RESULT[result]


# ------------------------------------------------------------------ broken files
def test_every_single_bit_flip_is_seen(saved):
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    directory = content.rindex(b"PK\x01\x02")
    comment = content.rindex(b"esijax format=")
    positions = {
        *range(4),
        *rng.choice(len(content), 40, replace=False),
        *range(directory, directory + 12),
        *range(comment - 4, comment + 4),
        len(content) - 1,
    }
    for position in positions:
        broken = bytearray(content)
        broken[position] ^= 1 << int(rng.integers(8))
        saved.write_bytes(broken)
        with pytest.raises(ej.InputError, match=r"estimate\.npz"):
            ej.load(saved)


def test_every_truncation_is_seen(saved):
    content = saved.read_bytes()
    for keep in (
        0,
        1,
        63,
        64,
        65,
        120,
        len(content) // 2,
        *(len(content) - k for k in (1, 64, 200)),
    ):
        saved.write_bytes(content[:keep])
        with pytest.raises(ej.InputError, match="truncated, or no esijax file"):
            ej.load(saved)
    saved.write_bytes(content + b"x")
    with pytest.raises(ej.InputError, match=r"estimate\.npz"):
        ej.load(saved)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(ej.InputError, match=r"none\.npz: cannot be read \(No such file"):
        ej.load(tmp_path / "none.npz")
    with pytest.raises(ej.InputError, match="cannot be read"):
        ej.load(tmp_path)
    np.savez(tmp_path / "foreign.npz", a=np.arange(3))
    with pytest.raises(ej.InputError, match="no esijax file"):
        ej.load(tmp_path / "foreign.npz")
    (tmp_path / "text.npz").write_text("not a zip at all")
    with pytest.raises(ej.InputError, match="no esijax file"):
        ej.load(tmp_path / "text.npz")


def forged(path, entries, mark=files._MARK):
    """A file with a right checksum around whatever it holds."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for name, data in entries.items():
            z.writestr(name, data)
        z.comment = mark + b"0" * 64
    body = buffer.getvalue()[:-64]
    path.write_bytes(body + hashlib.sha256(body).hexdigest().encode())
    return path


def npy(array, **kwargs):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), **kwargs)
    return buffer.getvalue()


def header(tree):
    return npy(np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8))


def test_another_version_is_named(saved, tmp_path):
    path = forged(tmp_path / "x", {}, mark=b"esijax format=99 sha256=")
    with pytest.raises(ej.InputError, match="another version"):
        ej.load(path)


def test_pickle_inside_is_refused(tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(ran),))

    evil = npy(np.array([Evil()], dtype=object), allow_pickle=True)
    for entries in ({"header.npy": evil}, {"header.npy": header({"plain": 1}), "a0.npy": evil}):
        with pytest.raises(ej.InputError, match="not a plain array"):
            ej.load(forged(tmp_path / "x", entries))
    assert not ran.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "esijax.estimate:Nothing",
        "esijax.estimate:jax",
        "esijax.nothing:Estimate",
        "esijaxevil.x:Y",
        "esijax.estimate:InputError",
    ],
)
def test_foreign_classes_are_refused(tmp_path, name):
    tree = {"class": name, "fields": {"command": {"plain": "true"}}}
    with pytest.raises(ej.InputError):
        ej.load(forged(tmp_path / "x", {"header.npy": header(tree)}))


def test_claims_of_huge_arrays_are_refused(tmp_path, monkeypatch):
    head = io.BytesIO()
    claim = {"descr": "<f8", "fortran_order": False, "shape": (10**10, 10**6)}
    np.lib.format.write_array_header_1_0(head, claim)
    entries = {"header.npy": header({"array": "a0", "jax": False}), "a0.npy": head.getvalue()}
    with pytest.raises(ej.InputError, match="not a plain array"):
        ej.load(forged(tmp_path / "x", entries))
    # a zip bomb: honest about its size, but far too large
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("header.npy", header({"plain": None}))
        z.writestr("a0.npy", npy(np.zeros(2_000_000)))
        z.comment = files._MARK + b"0" * 64
    body = buffer.getvalue()[:-64]
    assert len(body) < 100_000
    (tmp_path / "bomb").write_bytes(body + hashlib.sha256(body).hexdigest().encode())
    monkeypatch.setenv("ESIJAX_MAX_GB", "0.001")
    with pytest.raises(ej.InputError, match=r"would take 0\.0 GB"):
        ej.load(tmp_path / "bomb")


def test_no_estimate_inside(tmp_path):
    for tree in ({"plain": 3}, {"tuple": []}):
        with pytest.raises(ej.InputError, match="holds no estimate"):
            ej.load(forged(tmp_path / "x", {"header.npy": header(tree)}))
    for entries in ({}, {"header.npy": npy(np.zeros(3))}, {"header.npy": header({})}):
        with pytest.raises(ej.InputError):
            ej.load(forged(tmp_path / "x", entries))


# ------------------------------------------------------------------ failing writes
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failing_write_keeps_the_old_file(saved, estimates, monkeypatch, where):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("esijax._files.os." + where, full)
    with pytest.raises(ej.InputError, match="No space"):
        ej.save(estimates["blocks"], saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_only_estimates_are_saved(tmp_path, fixed):
    with pytest.raises(TypeError, match="Estimate"):
        ej.save(fixed, tmp_path / "x")


# ------------------------------------------------------------------ one problem, several files
@pytest.fixture
def together(fixed, tmp_path):
    """Three estimates of one problem in a folder."""
    linear, norms = ej.inference.Linear, (None, "dSPM", "sLORETA")
    found = {str(norm): ej.solve(fixed, ej.models.MinimumNorm(), linear(norm)) for norm in norms}
    paths = {name: tmp_path / f"{name}.npz" for name in found}
    for name, estimate in found.items():
        assert ej.save(estimate, paths[name], share_problem=True) == paths[name]
    return found, paths


def test_estimates_share_their_problem(together, tmp_path):
    before, paths = together
    (problem,) = tmp_path.glob("problem-*.npz")
    assert problem == ej.io.shared_problem(before["dSPM"], tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*paths.values(), problem])
    for name, path in paths.items():
        after = ej.load(path)
        assert jax.tree.structure(after) == jax.tree.structure(before[name])
        for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before[name]), strict=True):
            np.testing.assert_array_equal(a, b)
        with np.load(path) as content, np.load(problem) as shared:
            held = {shared[n].tobytes() for n in shared.files if shared[n].size > 1}
            assert not [n for n in content.files if content[n].tobytes() in held]
            assert json.loads(content["header"].tobytes())["class"] == "Estimate"


def test_a_missing_problem_is_named(together, tmp_path):
    _, paths = together
    (problem,) = tmp_path.glob("problem-*.npz")
    content = problem.read_bytes()
    problem.unlink()
    with pytest.raises(ej.InputError, match=f"{problem.name} is missing: put it beside"):
        ej.load(paths["dSPM"])
    problem.write_bytes(content[:-100])
    with pytest.raises(ej.InputError, match=f"{problem.name}: truncated"):
        ej.load(paths["dSPM"])


def test_a_damaged_problem_is_written_again(together, tmp_path):
    estimates, paths = together
    (problem,) = tmp_path.glob("problem-*.npz")
    content = bytearray(problem.read_bytes())
    content[len(content) // 2] ^= 1
    problem.write_bytes(content)
    with pytest.raises(ej.InputError, match="the checksum does not match"):
        ej.load(paths["None"])
    written = problem.stat().st_mtime_ns
    ej.save(estimates["None"], paths["None"], share_problem=True)
    assert problem.stat().st_mtime_ns > written
    written = problem.stat().st_mtime_ns
    ej.save(estimates["dSPM"], paths["dSPM"], share_problem=True)  # it is whole: left alone
    assert problem.stat().st_mtime_ns == written
    ej.load(paths["None"])


def test_another_problem_under_that_name_is_refused(together, free, tmp_path):
    _, paths = together
    (problem,) = tmp_path.glob("problem-*.npz")
    other = ej.solve(free, ej.models.MinimumNorm(), ej.inference.Linear())
    ej.save(other, tmp_path / "other.npz", share_problem=True)
    ej.io.shared_problem(other, tmp_path).replace(problem)
    with pytest.raises(ej.InputError, match="holds another problem"):
        ej.load(paths["None"])


@pytest.mark.parametrize("name", ["../problem-0123456789abcdef.npz", "/etc/passwd", 3, None])
def test_only_files_beside_are_read(tmp_path, name):
    tree = {"class": "Estimate", "fields": {"problem": {"shared": name, "digest": "0"}}}
    mark = files._MARKS[files.SHARING]
    with pytest.raises(ej.InputError, match="names no file of a problem"):
        ej.load(forged(tmp_path / "x", {"header.npy": header(tree)}, mark=mark))


def test_the_problem_alone_is_no_estimate(together, tmp_path):
    (problem,) = tmp_path.glob("problem-*.npz")
    with pytest.raises(ej.InputError, match="but the problem of those beside it"):
        ej.load(problem)


def test_each_array_is_stored_once_and_compressed(estimates, tmp_path):
    """The gain is the problem's and the posterior's."""
    estimate = estimates["diagonal"]
    path = ej.save(estimate, tmp_path / "x.npz")
    with np.load(path) as content:
        arrays = [content[name] for name in content.files]
    kinds = [(a.dtype.str, a.shape, a.tobytes()) for a in arrays]
    assert len(set(kinds)) == len(kinds)
    gain = np.asarray(estimate.problem.gain)
    assert sum(np.array_equal(a, gain) for a in arrays) == 1
    with zipfile.ZipFile(path) as z:
        assert {info.compress_type for info in z.infolist()} == {zipfile.ZIP_DEFLATED}
    after = ej.load(path)
    assert after.problem.gain is after.posterior.gain  # in memory too
