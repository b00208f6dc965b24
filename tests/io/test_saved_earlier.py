"""Files and versions: what earlier versions wrote loads with equal answers, classes may move.

`saved/` was written at version 0.1.0 before `esijax/inference` had rooms, on 6 sensors, 8
locations with three orientations, 5 times; the answers beside each file are those of that version.
"""

import dataclasses
import importlib
import inspect
import io
import json
import pkgutil
import typing
import zipfile
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.io import _classes, files

SAVED = Path(__file__).parent / "saved"


@pytest.mark.parametrize("name", ["linear", "em", "map", "nuts"])
def test_an_estimate_of_an_earlier_version_answers_the_same(name):
    estimate = ej.load(SAVED / f"{name}.npz")
    with np.load(SAVED / f"{name}_answers.npz") as answers:
        then = dict(answers)
    now = {"mean": estimate.mean}
    if estimate.std is not None:
        now["std"] = estimate.std
        now["interval"] = np.stack(estimate.interval(0.9))
        now["sample"] = estimate.sample(jax.random.key(0), 2)
    if estimate.log_evidence is not None:
        now["log_evidence"] = estimate.log_evidence
    assert {k for k, v in then.items() if v.size} == set(now)
    for what, value in now.items():
        np.testing.assert_allclose(value, then[what], rtol=1e-9, atol=1e-12, err_msg=what)


def test_a_checkpoint_of_an_earlier_version_is_refused_as_such():
    rng = np.random.default_rng(0)
    problem = ej.from_arrays(rng.standard_normal((6, 8)), rng.standard_normal((6, 5)), 0.1)
    with pytest.raises(ej.InputError, match="older version of esijax: remove it"):
        ej.solve(problem, ej.models.ARD(), ej.inference.EM(), checkpoint=SAVED / "em.checkpoint")


def test_a_checkpoint_of_an_earlier_version_is_refused_before_anything_is_compiled(monkeypatch):
    from esijax.inference import _loops

    monkeypatch.setattr(_loops, "first_state", lambda *_: pytest.fail("it was begun"))
    test_a_checkpoint_of_an_earlier_version_is_refused_as_such()


# ------------------------------------------------------------------ names of classes
def storable():
    """Concrete classes that an estimate may hold: from the types of its fields downwards."""
    from esijax.models.components import Component
    from esijax.models.hyperpriors import HyperPrior
    from esijax.models.noise import Noise
    from esijax.models.parts import Part
    from esijax.models.priors.prior import Prior

    for room in (ej.forward, ej.models, ej.inference):  # what they hold nobody else defines
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            importlib.import_module(module.name)
    heads = [ej.forward.SphereModel, ej.forward.BEMModel, ej.forward.Sensors]
    roots = [ej.estimate.Estimate, Prior, Noise, HyperPrior, Component, Part]
    todo, found = [*roots, *heads], set()
    while todo:
        cls = todo.pop()
        if cls in found or not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            continue
        if not cls.__module__.startswith("esijax."):  # of a test
            continue
        found.add(cls)
        todo += cls.__subclasses__()
        for field in dataclasses.fields(cls):
            todo += [field.type, *inner_types(field.type)]
    return sorted(
        (c for c in found if not inspect.isabstract(c)), key=lambda c: (c.__module__, c.__name__)
    )


def inner_types(hint):
    for inner in typing.get_args(hint):
        yield inner
        yield from inner_types(inner)


def test_every_class_that_an_estimate_may_hold_has_a_name():
    classes = storable()
    assert len(classes) > 60
    lacking = []
    for cls in classes:
        try:
            assert _classes.class_named(_classes.stored_name(cls)) is cls
        except ej.InputError:
            lacking.append(f"{cls.__module__}:{cls.__qualname__}")
    assert lacking == [], "give each a line in esijax/io/_classes.py"


@pytest.mark.parametrize("name", _classes.HOMES)
def test_every_entry_resolves(name):
    cls = _classes.class_named(name)
    assert cls in storable()
    assert _classes.stored_name(cls) == name
    assert _classes.class_named(f"{cls.__module__}:{cls.__qualname__}") is cls  # older files


@pytest.mark.parametrize(
    ("older", "name"),
    [
        ("esijax.inference.gaussian_posterior:GaussianPosterior", "GaussianPosterior"),
        ("esijax.inference._mcmc_verdict:ChainDiagnostics", "ChainDiagnostics"),
        ("esijax.problem:Labels", "Labels"),
        ("esijax.models.components.labels:Labels", "components.Labels"),
        ("esijax.models.source_cov:Diagonal", "Diagonal"),
        ("esijax.models.noise.diagonal:Diagonal", "noise.Diagonal"),
        ("esijax.models.parts:LowRank", "LowRank"),
        ("esijax.models.noise.low_rank:LowRank", "noise.LowRank"),
    ],
)
def test_names_of_older_files(older, name):
    assert _classes.class_named(older) is _classes.class_named(name)


@pytest.mark.parametrize("name", ["os:system", "Simulation", "os.system", "noise.White", "", ":"])
def test_other_names_are_refused(name):
    with pytest.raises(ej.InputError, match="the file names"):
        _classes.class_named(name)


def test_classes_of_others_are_not_stored():
    class White(eqx.Module):
        pass

    for cls, reason in [(White, "not of esijax"), (ej.simulate.Patches, "files do not hold")]:
        with pytest.raises(ej.InputError, match=reason):
            _classes.stored_name(cls)


# ------------------------------------------------------------------ fields that came or went
def rewritten(path, change):
    """The file with another header, and the right checksum."""
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files}
    tree = json.loads(arrays.pop("header").tobytes())
    change(tree["fields"])
    buffer = io.BytesIO()
    header = np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8)
    np.savez(buffer, **arrays, header=header)
    with zipfile.ZipFile(buffer, "a") as z:
        z.comment = files._MARK + b"0" * files._DIGEST
    body = buffer.getvalue()[: -files._DIGEST]
    path.write_bytes(body + files.hashlib.sha256(body).hexdigest().encode())
    return path


@pytest.fixture
def linear(tmp_path):
    return ej.save(ej.load(SAVED / "linear.npz"), tmp_path / "linear.npz")


def test_a_file_of_today_reads_back(linear):
    before, after = ej.load(SAVED / "linear.npz"), ej.load(linear)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    with np.load(linear) as content:
        header = content["header"].tobytes().decode()
    assert '"GaussianPosterior"' in header
    assert "esijax." not in header


def test_missing_fields_take_their_defaults(linear):
    def without(fields):
        del fields["hyper"], fields["notes"], fields["problem"]["fields"]["head"]

    before, after = ej.load(SAVED / "linear.npz"), ej.load(rewritten(linear, without))
    assert after.hyper == {}
    assert after.notes == ()
    assert after.problem.head is None
    np.testing.assert_array_equal(after.mean, before.mean)


def test_missing_fields_without_a_default_are_named(linear):
    def without(fields):
        del fields["posterior"]["fields"]["chol"]

    with pytest.raises(ej.InputError, match="GaussianPosterior has no chol in the file"):
        ej.load(rewritten(linear, without))


def test_fields_of_later_versions_are_named(linear):
    def more(fields):
        fields["problem"]["fields"] |= {"mood": {"plain": 1}, "time": {"plain": 2}}

    told = "Problem has mood, time in the file, which this version of esijax does not know"
    with pytest.raises(ej.InputError, match=told):
        ej.load(rewritten(linear, more))


def test_defaults_are_converted():
    given = _classes.fill_defaults(_classes.class_named("HalfCauchyScale"), {"slab": None})
    assert isinstance(given["scale"], jnp.ndarray)
    assert float(given["scale"]) == 0.1
