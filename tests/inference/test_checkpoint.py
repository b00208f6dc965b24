"""What a checkpoint knows its problem by, and what it refuses to go on from."""

import functools
import hashlib
import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from damage import damaged

import esijax as ej
from esijax.inference._checkpoint import DIGEST, MARK, Checkpoint, fingerprint
from esijax.models.hyperpriors import hyperprior
from esijax.models.noise import PerType

PRIORS = (
    dist.LogNormal(0.0, 1.0),
    dist.InverseGamma(1.0, 0.1),
    dist.Gamma(1.0, 2.0),
    dist.HalfCauchy(0.3),
    dist.TruncatedNormal(0.0, 1.0, low=0.0),
    dist.LogNormal(jnp.zeros(3), 1.0).to_event(1),
)


def prints() -> str:
    """Fingerprints and leaves of what NumPyro's sets would put in another order."""
    shown = []
    for prior in PRIORS[:-1]:
        made = hyperprior(prior)
        shown += [fingerprint(made).hex()[:8], *(f"{float(x):g}" for x in jax.tree.leaves(made))]
    methods = (ej.inference.Evidence(1, optax.adam(0.1)), ej.inference.SVI(), PerType())
    return " ".join([*shown, *(fingerprint(m).hex()[:8] for m in methods)])


@pytest.mark.slow
def test_fingerprints_do_not_follow_the_hash_seed():
    code = "import jax; jax.config.update('jax_enable_x64', True); import test_checkpoint as t; "
    here = os.path.dirname(__file__)
    here += os.pathsep + os.path.dirname(here)  # what the other tests share
    found = set()
    for seed in "0", "1", "3", "5":
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": here}
        run = [sys.executable, "-c", code + "print(t.prints())"]
        found.add(subprocess.run(run, env=env, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1
    assert found.pop().strip() == prints()


@pytest.mark.parametrize("prior", PRIORS)
def test_distributions_keep_their_leaves_and_their_values(prior):
    from esijax.models._in_order import InOrder

    wrapped = InOrder(prior)
    leaves, structure = jax.tree.flatten(wrapped)
    again = jax.tree.unflatten(structure, leaves).law
    assert type(again) is type(prior)
    value = 0.7 * jnp.ones(prior.event_shape)
    np.testing.assert_allclose(again.log_prob(value), prior.log_prob(value), rtol=1e-12)
    assert sorted(map(str, leaves)) == sorted(map(str, jax.tree.leaves(prior)))


class State(eqx.Module):
    carry: dict


class Thing(eqx.Module):
    content: object


def test_a_prior_keeps_its_fingerprint():
    """NumPyro's transforms remember their inverse once it was asked for."""
    made = dist.LogNormal(0.0, 1.0)
    before = fingerprint(made)
    inverse = made.transforms[0].inv
    assert fingerprint(made) == before
    assert inverse is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros((2, 6, 3)), np.zeros((2, 18, 1))),
        (np.zeros(3), np.zeros(3, np.float32)),
        (np.zeros(2), np.zeros(2, int)),
        (1, 1.0),
        ("1", 1),
        (True, 1),
        (None, "None"),
        ((1, 2), ((1,), 2)),
        ({"a": 1}, {"b": 1}),
        (jax.random.key(0), jax.random.key(1)),
        (dist.Gamma(1.0, 2.0), dist.Gamma(2.0, 1.0)),
        (dist.Gamma(1.0, 2.0), dist.InverseGamma(1.0, 2.0)),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (functools.partial(max, 1), functools.partial(min, 1)),
        (optax.adam(0.1), optax.adam(0.2)),
        (ej.inference.MAP, ej.inference.EM),
    ],
)
def test_what_differs_has_another_fingerprint(one, other):
    assert fingerprint(Thing(one)) != fingerprint(Thing(other))
    assert fingerprint(Thing(one)) == fingerprint(Thing(one))


def test_our_classes_may_move_others_may_not(monkeypatch):
    class Other(eqx.Module):
        size: int

    before = {}
    for name in ("esijax.models.here", "mine.here"):
        monkeypatch.setattr(Other, "__module__", name)
        before[name] = fingerprint(Other(1))
    for name, same in (("esijax.there", True), ("mine.there", False)):
        monkeypatch.setattr(Other, "__module__", name)
        assert (fingerprint(Other(1)) in before.values()) is same


def test_order_within_a_dict_does_not_matter():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


CARRY = {
    "draws": jnp.zeros((50, 4)),
    "trace": jnp.full(50, jnp.nan),
    "count": jnp.asarray(0),
    "key": jax.random.key(3),
    "flag": True,
}


def moved(**more):
    return {**CARRY, "draws": CARRY["draws"].at[:3].set(1.5), "count": jnp.asarray(3), **more}


def stored(path, carry, grows=False):
    Checkpoint(path, "method", 1, grows).store(State(carry))


def restored(path, grows=False):
    return Checkpoint(path, "method", 1, grows).restore(State(CARRY)).carry


def test_all_kinds_of_numbers_come_back(tmp_path):
    stored(tmp_path / "c", moved())
    back = restored(tmp_path / "c")
    for name, value in moved().items():
        assert type(back[name]) is type(value)
    np.testing.assert_array_equal(back["draws"], moved()["draws"])
    np.testing.assert_array_equal(back["trace"], CARRY["trace"])
    assert jnp.array_equal(jax.random.key_data(back["key"]), jax.random.key_data(CARRY["key"]))
    assert back["flag"] is True


def test_what_is_still_empty_takes_no_room(tmp_path):
    """A trace of 40,000 iterations and 100,000 draws to come were 320 kB and 32 MB a chunk."""
    empty = {"trace": jnp.full(40_000, jnp.nan), "draws": jnp.zeros((10_000, 40)), "n": 3}
    state = State({**empty, "trace": empty["trace"].at[:7].set(-1.0)})
    mark = Checkpoint(tmp_path / "c", "method", 1)
    mark.store(state)
    assert (tmp_path / "c").stat().st_size < 3000
    back = mark.restore(State(empty)).carry
    np.testing.assert_array_equal(back["trace"], state.carry["trace"])
    np.testing.assert_array_equal(back["draws"], empty["draws"])


@pytest.mark.parametrize(
    ("forged", "says"),
    [
        ({"draws": jnp.zeros((50, 5))}, "the shape"),
        ({"draws": jnp.zeros((60, 4))}, "the shape"),
        ({"draws": jnp.zeros(50)}, "1 axes"),
        ({"draws": jnp.zeros((50, 4), "float32")}, "float32"),
        ({"draws": CARRY["draws"].at[2].set(jnp.nan)}, "NaN where there can be none"),
        ({"zzz": jnp.zeros(3)}, "more arrays"),
    ],
)
def test_forged_states_of_right_checksum_are_refused(tmp_path, forged, says):
    stored(tmp_path / "c", moved(**forged))
    with pytest.raises(ej.InputError, match=says):
        restored(tmp_path / "c")


def test_arrays_that_grow_grow_together(tmp_path):
    larger = {**moved(), "draws": jnp.zeros((80, 4)), "trace": jnp.zeros(80)}
    stored(tmp_path / "c", larger, grows=True)
    assert restored(tmp_path / "c", grows=True)["draws"].shape == (80, 4)
    for wrong in ({"trace": jnp.zeros(50)}, {"trace": jnp.zeros(40), "draws": jnp.zeros((40, 4))}):
        stored(tmp_path / "c", {**larger, **wrong}, grows=True)
        with pytest.raises(ej.InputError, match="the shape"):
            restored(tmp_path / "c", grows=True)


def test_a_header_that_claims_more_than_there_is_takes_no_memory(tmp_path):
    stored(tmp_path / "c", moved())
    body = (tmp_path / "c").read_bytes()[len(MARK) + DIGEST :]
    body = body.replace(b"(4, 4)", b"(9**9,)"[:6]).replace(b"(4, 4), }", b"(4, 40000000000), }")
    (tmp_path / "c").write_bytes(MARK + hashlib.sha256(body).digest() + body)
    with pytest.raises(ej.InputError, match="does not hold a state"):
        restored(tmp_path / "c")


def test_damage_of_any_kind_is_seen(tmp_path):
    stored(tmp_path / "c", moved())
    kinds = []
    for kind, content in damaged((tmp_path / "c").read_bytes(), np.random.default_rng(0)):
        (tmp_path / "c").write_bytes(content)
        with pytest.raises(ej.InputError, match="c is truncated, corrupt or no checkpoint"):
            restored(tmp_path / "c")
        kinds.append(kind)
    assert (kinds.count("flip"), kinds.count("truncation")) == (300, 100)


def test_files_of_older_versions_are_told_as_such(tmp_path):
    body = b"x" * 100
    (tmp_path / "c").write_bytes(hashlib.sha256(body).digest() + body)
    with pytest.raises(ej.InputError, match="older version"):
        restored(tmp_path / "c")


@pytest.mark.parametrize(
    ("path", "says"),
    [("", "empty path"), (".", "is a folder"), ("/dev/zero", "no regular file")],
)
def test_paths_that_are_no_files_are_refused_before_the_work(path, says):
    with pytest.raises(ej.InputError, match=says):
        Checkpoint(path, None, None)


def test_other_paths(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ej.InputError, match="no regular file"):
        Checkpoint(tmp_path / "pipe", None, None)
    with pytest.raises(ej.InputError, match="there is no folder"):
        Checkpoint(tmp_path / "none" / "c", None, None)
    with pytest.raises(TypeError, match="must be a path"):
        Checkpoint(3, None, None)
