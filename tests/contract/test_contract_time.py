"""Models with a covariance in time, with every inference that takes them: the same promises.

Shapes and finite numbers, jit = eager for the same key, vmap over data = loop, gradients = finite
differences, nothing compiled anew for new numbers, files bring everything back.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from promises import check_gradients, close, finite, loss_of, small_problems, traces_of

import esijax as ej

pytestmark = pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
KEY = jax.random.key(0)
LABELS = [np.arange(4), np.arange(4, 9)]
N_TIMES = 6
time, inference = ej.models.time, ej.inference

# each takes one number
MODELS = {
    "smooth": lambda x: ej.models.Kronecker(
        ej.models.Components(LABELS, dist.InverseGamma(x, 0.1)),
        time.SquaredExponential(dist.LogNormal(-5.0 * x, 0.5)),
    ),
    "autoregressive": lambda x: ej.models.Kronecker(
        ej.models.ARD(dist.InverseGamma(x, 0.1)), time.Autoregressive(2), rest=None
    ),
    "basis": lambda x: ej.models.TemporalBasis(
        ej.models.ARD(dist.InverseGamma(x, 0.1)), "dct:3", rest=None
    ),
    "remainder": lambda x: ej.models.TemporalBasis(
        ej.models.Components(LABELS, dist.InverseGamma(x, 0.1)), "dct:3"
    ),
}
NOISE = {
    "learned": lambda x: ej.models.noise.InTime(
        ej.models.noise.Scalar(dist.InverseGamma(2.0, x)), time.Autoregressive(1)
    ),
    "White": lambda _: ej.models.noise.White(),
}
METHODS = {
    "EM": inference.EM(tol=None, max_iter=6),
    "Evidence": inference.Evidence(),
    "Laplace": inference.Laplace(num_samples=100, num_maps=6),
    "SVI": inference.SVI(steps=12, num_particles=1, num_samples=100, num_maps=6),
    "NUTS": inference.NUTS(20, 20, 2, max_tree_depth=4, num_maps=6),
}
N_DRAWS = {"Laplace": 100, "SVI": 100, "NUTS": 40}
DAILY = {"fixed-smooth-Evidence-learned"}
CASES = [
    (orients, model, method, noise)
    for orients in ("fixed", "free")
    for model, noise in (
        ("smooth", "learned"),
        ("autoregressive", "White"),
        ("basis", "White"),
        ("remainder", "learned"),
    )
    for method in METHODS
]


def params(methods=tuple(METHODS), daily=frozenset(DAILY)):
    """Parameters of a test; those of the default run are not slow."""
    return [
        pytest.param(c, id="-".join(c), marks=() if "-".join(c) in daily else pytest.mark.slow)
        for c in CASES
        if c[2] in methods
    ]


class Bench:
    """Solves cases, each once."""

    def __init__(self, problems):
        self.problems, self.known = problems, {}

    def solve(self, case, x=1.3, data=None):
        orients, model, method, noise = case
        problem = self.problems[orients]
        problem = problem if data is None else problem.with_data(data)
        return ej.solve(problem, MODELS[model](x), METHODS[method], noise=NOISE[noise](x), key=KEY)

    def __getitem__(self, case):
        if case not in self.known:
            self.known[case] = self.solve(case)
        return self.known[case]


@pytest.fixture(scope="module")
def bench(problem_factory):
    return Bench(small_problems(problem_factory, N_TIMES))


@pytest.mark.parametrize("case", params())
def test_shapes_and_finite_numbers(bench, case):
    estimate, problem = bench[case], bench.problems[case[0]]
    n, kept, times = shape = (9, problem.n_orients, N_TIMES)
    draws = N_DRAWS.get(case[2])
    assert estimate.is_mixture == (draws is not None)
    assert estimate.mean.shape == estimate.std.shape == shape
    assert estimate.cov.shape == (n, kept, kept, times)
    close(jnp.einsum("loot->lot", estimate.cov), estimate.std**2, 1e-9)
    sample = estimate.sample(KEY, 2)
    assert sample.shape == (2, *shape)
    lower, upper = estimate.interval(0.8)
    assert lower.shape == upper.shape == shape
    assert (lower < upper).all()
    chance = estimate.exceedance(float(jnp.max(jnp.abs(estimate.mean))))
    assert chance.shape == (n, times)
    assert ((chance >= 0) & (chance <= 1)).all()
    some = jnp.array([1, 5]), jnp.array([0, 3])
    close(estimate.interval(0.8, at=some)[0], np.asarray(lower)[[1, 5]][..., [0, 3]], 1e-9)
    course = estimate.label(LABELS[1], level=0.8)
    assert course.mean.shape == course.lower.shape == (times,)
    assert (course.lower < course.upper).all()
    finite(estimate.mean, estimate.std, sample, course.std, estimate.predicted)
    assert all(len(v) == draws for v in estimate.hyper.values() if draws is not None)
    finite(*estimate.hyper.values())
    assert (estimate.log_evidence is None) == (case[2] == "NUTS")
    assert estimate.verdict()["result"]


@pytest.fixture
def count_traces(monkeypatch):
    classes = [type(method) for method in METHODS.values()]
    return traces_of(monkeypatch, classes, ("init", "step", "finish"))


@pytest.mark.parametrize("case", params(daily=frozenset()))
def test_new_numbers_compile_nothing_and_jit_and_vmap_agree(bench, case, count_traces):
    orients, model, method, noise = case
    problem, first = bench.problems[orients], bench[case]
    data = jnp.stack([problem.recording, problem.recording[:, ::-1] * 2])
    bench.solve(case)
    count_traces.clear()
    second = bench.solve(case, data=data[1])
    named = dataclasses.replace(problem.labels, comment="another", subject="someone")
    bench.problems["named"] = dataclasses.replace(problem, labels=named)
    bench.solve(("named", *case[1:]), x=1.4)
    assert not count_traces
    prepared = MODELS[model](1.3).prepare(problem)  # the times are known outside

    @jax.jit
    @jax.vmap
    def answers(d):
        estimate = ej.solve(
            problem.with_data(d), prepared, METHODS[method], noise=NOISE[noise](1.3), key=KEY
        )
        return estimate.mean, estimate.std

    got = answers(data)
    for i, want in enumerate((first, second)):
        close(got[0][i], want.mean, 1e-6)
        close(got[1][i], want.std, 1e-6)


@pytest.mark.parametrize("case", params(("EM", "Evidence", "Laplace", "SVI"), frozenset()))
def test_gradients(bench, case):
    """With respect to data, lead field and a number of the hyper-priors."""
    orients, model, method, noise = case
    problem, solver = bench.problems[orients], METHODS[method]
    start = bench[case] if method == "SVI" else None  # held where differences are taken

    @jax.jit
    def value_and_grad(data, gain, x):
        def loss(data, gain, x):
            p = eqx.tree_at(lambda p: p.gain, problem.with_data(data), gain)
            estimate = ej.solve(
                p, MODELS[model](x), solver, noise=NOISE[noise](x), key=KEY, init=start
            )
            return loss_of(estimate)

        return jax.value_and_grad(loss, argnums=(0, 1, 2))(data, gain, x)

    check_gradients(value_and_grad, (problem.recording, problem.gain, jnp.asarray(1.3)))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Evidence", "NUTS"])
def test_files_bring_everything_back(bench, method, tmp_path):
    before = bench["free", "smooth", method, "learned"]
    after = ej.load(ej.save(before, tmp_path / "x.npz"))
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(after.sample(KEY, 2), before.sample(KEY, 2))
