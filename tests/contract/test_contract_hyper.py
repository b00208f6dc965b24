"""Every prior with hyper-parameters with every inference that takes it: the same promises.

What `test_contract.py` asks of the linear family, of EM, Evidence, Laplace, SVI, NUTS and Gibbs:
finite answers of the right shapes; jit = eager for the same key; vmap over data = loop; gradients =
finite differences; new numbers compile nothing anew; files bring everything back; and what
cannot be computed is refused with a reason.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from promises import check_gradients, close, finite, loss_of, small_problems, traces_of

import esijax as ej
from esijax.models.source_cov import Diagonal

# few steps and few draws do not pass their own checks
pytestmark = pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
KEY = jax.random.key(0)
LABELS = [np.arange(4), np.arange(4, 9)]


class OneLevel(ej.models.Prior):
    """A user's own prior: the two methods and nothing else."""

    spread: jax.Array = eqx.field(converter=lambda x: jnp.asarray(x, float))

    def hyper(self, sizes):  # noqa: ARG002
        return {"level": numpyro.sample("level", dist.LogNormal(0.0, self.spread))}

    def source_cov(self, hyper, problem):
        return Diagonal(hyper["level"] * problem.prior_scale**2)


class OwnNoise(ej.models.noise.Noise):
    """A user's own noise: the two methods and nothing else."""

    spread: jax.Array = eqx.field(converter=lambda x: jnp.asarray(x, float))

    def hyper(self):
        return {"flicker": numpyro.sample("flicker", dist.LogNormal(0.0, self.spread))}

    def covariance(self, hyper, whitener):
        common = jnp.sum(whitener.matrix, axis=1)
        return jnp.eye(len(common)) + 0.1 * hyper["flicker"] * jnp.outer(common, common)


def _components(local):
    return ej.models.Components(LABELS, local)


def _sum(x):
    return ej.models.Sum(ej.models.ARD(dist.InverseGamma(x, 0.1)), _components(dist.Gamma(2.0, x)))


def _learned_level(x):
    return _components(ej.models.hyperpriors.HierarchicalLogNormal(-x))


# each takes one number
PRIORS = {
    "ARD": lambda x: ej.models.ARD(dist.InverseGamma(x, 0.1)),
    "ARD-flat": lambda _: ej.models.ARD(),
    "StudentT": lambda x: ej.models.StudentT(2.0, x),
    "Horseshoe": lambda x: ej.models.Horseshoe(0.3 * x, slab=3.0),
    "GroupLaplace": lambda x: ej.models.GroupLaplace(3 * x),
    "Components": lambda x: _components(dist.InverseGamma(x, 0.1)),
    "Components-learned": _learned_level,
    "Sum": _sum,
    "own": OneLevel,
}
METHODS = {
    "EM": ej.inference.EM(tol=None, max_iter=6),
    "Evidence": ej.inference.Evidence(),
    "Laplace": ej.inference.Laplace(num_samples=100, num_maps=6),
    "SVI": ej.inference.SVI(steps=12, num_particles=1, num_samples=100, num_maps=6),
    "NUTS": ej.inference.NUTS(20, 20, 2, max_tree_depth=4, num_maps=6),
    "Gibbs": ej.inference.Gibbs(20, 20, 2, num_maps=6),
}
N_DRAWS = {"Laplace": 100, "SVI": 100, "NUTS": 40, "Gibbs": 40}
NOISE = {
    "White": lambda _: None,
    "Scalar": lambda x: ej.models.noise.Scalar(dist.InverseGamma(2.0, x)),
    "PerType": lambda x: ej.models.noise.PerType(dist.InverseGamma(2.0, x)),
    "Diagonal": lambda x: ej.models.noise.Diagonal(dist.InverseGamma(2.0, x)),
    "LowRank": lambda x: ej.models.noise.LowRank(1, 0.3 * x),
    "own": OwnNoise,
}
FORBIDDEN = {
    ("ARD-flat", "Laplace"): "flat hyper-prior gives none",
    ("ARD-flat", "SVI"): "flat hyper-prior gives none",
    ("ARD-flat", "NUTS"): "flat hyper-prior gives none",
    ("ARD-flat", "Gibbs"): "flat hyper-prior gives none",
    ("Horseshoe", "Gibbs"): r"ties them together: use inference\.Evidence",
    ("Components-learned", "Gibbs"): "ties them together",
    ("own", "Gibbs"): "needs a prior of components",
    ("Horseshoe", "EM"): r"ties them .* use inference\.Evidence for its point estimate, or NUTS",
    ("Components-learned", "EM"): r"use inference\.Evidence for its point estimate, or NUTS",
    ("own", "EM"): "linear in its variances",
}
WITH_NOISE = (
    ("ARD-flat", "EM", "Scalar"),
    ("Components", "EM", "Diagonal"),
    ("own", "Evidence", "Diagonal"),
    ("Components", "Laplace", "PerType"),
    ("ARD", "SVI", "LowRank"),
    ("Components-learned", "NUTS", "PerType"),
    ("own", "NUTS", "LowRank"),
    ("Components", "Gibbs", "PerType"),
    ("ARD", "Gibbs", "Diagonal"),
    ("ARD", "Evidence", "own"),
    ("Components", "Laplace", "own"),
    ("own", "SVI", "own"),
    ("Components", "NUTS", "own"),
    ("own", "NUTS", "own"),
)
# what the default run has; everything else differs from it by a factor
DAILY = {
    "fixed-ARD-flat-EM-White",
    "fixed-ARD-SVI-White",
    "free-ARD-NUTS-White",
}
# the quickest of them to differentiate
DAILY_GRADIENTS = {"fixed-ARD-flat-EM-White"}
# stored in files, with the noise models
STORED = (*DAILY, "fixed-Components-learned-NUTS-PerType")


def cases():
    """All of orientation x prior x method, with a few noise models."""
    plain = [(p, m, "White") for p in PRIORS for m in METHODS if (p, m) not in FORBIDDEN]
    for orients in ("fixed", "free"):
        for case in (*plain, *WITH_NOISE):
            yield orients, *case


def pairs(methods=tuple(METHODS), daily=frozenset(DAILY)):
    """Parameters of a test; those of the default run are not slow."""
    return [_param(case, daily) for case in cases() if case[2] in methods]


def _param(case, daily=frozenset(DAILY)):
    name = "-".join(case)
    return pytest.param(case, id=name, marks=() if name in daily else pytest.mark.slow)


class Bench:
    """Solves cases, each once."""

    def __init__(self, problems):
        self.problems, self.known = problems, {}

    def solve(self, case, x=1.3, data=None):
        orients, prior, method, noise = case
        problem = self.problems[orients]
        if data is not None:
            problem = problem.with_data(data)
        model, noise = PRIORS[prior](x), NOISE[noise](x)
        return ej.solve(problem, model, METHODS[method], noise=noise, key=KEY)

    def __getitem__(self, case):
        if case not in self.known:
            self.known[case] = self.solve(case)
        return self.known[case]


@pytest.fixture(scope="module")
def bench(problem_factory):
    return Bench(small_problems(problem_factory, 6))


def _flat(site):
    """A value for what has no distribution to draw from."""
    improper = site["type"] == "sample" and isinstance(site["fn"], dist.ImproperUniform)
    return jnp.ones(site["fn"].event_shape) if improper else None


def sites_of(case, problem, x=1.3):
    """Names and shapes of the hyper-parameters that prior and noise declare."""
    _, prior, _, noise = case
    sizes = {"n_locations": 9, "n_orients": problem.n_orients, "n_times": 6}
    prior, noise = PRIORS[prior](x).prepare(problem), NOISE[noise](x)
    noise = ej.models.noise.White() if noise is None else noise.prepare(problem)
    seeded = handlers.seed(lambda: prior.hyper(sizes) | noise.hyper(), 0)
    found = handlers.substitute(seeded, substitute_fn=_flat)()
    return {name: value.shape for name, value in found.items()}


@pytest.mark.parametrize("case", pairs())
def test_shapes_and_finite_numbers(bench, case):
    estimate, problem = bench[case], bench.problems[case[0]]
    n, kept, times = shape = (9, problem.n_orients, 6)
    draws = N_DRAWS.get(case[2])
    assert estimate.is_mixture == (draws is not None)
    some = times if estimate.is_mixture else 1
    assert estimate.mean.shape == shape
    assert estimate.std.shape == (n, kept, some)
    assert estimate.cov.shape == (n, kept, kept, *([times] if estimate.is_mixture else []))
    variance = jnp.einsum("loo...->lo...", estimate.cov).reshape(n, kept, some)
    close(variance, estimate.std**2, 1e-9)
    sample = estimate.sample(KEY, 2)
    assert sample.shape == (2, *shape)
    lower, upper = estimate.interval(0.8)
    assert lower.shape == upper.shape == shape
    assert (lower < upper).all()
    chance = estimate.exceedance(float(jnp.max(jnp.abs(estimate.mean))))
    assert chance.shape == (n, times)
    assert ((chance >= 0) & (chance <= 1)).all()
    course = estimate.label(LABELS[1], level=0.8)
    assert course.mean.shape == course.lower.shape == (times,)
    assert (course.lower < course.upper).all()
    finite(estimate.mean, estimate.std, sample, course.std, estimate.predicted)

    # hyper-parameters: the names that prior and noise declare, a leading axis where drawn
    lead = () if draws is None else (draws,)
    want = {name: lead + one for name, one in sites_of(case, problem).items()}
    assert {name: value.shape for name, value in estimate.hyper.items()} == want
    finite(*estimate.hyper.values())
    assert estimate.method == case[2]
    assert (estimate.log_evidence is None) == (case[2] in ("NUTS", "Gibbs"))
    assert estimate.verdict()["result"]


@pytest.fixture
def count_traces(monkeypatch):
    classes = [type(method) for method in METHODS.values()]
    return traces_of(monkeypatch, classes, ("init", "step", "finish"))


@pytest.mark.parametrize("case", pairs())
def test_new_numbers_compile_nothing_and_jit_and_vmap_agree(bench, case, count_traces):
    orients, prior, method, noise = case
    problem, first = bench.problems[orients], bench[case]
    data = jnp.stack([problem.recording, problem.recording[:, ::-1] * 2])
    bench.solve(case)
    count_traces.clear()
    second = bench.solve(case, data=data[1])
    named = dataclasses.replace(problem.labels, comment="another", subject="someone")
    bench.problems["named"] = dataclasses.replace(problem, labels=named)
    bench.solve(("named", *case[1:]), x=1.4)
    assert not count_traces

    @jax.jit
    @jax.vmap
    def answers(d):
        model, own = PRIORS[prior](1.3), NOISE[noise](1.3)
        estimate = ej.solve(problem.with_data(d), model, METHODS[method], noise=own, key=KEY)
        return estimate.mean, estimate.std

    got = answers(data)
    for i, want in enumerate((first, second)):
        close(got[0][i], want.mean, 1e-6)
        close(got[1][i], want.std, 1e-6)


DIFFERENTIABLE = ("EM", "Evidence", "Laplace", "SVI")


@pytest.mark.parametrize("case", pairs(DIFFERENTIABLE, DAILY_GRADIENTS))
def test_gradients(bench, case):
    """With respect to data, lead field and a number of the hyper-priors."""
    orients, prior, method, noise = case
    # variances whose most probable value is zero: the mean does not depend on where near it a
    # search ends, the logarithm of the spread does
    spread = method != "Evidence" or prior not in ("ARD-flat", "Horseshoe")
    # a mode known to 1e-8, tau near zero: differences of a larger step
    loose = method == "Evidence" and prior in ("Components-learned", "Horseshoe")
    step = 1e-3 if loose else 3e-5
    problem, solver = bench.problems[orients], METHODS[method]
    assert solver.differentiable
    start = bench[case] if method == "SVI" else None  # held where differences are taken

    @jax.jit
    def value_and_grad(data, gain, x):
        def loss(data, gain, x):
            p = eqx.tree_at(lambda p: p.gain, problem.with_data(data), gain)
            model, own = PRIORS[prior](x), NOISE[noise](x)
            estimate = ej.solve(p, model, solver, noise=own, key=KEY, init=start)
            return loss_of(estimate, spread)

        return jax.value_and_grad(loss, argnums=(0, 1, 2))(data, gain, x)

    at = (problem.recording, problem.gain, jnp.asarray(1.3))
    check_gradients(value_and_grad, at, step=step)


# ------------------------------------------------------------------ on their way out
@pytest.mark.parametrize(
    "case",
    [_param(c) for c in cases() if "-".join(c) in STORED and c[1] != "own"],
)
def test_files_bring_everything_back(bench, case, tmp_path):
    before = bench[case]
    after = ej.load(ej.save(before, tmp_path / "x.npz"))
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_equal(after.verdict(), before.verdict())
    assert after.diagnostics.doubts() == before.diagnostics.doubts()
    np.testing.assert_array_equal(after.sample(KEY, 2), before.sample(KEY, 2))


def test_files_and_a_prior_of_ones_own(bench, tmp_path):
    """A point estimate has no need of it; a mixture asks it for the covariance of each draw."""
    point = bench["free", "own", "Evidence", "Diagonal"]
    again = ej.load(ej.save(point, tmp_path / "x.npz"))
    np.testing.assert_array_equal(again.mean, point.mean)
    posterior = bench["free", "ARD", "NUTS", "White"].posterior
    mixture = dataclasses.replace(posterior, prior=OneLevel(1.0))
    with pytest.raises(ej.InputError, match=r"OneLevel.* not of esijax"):
        ej.save(dataclasses.replace(point, posterior=mixture), tmp_path / "y.npz")


def test_arviz_knows_the_chains(bench):
    estimate = bench["free", "ARD", "NUTS", "White"]
    tree = ej.to_arviz(estimate, groups=("posterior", "sample_stats"))
    gamma = tree["posterior"]["gamma"]
    assert gamma.dims[:2] == ("chain", "draw")
    assert gamma.shape == (2, 20, 9)
    np.testing.assert_array_equal(gamma, estimate.diagnostics.draws["gamma"])
    assert tree["sample_stats"]["energy"].shape == (2, 20)


# ------------------------------------------------------------------ what cannot be
@pytest.mark.parametrize(("prior", "method"), FORBIDDEN)
def test_refused(bench, prior, method):
    with pytest.raises(ej.InputError, match=FORBIDDEN[prior, method]):
        bench.solve(("fixed", prior, method, "White"))


@pytest.mark.parametrize("method", [m for m in METHODS if m != "EM"])
def test_refused_with_nothing_to_learn(bench, method):
    with pytest.raises(ej.InputError, match=r"has none: use Linear for it|use inference\.Linear\."):
        ej.solve(bench.problems["fixed"], ej.models.MinimumNorm(), METHODS[method], key=KEY)


def test_refused_for_other_reasons(bench):
    problem, flat = bench.problems["fixed"], ej.models.ARD()
    solve = ej.solve
    with pytest.raises(ej.InputError, match="EM updates variances"):
        bench.solve(("fixed", "ARD", "EM", "LowRank"))
    with pytest.raises(ej.InputError, match="Gibbs draws variances"):
        bench.solve(("fixed", "ARD", "Gibbs", "LowRank"))
    for method in ("EM", "Gibbs"):
        with pytest.raises(ej.InputError, match="covariance of OwnNoise is not linear in any"):
            bench.solve(("fixed", "ARD", method, "own"))
    with pytest.raises(ej.InputError, match=r"use inference\.Linear\."):
        solve(problem, ej.models.MinimumNorm(), METHODS["EM"])
    with pytest.raises(ej.InputError, match="minimum norm family, got ARD"):
        solve(problem, flat, ej.inference.Linear())
    with pytest.raises(ej.InputError, match="takes the noise covariance as it is"):
        solve(problem, ej.models.MinimumNorm(), ej.inference.Linear(), noise=NOISE["Scalar"](1.0))
    for method in ("Laplace", "SVI", "NUTS", "Gibbs"):
        with pytest.raises(ej.InputError, match="draws random numbers"):
            solve(problem, PRIORS["ARD"](1.0), METHODS[method])
    for method in METHODS.values():
        with pytest.raises(ej.InputError, match="NoneType has none"):
            solve(problem, None, method, key=KEY)
