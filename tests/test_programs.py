"""Compiled programs on disk: keyed by what runs them, bounded, damaged ones deleted."""

import os
import time
import zlib
from pathlib import Path

import pytest

from esijax import _programs

DAY = 86400


def write(path: Path, size=100, age_days=0.0, content=None):
    """An entry as JAX packs it, last used that long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zlib.compress(os.urandom(size)) if content is None else content)
    then = time.time() - age_days * DAY
    os.utime(path, (then, then))
    return path


@pytest.fixture
def in_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(os.name != "posix", reason="XDG")
def test_in_the_users_cache(in_cache):
    found = _programs.folder("tests")
    assert in_cache in found.parents
    assert found.parent.name == "tests"


def test_in_the_folder_that_jax_is_told(in_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "there"))
    assert tmp_path / "there" in _programs.folder("tests").parents


@pytest.mark.parametrize("what", ["cpu", "jaxlib", "flags"])
def test_another_compiler_another_folder(in_cache, monkeypatch, what):
    here = _programs.folder("tests")
    assert _programs.folder("tests") == here
    if what == "flags":
        monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=2")
    elif what == "cpu":
        monkeypatch.setattr(_programs, "_cpu", lambda: "another")
    else:
        monkeypatch.setattr(_programs, "version", lambda _name: "0.0")
    assert _programs.folder("tests") != here


def test_pruned_by_age(tmp_path):
    old, young = write(tmp_path / "x" / "a-cache", age_days=9), write(tmp_path / "y" / "b-cache")
    _programs.prune(tmp_path, 1e9, 8)
    assert not old.exists()
    assert young.exists()


def test_pruned_by_size_from_the_oldest(tmp_path):
    paths = [write(tmp_path / f"{i}-cache", 1000, age_days=i) for i in range(5)]
    other = write(tmp_path / "notes.txt", 9000)
    _programs.prune(tmp_path, 2500, 30)
    assert [p.exists() for p in paths] == [True, True, False, False, False]
    assert other.exists()


def test_damaged_entries_are_deleted_once_read(tmp_path):
    good = write(tmp_path / "good-cache", 1000)
    cut = write(tmp_path / "cut-cache", content=good.read_bytes()[:500])
    empty = write(tmp_path / "empty-cache", content=b"")
    _programs.prune(tmp_path, 1e9, 30)
    assert good.exists()
    assert not cut.exists()
    assert not empty.exists()
    good.write_bytes(good.read_bytes()[:500])  # written after it was found whole
    _programs.prune(tmp_path, 1e9, 30)
    assert not good.exists()


def test_no_entry_is_read_twice(tmp_path, monkeypatch):
    write(tmp_path / "a-cache", age_days=1)
    _programs.prune(tmp_path, 1e9, 30)
    monkeypatch.setattr(_programs, "_is_whole", lambda _: pytest.fail("read again"))
    _programs.prune(tmp_path, 1e9, 30)


def test_a_folder_that_is_not_there(tmp_path):
    _programs.prune(tmp_path / "none", 1e9, 30)
    assert not list(tmp_path.iterdir())


def test_jax_writes_entries_of_that_kind(tmp_path):
    """What JAX keeps is named as `prune` looks for it, and is found whole."""
    import subprocess
    import sys

    code = (
        "import jax, sys; jax.config.update('jax_compilation_cache_dir', sys.argv[1])\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)\n"
        "jax.jit(lambda x: x @ x)(jax.numpy.ones((3, 3)))"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, env=environment)
    kept = list(tmp_path.glob(_programs.ENTRIES))
    assert kept
    _programs.prune(tmp_path, 1e9, 30)
    assert list(tmp_path.glob(_programs.ENTRIES)) == kept
