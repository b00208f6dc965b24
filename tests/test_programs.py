"""Compiled programs on disk: whose they are, how long they stay, what a broken one does."""

import os
import subprocess
import sys
import time

import pytest

from esijax import _programs


def test_folders_of_other_machines_are_others(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    here = _programs.folder("tests")
    assert here == _programs.folder("tests")
    assert here.parent == tmp_path / "tests"
    assert _programs.folder("commands").name == here.name
    with monkeypatch.context() as change:
        change.setenv("XLA_FLAGS", "")
        assert _programs.folder("tests") != here
    with monkeypatch.context() as change:
        change.setattr(_programs, "_cpu", lambda: ["another"])
        assert _programs.folder("tests") != here
    with monkeypatch.context() as change:
        change.setattr(_programs, "version", lambda _: "0.0")
        assert _programs.folder("tests") != here


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is of Linux")
def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _programs.folder("tests").is_relative_to(tmp_path / "esijax" / "programs" / "tests")


def write(path, days, size=10):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - days * 86_400,) * 2)
    return path


def test_old_ones_and_those_above_the_size_go(tmp_path):
    ancient = write(tmp_path / "a" / "f-cache", 40)
    old = write(tmp_path / "a" / "g-cache", 3)
    new = write(tmp_path / "b" / "h-cache", 1)
    other = write(tmp_path / "b" / "notes", 100)
    _programs.prune(tmp_path, 1_000, 30.0)
    assert not ancient.exists()
    assert old.exists()
    _programs.prune(tmp_path, 15, 30.0)
    assert not old.exists()
    assert new.exists()
    assert other.exists()
    _programs.prune(tmp_path / "nowhere", 15, 30.0)


def test_a_truncated_program_is_replaced(tmp_path):
    """Neither a warning nor an error; the next process finds a whole one."""
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "import sys, pathlib, jax, jax.monitoring as m; seen = []\n"
        "from esijax import _programs\n"
        "m.register_event_listener(lambda name, **_: seen.append(name))\n"
        "_programs.keep(pathlib.Path(sys.argv[1])); _programs.discard_damaged()\n"
        "assert jax.jit(lambda x: x * 3 + 1)(jax.numpy.ones(5)).tolist() == [4.0] * 5\n"
        "print(*(seen.count('/jax/compilation_cache/cache_' + k) for k in ('hits', 'misses')))"
    )
    line = [sys.executable, "-c", code, str(tmp_path)]
    env = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "true"}

    def run():
        done = subprocess.run(line, capture_output=True, text=True, check=True, env=env)
        assert not done.stderr
        return tuple(int(n) for n in done.stdout.split())

    hits, misses = run()
    assert hits == 0
    assert misses >= 1
    entries = sorted(tmp_path.glob("jit__lambda*-cache"))
    whole = [entry.read_bytes() for entry in entries]
    for entry, content in zip(entries, whole, strict=True):
        entry.write_bytes(content[: len(content) // 2])
    assert run() == (misses - len(entries), len(entries))
    assert all(len(e.read_bytes()) >= 0.9 * len(w) for e, w in zip(entries, whole, strict=True))
