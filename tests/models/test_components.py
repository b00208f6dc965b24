"""Every kind of component against the dense covariance that it stands for."""

# ruff: noqa: ARG005

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.special
from textbook import block_diagonal, flat

import esijax as ej
from esijax.models import components as kinds
from esijax.models.components._mesh import mesh_of
from esijax.models.components.component import normalised_part
from esijax.models.parts import Whole, stacked, total_cov
from esijax.models.source_cov import Diagonal

N = 20
RNG = np.random.default_rng(3)
HALF = RNG.standard_normal((N, 4))
DENSE = HALF @ HALF.T
FULL = DENSE + np.diag(RNG.uniform(0.5, 1.0, N))
MAP = RNG.uniform(0.0, 2.0, N)
INDEX = [np.array([0, 3, 5]), np.array([3, 4, 11, 12]), np.array([7])]


# ------------------------------------------------- location covariances by the textbook, (n, N, N)
def smooth_cov(problem, ridge=0.2):
    adjacency = np.zeros((N, N))
    for i, j in np.asarray(problem.geometry.edges):
        adjacency[i, j] = adjacency[j, i] = 1
    degree = adjacency.sum(axis=1)
    b = (1 + ridge) * np.eye(N) - adjacency / np.sqrt(np.outer(degree, degree))
    return np.linalg.inv(b @ b)


def kernel_columns(problem, seeds, width):
    laplacian = mesh_of(problem, "test").laplacian.toarray()
    return scipy.linalg.expm(-0.5 * width**2 * laplacian)[:, seeds]


def depth_cov(problem, exponent):
    gain = np.asarray(problem.gain)
    power = np.sum(gain**2, axis=(0, 2)) ** -exponent
    power = np.minimum(power, power.min() * 100)
    scale, orient = np.asarray(problem.prior_scale), np.asarray(problem.orient_scale)
    return np.diag(power * np.sum(orient**2, axis=1) / np.sum(scale**2, axis=1))


def ebb_cov(problem, reg=0.05):
    data = np.asarray(problem.data).reshape(problem.rank, -1)
    cov = data @ data.T / data.shape[1]
    cov += reg * np.trace(cov) / len(cov) * np.eye(len(cov))
    own = np.asarray(problem.gain) * np.asarray(problem.prior_scale)
    out = []
    for g in own.transpose(1, 0, 2):
        power = np.trace(np.linalg.inv(g.T @ np.linalg.solve(cov, g)))
        out.append(power / np.trace(np.linalg.inv(g.T @ g)))
    return np.diag(out)


def indicator(index):
    out = np.zeros(N)
    out[index] = 1.0
    return out


def same_power(problem, cov):
    """Location covariance whose tr(G P C P G') is the rank: what a term of a sum is first."""
    return cov * problem.rank / np.trace(sensor(problem, cov))


def sensor(problem, cov):
    gain = flat(problem.gain * problem.prior_scale[None])
    return gain @ np.kron(cov, np.eye(problem.n_orients)) @ gain.T


# component, and its location covariances up to a factor each
def patches_of(problem):
    """By the formula, distances by Floyd and Warshall."""
    seeds, reach = (2, 9, 15), 0.06
    mesh = mesh_of(problem, "test")
    graph = np.full((N, N), np.inf)
    for i, j in mesh.edges:
        graph[i, j] = graph[j, i] = np.linalg.norm(mesh.positions[i] - mesh.positions[j])
    np.fill_diagonal(graph, 0.0)
    for k in range(N):
        graph = np.minimum(graph, graph[:, [k]] + graph[[k]])
    bumps = [np.cos(np.pi / 2 * np.minimum(graph[s] / reach, 1.0)) ** 2 for s in seeds]
    return kinds.Patches(seeds=seeds, reach=reach), [np.outer(b, b) for b in bumps]


def kernels_of(problem):
    seeds, widths = [1, 8], (0.01, 0.03)
    columns = np.concatenate([kernel_columns(problem, seeds, w) for w in widths], axis=1)
    return kinds.Kernels(widths=widths, seeds=seeds), [np.outer(c, c) for c in columns.T]


def fixed_of(problem):
    variance = jnp.asarray(MAP)[:, None] * problem.prior_scale**2
    return kinds.Fixed(Diagonal(variance)), [np.diag(MAP)]


def windowed_sum(problem):
    want = same_power(problem, np.eye(N)) + same_power(problem, smooth_cov(problem))
    return kinds.Map(MAP) * (kinds.IID() + kinds.Smooth()), [want * np.outer(MAP, MAP)]


def sum_of(problem):
    parts = [np.eye(N), smooth_cov(problem), np.outer(MAP, MAP)]
    want = sum(w * same_power(problem, c) for w, c in zip((0.3, 1, 1), parts, strict=True))
    return 0.3 * kinds.IID() + kinds.Smooth() + kinds.Map(MAP), [want]


def pairwise(problem):
    """Two families of as many components."""
    left, a = patches_of(problem)
    right = kinds.Factor(HALF[:, :3], tied=False)
    return left * right, [x * np.outer(h, h) for x, h in zip(a, HALF.T[:3], strict=True)]


TABLE = {
    "iid": lambda p: ("iid", [np.eye(N)]),
    "smooth": lambda p: ("smooth", [smooth_cov(p)]),
    "ridge": lambda p: (kinds.Smooth(ridge=0.7), [smooth_cov(p, 0.7)]),
    "depth": lambda p: (kinds.DepthWeighted(0.5), [depth_cov(p, 0.5)]),
    "ebb": lambda p: ("ebb", [ebb_cov(p)]),
    "patches": patches_of,
    "kernels": kernels_of,
    "labels": lambda p: (INDEX, [np.diag(indicator(i)) for i in INDEX]),
    "mask": lambda p: (MAP > 1, [np.diag(MAP > 1).astype(float)]),
    "coherent": lambda p: (
        kinds.Labels(INDEX, coherent=True),
        [np.outer(indicator(i), indicator(i)) for i in INDEX],
    ),
    "singular matrix": lambda p: (DENSE, [DENSE]),
    "full matrix": lambda p: (FULL, [FULL]),
    "factor": lambda p: (HALF, [DENSE]),
    "untied": lambda p: (kinds.Factor(HALF, tied=False), [np.outer(h, h) for h in HALF.T]),
    "map": lambda p: (MAP, [np.outer(MAP, MAP)]),
    "variances": lambda p: (kinds.Map(MAP, coherent=False), [np.diag(MAP**2)]),
    "fixed": fixed_of,
    "sum": sum_of,
    "map x smooth": lambda p: (
        kinds.Map(MAP) * kinds.Smooth(),
        [np.outer(MAP, MAP) * smooth_cov(p)],
    ),
    "map x full": lambda p: (
        kinds.Map(MAP) * kinds.Covariance(FULL),
        [np.outer(MAP, MAP) * FULL],
    ),
    "smooth x two columns": lambda p: (
        kinds.Smooth() * kinds.Factor(HALF[:, :2]),
        [smooth_cov(p) * (HALF[:, :2] @ HALF[:, :2].T)],
    ),
    "factor x factor": lambda p: (
        kinds.Factor(HALF[:, :2]) * kinds.Factor(HALF[:, 2:]),
        [(HALF[:, :2] @ HALF[:, :2].T) * (HALF[:, 2:] @ HALF[:, 2:].T)],
    ),
    "diagonal x smooth": lambda p: (
        kinds.Labels(INDEX) * kinds.Smooth(),
        [np.diag(indicator(i) * np.diag(smooth_cov(p))) for i in INDEX],
    ),
    "factor x iid": lambda p: (kinds.Factor(HALF) * kinds.IID(), [np.diag(np.diag(DENSE))]),
    "family x map": lambda p: (
        kinds.Factor(HALF, tied=False) * kinds.Map(MAP),
        [np.outer(h, h) * np.outer(MAP, MAP) for h in HALF.T],
    ),
    "pairwise": pairwise,
    "windowed sum": windowed_sum,
    "several": lambda p: (
        ["iid", INDEX[0], INDEX[1], "smooth"],
        [np.eye(N), *(np.diag(indicator(i)) for i in INDEX[:2]), smooth_cov(p)],
    ),
}


DAILY_FIXED = ("iid", "smooth", "labels", "full matrix", "sum")


def cases():
    for name in TABLE:
        yield pytest.param(("free", name), id=f"{name}-free")
        marks = () if name in DAILY_FIXED else pytest.mark.slow
        yield pytest.param(("fixed", name), id=f"{name}-fixed", marks=marks)


@pytest.fixture(params=cases())
def case(request):
    """Problem, prepared prior, gammas, dense C_k of the sources, normalised."""
    orients, name = request.param
    problem = request.getfixturevalue(orients)
    given, covs = TABLE[name](problem)
    prior = ej.models.Components(given).prepare(problem)
    scale = np.asarray(problem.prior_scale).ravel()
    eye = np.eye(problem.n_orients)
    dense = [scale[:, None] * np.kron(same_power(problem, cov), eye) * scale for cov in covs]
    gamma = np.random.default_rng(0).uniform(0.3, 2.0, len(covs))
    return problem, prior, jnp.asarray(gamma), dense


def close(got, want, rtol=1e-10):
    want = np.asarray(want)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * np.abs(want).max())


def test_component_is_what_it_says(case):
    """Sensor covariance by factors, by source_cov, and dense; blocks and apply; the trace."""
    problem, prior, gamma, dense = case
    g, n, o = flat(problem.gain), problem.n_locations, problem.n_orients
    total = sum(c * d for c, d in zip(np.asarray(gamma), dense, strict=True))
    assert prior.n_components({}) == len(dense)
    factor, group = stacked(prior.parts(problem), problem.gain, problem.prior_scale)
    close((factor * gamma[group][None]) @ factor.T, g @ total @ g.T)
    for k, own in enumerate(dense):
        columns = np.asarray(factor)[:, np.asarray(group) == k]
        close(columns @ columns.T, g @ own @ g.T)
        assert np.sum(columns**2) == pytest.approx(problem.rank, rel=1e-10)
    cov = prior.source_cov({"gamma": gamma}, problem)
    close(cov.sensor(problem.gain), g @ total @ g.T)
    close(cov.apply(jnp.eye(n * o).reshape(n, o, -1)).reshape(n * o, -1), total)
    close(block_diagonal(np.asarray(cov.blocks())), total * block_diagonal(np.ones((n, o, o))))
    data = jnp.asarray(np.random.default_rng(1).standard_normal((problem.rank, 3)))
    back = cov.back_project(problem.gain, data, 2.0).reshape(n * o, -1)
    close(back, 2.0 * total @ g.T @ np.asarray(data))


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["labels", "patches", "full matrix", "sum", "windowed sum"])
def test_draws_have_the_covariance(name, free):
    """Each entry within five standard errors."""
    given, _ = TABLE[name](free)
    prior = ej.models.Components(given).prepare(free)
    cov = prior.source_cov({"gamma": jnp.ones(prior.n_components({}))}, free)
    size, n = free.n_locations * 3, 20_000
    dense = np.asarray(cov.apply(jnp.eye(size).reshape(-1, 3, size))).reshape(size, size)
    draws = np.asarray(cov.draw(jax.random.key(0), n)).reshape(size, n)
    variance = np.diag(dense)
    error = np.sqrt((np.outer(variance, variance) + dense**2) / n)
    assert np.all(np.abs(draws @ draws.T / n - dense) <= 5 * error + 1e-12)


def test_patches_tile(free):
    """All locations covered; the first seeds of more are those of fewer; ranks nest."""
    part = kinds.Patches(6).build(free)
    assert part.n == 6
    assert np.asarray(part.columns != 0).any(axis=1).all()
    assert np.asarray(part.columns).min() >= 0
    two = np.asarray(kinds.Patches(6, rank=2).build(free).columns)
    close(np.abs(two[:, ::2]), part.columns)
    for k in range(6):  # the second mode changes sign within the patch
        assert two[:, 2 * k + 1].min() < 0 < two[:, 2 * k + 1].max()


def test_kernels_keep_their_order(free):
    """Widths as given, not sorted."""
    narrow = kinds.Kernels(widths=0.01, seeds=[4, 9]).build(free).columns
    both = kinds.Kernels(widths=(0.03, 0.01), seeds=[4, 9]).build(free).columns
    close(both[:, 2:], narrow)
    assert float(jnp.max(both[:, 0])) < float(jnp.max(narrow[:, 0]))


def test_ebb_of_white_data_is_minimum_norm(fixed):
    white = fixed.with_data(fixed.whitener.colorer @ jnp.eye(fixed.rank))
    part = kinds.EBB().build(white)
    close(part.variance, np.ones(N))


def test_reach_is_in_metres():
    """On a flat sheet the correlation at the reach is that of the Matern field, x K_1(x)."""
    side, step, reach = 41, 0.002, 0.02
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) * step
    index = np.arange(side * side).reshape(side, side)
    edges = np.concatenate(
        [
            np.c_[index[:, :-1].ravel(), index[:, 1:].ravel()],
            np.c_[index[:-1].ravel(), index[1:].ravel()],
        ]
    )
    gain = np.random.default_rng(0).standard_normal((4, side * side))
    positions = np.c_[grid, np.zeros(len(grid))]
    problem = ej.from_arrays(gain, gain[:, :3], 1.0, positions, edges=edges)
    cov = kinds.Smooth(reach=reach).build(problem).cov
    middle, away = index[20, 20], index[20, 30]
    unit = jnp.zeros((side * side, 1, 2)).at[jnp.array([middle, away]), 0, jnp.arange(2)].set(1.0)
    columns = np.asarray(cov.apply(unit))[:, 0]
    both = columns[away, 0] / np.sqrt(columns[middle, 0] * columns[away, 1])
    x = np.sqrt(8.0)
    assert both == pytest.approx(x * scipy.special.k1(x), abs=0.02)


def test_crumbs_of_the_mesh_are_joined():
    """A location without neighbours lies in the patch nearest to it."""
    grid = np.stack(np.meshgrid(np.arange(15), np.arange(15)), -1).reshape(-1, 2) * 0.005
    positions = np.c_[grid, np.zeros(len(grid))]
    near = np.abs(positions[:, None] - positions[None]).sum(-1)
    edges = np.argwhere(np.triu((near > 0) & (near < 0.0051)))
    edges = edges[(edges != 224).all(axis=1)]  # the last corner stands alone
    gain = np.random.default_rng(0).standard_normal((4, len(positions)))
    problem = ej.from_arrays(gain, gain[:, :3], 1.0, positions, edges=edges)
    part = kinds.Patches(seeds=[112, 223], reach=0.02).build(problem)
    assert float(part.columns[224, 1]) > 0.1 > float(part.columns[224, 0])
    three = kinds.Patches(3).build(problem)
    assert (np.asarray(three.columns) > 0).any(axis=1).all()


class FakeLabel:
    def __init__(self, vertices, hemi):
        self.vertices, self.hemi, self.name = np.asarray(vertices), hemi, f"spot-{hemi}"


class FakeEstimate:
    def __init__(self, vertices, data):
        self.vertices, self.data = vertices, data


@pytest.fixture
def cortex(fixed):
    """The small problem as two hemispheres with vertex numbers."""
    spaces = (np.arange(0, 24, 2), np.arange(1, 17, 2))
    names = dataclasses.replace(fixed.labels, vertices=spaces, kinds=("surface", "surface"))
    return dataclasses.replace(fixed, labels=names)


def test_labels_of_mne(cortex):
    """Vertices between the sources are ignored; the right hemisphere comes after the left."""
    left, right = FakeLabel([2, 3, 4], "lh"), FakeLabel(np.arange(6), "rh")
    part = kinds.Labels([left, right]).build(cortex)
    np.testing.assert_array_equal(part.location, [1, 2, 12, 13, 14])
    np.testing.assert_array_equal(part.member, [0, 0, 1, 1, 1])
    (both,) = ej.models.components.read.read_components([left, right])
    assert len(both.labels) == 2
    assert ej.models.Components([left, "iid", right]).prepare(cortex).n_components({}) == 3


def test_labels_stand_where_their_hemisphere_is(cortex):
    """After a volume too; vertex numbers of another subject mean other places."""
    spaces = (np.arange(3), *cortex.labels.vertices)
    kinds_of = ("volume", "surface", "surface")
    names = dataclasses.replace(cortex.labels, vertices=spaces, kinds=kinds_of, subject="me")
    moved = dataclasses.replace(cortex, labels=names)
    label = FakeLabel([2, 3, 4], "lh")
    np.testing.assert_array_equal(kinds.Labels([label]).build(moved).location, [4, 5])
    label.subject = "somebody else"
    with pytest.raises(ej.InputError, match="of the subject 'somebody else'"):
        kinds.Labels([label]).build(moved)


def test_map_of_mne(cortex):
    values = FakeEstimate(list(cortex.labels.vertices), MAP[:, None])
    close(kinds.Map(values).build(cortex).columns[:, 0], MAP)
    other = FakeEstimate([np.arange(12), np.arange(8)], MAP[:, None])
    with pytest.raises(ej.InputError, match="other vertices"):
        kinds.Map(other).build(cortex)


INDEFINITE = np.diag(np.r_[-0.1, np.ones(N - 1)])
ERRORS = {
    "no name": ("cortex", "known are"),
    "nothing": ([], "at least one"),
    "a number": (3, "is no component"),
    "outside": (np.array([0, 20]), "outside the source space of 20"),
    "negative": (np.array([-1]), "location -1 is outside"),
    "twice": (np.array([1, 1]), "more than once"),
    "empty mask": (np.zeros(N, dtype=bool), "holds no source"),
    "short mask": (np.ones(3, dtype=bool), "mask of 3"),
    "NaN": (np.r_[np.nan, np.ones(N - 1)], "a map holds nan"),
    "short map": (np.ones(5), "the map has 5 rows"),
    "zero map": (np.zeros(N), "reaches no sensor"),
    "indefinite": (INDEFINITE, "not positive semi-definite"),
    "indefinite by columns": (np.ones((N, N)) - 0.1 * np.eye(N), "not positive semi-definite"),
    "skew": (np.triu(np.ones((N, N))), "not symmetric"),
    "NaN matrix": (np.full((N, N), np.nan), "holds nan"),
    "zero matrix": (np.zeros((N, N)), "zero everywhere"),
    "other matrix": (np.eye(7), "has 7 rows"),
    "other factor": (np.ones((7, 2)), "has 7 rows"),
    "cube": (np.ones((2, 2, 2)), "shape"),
    "complex": (np.ones(N) * 1j, "real numbers"),
    "label without cortex": (
        FakeLabel([1], "lh"),
        r"on a hemisphere \(lh\), the problem has discrete",
    ),
    "too many patches": (kinds.Patches(21), "there are 20 locations"),
    "seed outside": (kinds.Patches(seeds=[30]), "location 30 is outside"),
    "area without cortex": (kinds.Patches(3, area=1e-4), "needs a cortical surface"),
    "uneven sum": (kinds.IID() + kinds.Patches(3), r"\[1, 3\]"),
    "uneven product": (kinds.Patches(2) * kinds.Patches(3), "2 components times 3"),
    "full times full": (kinds.Smooth() * kinds.Smooth(), "not supported"),
    "full times family": (kinds.Smooth() * kinds.Patches(3), "as many full"),
    "other source_cov": (Diagonal(jnp.ones((3, 1))), r"for \(3, 1\)"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_no_component(name, fixed):
    given, message = ERRORS[name]
    with pytest.raises(ej.InputError, match=message):
        ej.models.Components(given).prepare(fixed)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kinds.Patches(0), "positive integer"),
        (lambda: kinds.Patches(3, reach=-1.0), "reach"),
        (lambda: kinds.Patches(3, reach=0.1, area=1e-4), "not both"),
        (lambda: kinds.Patches(seeds=[0.5]), "location numbers"),
        (lambda: kinds.Kernels(widths=()), "widths"),
        (lambda: kinds.Kernels(widths=(0.01, np.nan)), "width"),
        (lambda: kinds.Smooth(ridge=0.0), "ridge"),
        (lambda: kinds.DepthWeighted(-1.0), "exponent"),
        (lambda: kinds.EBB(reg=0.0), "reg"),
        (lambda: kinds.IID() * -1.0, "weight"),
        (lambda: kinds.IID() + 3, "only components"),
        (lambda: kinds.Labels([]), "at least one"),
    ],
)
def test_what_cannot_be_asked(make, message):
    with pytest.raises(ej.InputError, match=message):
        make()


def test_no_mesh_no_patches():
    gain = np.random.default_rng(0).standard_normal((4, 6))
    problem = ej.from_arrays(gain, gain[:, :3], 1.0)
    for name in ("patches", "smooth", "msp"):
        with pytest.raises(ej.InputError, match="give positions"):
            ej.models.Components(name).prepare(problem)


def test_built_before_jit(fixed):
    """A component that looks at the mesh says what to do; a prepared one goes through."""
    prior = ej.models.Components(kinds.Patches(3))
    with pytest.raises(ej.InputError, match="prepare"):
        jax.jit(lambda p: prior.prepare(p).built)(fixed)
    ready = prior.prepare(fixed)
    assert jax.jit(lambda p: ready.prepare(p).n_components({}))(fixed) == 3


def test_silent_component(fixed):
    part = Whole(Diagonal(jnp.zeros((N, 1))), fixed.rank)
    with pytest.raises(ej.InputError, match="component 0 of 1 reaches no sensor"):
        normalised_part(part, fixed)


def test_total_of_one_part(fixed):
    """A single part needs no sum."""
    parts = ej.models.Components("iid").prepare(fixed).built
    assert isinstance(total_cov(parts, jnp.ones(1), fixed.prior_scale), Diagonal)
