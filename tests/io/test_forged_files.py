"""Files with a right checksum around something that `save` would not have written."""

import dataclasses
import hashlib
import io
import json
import os
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.io import _encoding, _well_formed, files
from esijax.models.posteriors.gaussian import GaussianPosterior
from esijax.models.source_cov import BlockDiagonal, Diagonal, GraphSmooth


def small(problem, source_cov=None):
    """An estimate that no solver has to be compiled for."""
    rank, n, o = problem.gain.shape
    source_cov = Diagonal(jnp.ones((n, o))) if source_cov is None else source_cov
    chol = jnp.linalg.cholesky(source_cov.sensor(problem.gain) + jnp.eye(rank))
    posterior = GaussianPosterior(problem.gain, source_cov, chol, problem.data)
    hyper = {"gamma": jnp.array([1.0, jnp.inf])}
    return ej.estimate.Estimate(problem, posterior, evidence=jnp.asarray(1.5), hyper=hyper)


@pytest.fixture(scope="module")
def written(free, tmp_path_factory):
    """Arrays and header of a file of today."""
    labels = dataclasses.replace(
        free.labels,
        kinds=("surface", "surface"),
        vertices=(np.arange(12), np.arange(8)),
        subject="held",
    )
    problem = dataclasses.replace(free, labels=labels)
    path = ej.save(small(problem), tmp_path_factory.mktemp("forged") / "x.npz")
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files}
    return arrays, json.loads(arrays.pop("header").tobytes())


def sealed(path, arrays, tree):
    """A file of ours around it, with the right checksum."""
    header, buffer = np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8), io.BytesIO()
    np.savez(buffer, **arrays, header=header)
    with zipfile.ZipFile(buffer, "a") as z:
        z.comment = files._MARK + b"0" * 64
    body = buffer.getvalue()[:-64]
    path.write_bytes(body + hashlib.sha256(body).hexdigest().encode())
    return path


def node(tree, where):
    """Of the header: a field of a field, "problem.labels.kinds"."""
    for name in where.split("."):
        tree = tree["fields"][name]
    return tree


def load_with(written, path, where, value):
    """Load the file with another array, or another node of the header, in that place."""
    arrays, tree = dict(written[0]), json.loads(json.dumps(written[1]))
    found = node(tree, where)
    if callable(value):
        value = value(arrays[found["array"]])
    if isinstance(value, np.ndarray):
        arrays["other"] = value
        value = {"array": "other", "jax": True}
    found.clear()
    found.update(value)
    return ej.load(sealed(path, arrays, tree))


NOTHING = {"class": "Added", "fields": {"terms": {"tuple": []}}}


def nan_first(x):
    x = x.copy()
    x.flat[0] = np.nan
    return x


def test_untouched_it_is_read(written, tmp_path):
    """Hyper-parameters may be infinite: some solvers end there."""
    back = ej.load(sealed(tmp_path / "x.npz", *written))
    assert np.isinf(back.hyper["gamma"][1])
    assert back.mean.shape == (20, 3, 7)


@pytest.mark.parametrize(
    ("where", "value", "told"),
    [
        ("problem.gain", lambda x: x[:-1], r"Problem\.data is float64\[12, 7\], not Float"),
        ("problem.gain", lambda x: x[:, :, :1], r"Problem\.prior_scale is float64\[20, 3\]"),
        ("problem.gain", lambda x: x.astype(complex), r"Problem\.gain is complex128"),
        ("problem.gain", lambda x: x.astype("U9"), "not laid out as an esijax file"),
        ("problem.gain", lambda x: x.astype(int), r"Problem\.gain is int64\[12, 20, 3\], not Fl"),
        ("problem.gain", nan_first, r"Problem\.gain holds NaN or Inf"),
        ("problem.gain", {"plain": 3}, r"Problem\.gain is 3, not"),
        ("problem.data", lambda x: x[:, :-1], r"Problem\.data is float64\[12, 6\]"),
        ("problem.data", nan_first, r"Problem\.data holds NaN"),
        ("problem.recording", lambda x: x[None], r"Problem\.data is .* not Float"),
        ("problem.recording", lambda x: x * np.inf, r"Problem\.recording holds NaN"),
        ("problem.prior_scale", lambda x: x.T, r"Problem\.prior_scale is float64\[3, 20\]"),
        ("problem.source_unit", lambda x: x[None], r"Problem\.source_unit is float64\[1\]"),
        ("problem.whitener.matrix", nan_first, r"Whitener\.matrix holds NaN"),
        ("problem.whitener.matrix", lambda x: x[:, :-1], r"Whitener\.matrix is float64\[12, 11\]"),
        ("problem.geometry.positions", lambda x: x[:-1], r"Geometry\.positions is .*\[19, 3\]"),
        ("problem.geometry.edges", lambda x: x + 19, r"Geometry\.edges names locations"),
        ("problem.geometry.edges", lambda x: -1 - x, r"Geometry\.edges names locations"),
        ("problem.geometry", {"plain": None}, r"Problem\.geometry is None, not Geometry"),
        ("problem.head", {"plain": 3}, r"Problem\.head is 3, no head model"),
        ("problem.sensors", {"plain": "x"}, r"Problem\.sensors is 'x', no Sensors"),
        ("problem.labels.ch_names", {"tuple": [{"plain": "a"}]}, r"Labels\.ch_names has 1 for 12"),
        ("problem.labels.ch_names", {"plain": "abcdefghijkl"}, r"Labels\.ch_names is 'abc"),
        ("problem.labels.ch_types", {"tuple": [{"plain": 3}] * 12}, r"Labels\.ch_types is \(3"),
        ("problem.labels.kinds", {"tuple": [{"plain": "x"}] * 2}, r"Labels\.kinds is \('x'"),
        ("problem.labels.kinds", {"tuple": []}, r"Labels\.kinds is \(\) for 2"),
        ("problem.labels.vertices", {"tuple": []}, r"Labels\.kinds is .* for 0"),
        ("problem.labels.tmin", {"plain": float("nan")}, r"tmin nan"),
        ("problem.labels.sfreq", {"plain": 0}, r"sfreq 0"),
        ("problem.labels.sfreq", {"plain": "1"}, r"Labels\.sfreq is '1', not float"),
        ("problem", {"plain": None}, r"Estimate\.problem is None, not a Problem"),
        ("posterior", {"plain": None}, r"Estimate\.posterior is None, not Posterior"),
        ("posterior.chol", lambda x: x[:-1], r"GaussianPosterior\.chol is float64\[11, 12\]"),
        ("posterior.chol", nan_first, r"GaussianPosterior\.chol holds NaN"),
        ("posterior.data", lambda x: x[:, :-1], r"GaussianPosterior\.data is float64\[12, 6\]"),
        ("posterior.source_cov", NOTHING, "the parts of the posterior do not fit together"),
        ("posterior.source_cov", {"plain": 1}, r"source_cov is 1, not SourceCov"),
        ("posterior.source_cov.variance", lambda x: x[:, :1], r"Diagonal\.variance is .*\[20, 1\]"),
        ("hyper", {"plain": 3}, r"Estimate\.hyper is 3"),
        ("result", {"result": "perfect"}, "not laid out as an esijax file"),
        ("result", {"plain": "done"}, r"Estimate\.result is 'done', not RESULT"),
        ("norm", {"array": "a0", "jax": True}, r"Estimate\.norm is .* not"),
        ("model", {"plain": 3}, r"Estimate\.model is 3, not str"),
    ],
)
def test_another_part(written, tmp_path, where, value, told):
    with pytest.raises(ej.InputError, match=rf"x\.npz: .*{told}"):
        load_with(written, tmp_path / "x.npz", where, value)


def test_vertices_of_other_places(written, tmp_path):
    arrays, tree = dict(written[0]), json.loads(json.dumps(written[1]))
    first = node(tree, "problem.labels.vertices")["tuple"][0]["array"]
    for value, told in [
        (np.arange(11), "Labels.vertices has 19 for 20"),
        (np.arange(12.0), "rows of whole numbers"),
        (np.arange(12)[None], "rows of whole numbers"),
    ]:
        arrays[first] = value
        with pytest.raises(ej.InputError, match=told):
            ej.load(sealed(tmp_path / "x.npz", arrays, tree))


def test_what_load_refuses_is_not_saved(free, tmp_path):
    estimate = small(free)
    broken = dataclasses.replace(estimate, norm=jnp.full(20, jnp.nan))
    batch = jax.tree.map(lambda x: x[None], estimate)
    for other, told in [(broken, "Estimate.norm holds NaN"), (batch, "is float64")]:
        with pytest.raises(ej.InputError, match=told):
            ej.save(other, tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())


def test_distributions_take_numbers_only(tmp_path):
    """A prior's distribution is made by NumPyro: nothing but one row of its own arguments."""
    plain = {"low": jnp.asarray(0.0), "high": jnp.asarray(1.0)}
    assert isinstance(_encoding._decode_distribution("Uniform", plain), dist.Uniform)
    for given in (
        {**plain, "low": np.zeros((1000, 1))},
        {**plain, "validate_args": True},
        {**plain, "support": None},
    ):
        with pytest.raises(ej.InputError, match="other arguments than one row of numbers each"):
            _encoding._decode_distribution("Uniform", given)


def test_no_file_at_all(free, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "full").symlink_to("/dev/full")
    estimate = small(free)
    for path in ("", ".", "pipe", "/dev/zero", "/dev/full", "full"):
        with pytest.raises(ej.InputError, match="cannot be written"):
            ej.save(estimate, path)
        with pytest.raises(ej.InputError, match="cannot be read"):
            ej.load(path)
    path = ej.save(estimate, "x.npz")
    monkeypatch.setenv("ESIJAX_MAX_GB", "1e-6")
    with pytest.raises(ej.InputError, match=r"x\.npz: has 0\.0 GB, more than"):
        ej.load(path)


# ------------------------------------------------------------------ at random
COVS = {
    "diagonal": lambda n, o: Diagonal(jnp.ones((n, o))),
    "blocks": lambda n, o: BlockDiagonal(jnp.broadcast_to(jnp.eye(o), (n, o, o))),
    "graph": lambda n, o: GraphSmooth(
        jnp.ones((n, o)), jnp.array([[0, 1], [1, 2]]), jnp.asarray(0.1)
    ),
}


def other_array(x, rng):
    """One of many ways in which an array can be another."""
    ways = [
        lambda: x.astype(complex) if x.dtype.kind in "fiu" else x,
        lambda: x.astype("U9") if x.dtype.kind in "fiu" else x,
        lambda: x[:-1] if x.ndim else x[None],
        lambda: np.concatenate([x, x[:1]]) if x.ndim else x,
        lambda: nan_first(x) if x.dtype.kind == "f" and x.size else x,
        lambda: x[None],
        lambda: x.T,
        lambda: np.zeros(0),
        lambda: x.astype(int) if x.dtype.kind == "f" else x + 10**6,
    ]
    return ways[rng.integers(len(ways))]()


def places(tree, path=()):
    """Where the nodes of the header are."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in inner:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def other_tree(tree, rng):
    """One node is another's copy, or something short."""
    tree = json.loads(json.dumps(tree))
    paths = list(places(tree))
    *path, last = paths[rng.integers(len(paths))]
    short = [None, 3, "x", [], {}, {"plain": None}, {"tuple": []}, {"array": "a0", "jax": True}]
    whole = json.loads(json.dumps(at(tree, paths[rng.integers(len(paths))])))
    at(tree, path)[last] = whole if rng.random() < 0.3 else short[rng.integers(len(short))]
    return tree


def ask(estimate):
    """What a reader of the file would."""
    key = jax.random.key(0)
    _ = estimate.mean, estimate.std, estimate.explained_variance, estimate.verdict()
    estimate.sample(key, 1, at=([0], [0]))
    estimate.interval(0.9, at=([0], [0]))
    estimate.label([0, 1])
    estimate.exceedance(1.0, at=([0], [0]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", COVS)
def test_anything_at_random(free, tmp_path, kind):
    """Two hundred forgeries: an InputError, or an estimate that answers."""
    rng, n_read = np.random.default_rng(0), 0
    path = ej.save(small(free, COVS[kind](20, 3)), tmp_path / "x.npz")
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files}
    tree = json.loads(arrays.pop("header").tobytes())
    for _ in range(200):
        if rng.random() < 0.5:
            name = list(arrays)[rng.integers(len(arrays))]
            sealed(path, {**arrays, name: other_array(arrays[name], rng)}, tree)
        else:
            sealed(path, arrays, other_tree(tree, rng))
        try:
            estimate = ej.load(path)
        except ej.InputError:
            continue
        n_read += 1
        ask(estimate)
    assert n_read < 100


def test_every_field_has_a_check():
    """The shapes that the check binds are those of the problem's own fields."""
    from esijax.problem import Problem

    hints = {f.name: f.type for f in dataclasses.fields(Problem)}
    assert hints["gain"] is _well_formed.Gain
    assert str(hints["recording"]) == str(_well_formed.Float[jax.Array, "*trials channels times"])
