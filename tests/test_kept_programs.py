"""Compiled programs that the tests keep: found again, and no harm in a damaged one."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest


@pytest.fixture
def kept() -> Path:
    if not jax.config.jax_enable_compilation_cache:
        pytest.skip("nothing is kept (ESIJAX_TEST_CACHE=0)")
    return Path(jax.config.jax_compilation_cache_dir)


@pytest.fixture
def hits():
    """Names of what JAX found on disk, or did not, as they come."""
    came = []

    def listen(name, **_):
        if name.startswith("/jax/compilation_cache/cache_"):
            came.append(name.rpartition("_")[2])

    jax.monitoring.register_event_listener(listen)
    yield came
    jax.monitoring.unregister_event_listener(listen)


def compiled_anew():
    """A function that JAX has not seen, whose program it has."""

    def kept_program(x):
        return jnp.sin(x) * 3 + 1

    return jax.jit(kept_program)(jnp.ones(5)).tolist()


def test_a_worker_has_its_own(kept):
    assert kept.name == os.environ.get("PYTEST_XDIST_WORKER", "main")
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(kept)


def test_a_damaged_program_is_compiled_anew(kept, hits):
    answer = compiled_anew()
    hits.clear()
    assert compiled_anew() == answer
    assert hits == ["hits"]
    entries = list(kept.glob("jit_kept_program-*-cache"))
    assert entries
    for entry in entries:
        part = entry.read_bytes()[:100]
        entry.unlink()  # other workers may have links to it
        entry.write_bytes(part)
    hits.clear()
    assert compiled_anew() == answer
    assert hits == ["misses"]
    for entry in entries:  # what the next session does where a process was killed while writing
        entry.unlink()


def test_other_processes_find_them(kept):
    """Those that tests start, without a word of them."""
    code = (
        "import jax, jax.numpy as jnp, jax.monitoring as m; seen = []\n"
        "m.register_event_listener(lambda name, **_: seen.append(name))\n"
        "jax.jit(lambda x: jnp.sin(x) * 5 + 1)(jnp.ones(5))\n"
        "print(*(seen.count('/jax/compilation_cache/cache_' + k) for k in ('hits', 'misses')))"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        # XLA itself speaks of features of the processor in older versions
        assert not {"Traceback", "Warning"} & set(done.stderr.replace(":", " ").split())
    hits, misses = (int(n) for n in done.stdout.split())
    assert hits
    assert not misses
