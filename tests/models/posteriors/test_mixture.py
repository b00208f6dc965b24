"""Mixtures of posteriors against dense members, one by one, in NumPy and SciPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import optimize, stats

import esijax as ej
from esijax._ops.exceed import ball_exceedance
from esijax.estimate import Estimate
from esijax.models.hyperpriors import Flat
from esijax.models.parts import LowRank, Separate, Whole
from esijax.models.posteriors.mixture import gaussian_posterior
from esijax.models.priors.linear import OneLevel, Sum
from esijax.models.priors.prior import Prior
from esijax.models.source_cov import Diagonal, GraphSmooth

N_DRAWS = 7
SIZE = {"n_channels": 8, "n_locations": 9, "n_times": 3, "loose": 0.3}


class Patches(OneLevel):
    """Low-rank components for the tests."""

    columns: jax.Array
    local: Flat = dataclasses.field(default_factory=Flat)

    def n_components(self, sizes):  # noqa: ARG002
        return 3

    def parts(self, problem):  # noqa: ARG002
        return (LowRank(self.columns, jnp.array([0, 0, 1, 2, 2]), 3),)


class Smooth(OneLevel):
    """One component on the graph, and independent locations in two groups."""

    local: Flat = dataclasses.field(default_factory=Flat)

    def n_components(self, sizes):  # noqa: ARG002
        return 3

    def parts(self, problem):
        n = problem.n_locations
        edges = jnp.stack([jnp.arange(n - 1), jnp.arange(1, n)], axis=1)
        graph = GraphSmooth(problem.prior_scale, edges, jnp.asarray(0.2))
        return (
            Separate(jnp.linspace(0.0, 1.0, n), jnp.arange(n) % 2, 2),
            Whole(graph, problem.rank),
        )


class Powers(Prior):
    """Not linear in anything."""

    def hyper(self, sizes):
        raise NotImplementedError

    def source_cov(self, hyper, problem):
        falloff = jnp.arange(1.0, problem.n_locations + 1)[:, None] ** -hyper["power"]
        return Diagonal(falloff * problem.prior_scale**2)


def make(prior, rng):
    """A prior and draws of its hyper-parameters."""
    gamma = lambda n: {"gamma": jnp.asarray(rng.lognormal(0.0, 1.0, (N_DRAWS, n)))}  # noqa: E731
    if prior == "ard":
        return ej.models.ARD(dist.InverseGamma(1.0, 0.1)), gamma(9)
    columns = jnp.asarray(rng.standard_normal((9, 5)))
    if prior == "patches":
        return Patches(columns=columns), gamma(3)
    if prior == "smooth":
        return Smooth(), gamma(3)
    if prior == "sum":
        both = Sum(ej.models.ARD(), Patches(columns=columns))
        return both, {
            "part0/gamma": gamma(9)["gamma"] * 0.1,
            "part1/gamma": gamma(3)["gamma"],
        }
    if prior == "loreta":
        return ej.models.LORETA(0.5), {"lambda2": jnp.full(N_DRAWS, 0.5)}
    return Powers(), {"power": jnp.asarray(rng.uniform(0.0, 2.0, N_DRAWS))}


def make_noise(noise, problem, rng):
    if noise == "white":
        return ej.models.noise.White(), {}
    model = getattr(ej.models.noise, noise)().prepare(problem)
    draws = jnp.asarray(rng.lognormal(0.0, 0.5, (N_DRAWS, model.n_variances)))
    return model, {"noise_var": draws}


CASES = (
    ("ard", "white", 1, {}),
    ("ard", "Scalar", 3, {}),
    ("ard", "white", 3, {"trials": 2}),
    ("patches", "PerType", 3, {}),
    ("patches", "white", 1, {"trials": 2}),
    ("smooth", "Diagonal", 1, {}),
    ("smooth", "white", 3, {}),
    ("sum", "white", 3, {"average_reference": True}),
    ("loreta", "Scalar", 3, {}),
    ("powers", "Diagonal", 3, {"average_reference": True}),
)


def picked(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


class Case:
    """A mixture, and its members as dense arrays."""

    def __init__(self, factory, prior, noise, orients, more):
        rng = np.random.default_rng(5)
        problem = factory(orients, **SIZE, **more)
        prior, hyper = make(prior, rng)
        noise, own = make_noise(noise, problem, rng)
        marginal = prior.marginal(problem, noise)
        hyper = hyper | own
        self.problem, self.marginal, self.hyper = problem, marginal, hyper
        self.posterior = jax.jit(lambda m, h: m.mixture(h))(marginal, hyper)
        self.estimate = Estimate(problem, self.posterior, hyper=hyper)
        self.members = [self.dense(picked(hyper, i)) for i in range(N_DRAWS)]
        unit = float(problem.source_unit)
        n, orients, times = problem.n_locations, problem.n_orients, problem.n_times
        means = [np.moveaxis((k @ np.asarray(problem.data)), -1, -1) for k, _ in self.members]
        self.means = unit * np.stack([m.reshape(*m.shape[:-2], n, orients, times) for m in means])
        self.covs = unit**2 * np.stack([c for _, c in self.members])
        self.stds = np.sqrt(np.diagonal(self.covs, axis1=1, axis2=2)).reshape(-1, n, orients)

    def dense(self, hyper):
        """Kernel and covariance over all sources."""
        p = self.problem
        g = np.asarray(p.gain).reshape(p.rank, -1)
        eye = jnp.eye(g.shape[1]).reshape(p.n_locations, p.n_orients, -1)
        r = self.marginal.prior.source_cov(hyper, p).apply(eye)
        r = np.asarray(r).reshape(g.shape[1], -1)
        sigma = g @ r @ g.T + np.asarray(self.marginal.noise_cov(hyper))
        kernel = r @ g.T @ np.linalg.inv(sigma)
        return kernel, r - kernel @ g @ r

    def blocks(self, s):
        n, orients = self.problem.n_locations, self.problem.n_orients
        return np.einsum("lolp->lop", self.covs[s].reshape(n, orients, n, orients))

    def quantile(self, mean, std, p):
        """By SciPy, one at a time."""
        ends = stats.norm.ppf(p, mean, std)
        if np.ptp(ends) == 0:
            return ends[0]
        centre, size = mean.mean(), np.ptp(ends)  # brentq needs numbers near one
        unit = lambda x: stats.norm.cdf(centre + size * x, mean, std).mean() - p  # noqa: E731
        low, high = (ends.min() - centre) / size - 1e-9, (ends.max() - centre) / size + 1e-9
        return centre + size * optimize.brentq(unit, low, high, xtol=1e-14, rtol=1e-14)


DAILY = (CASES[1],)
PARAMS = [
    pytest.param(
        c,
        id=f"{c[0]}-{c[1]}-{c[2]}{''.join(c[3])}",
        marks=() if c in DAILY else pytest.mark.slow,
    )
    for c in CASES
]


@pytest.fixture(scope="module", params=PARAMS)
def case(request, problem_factory):
    return Case(problem_factory, *request.param)


def close(got, want, rtol=1e-9):
    want = np.asarray(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=rtol * np.abs(want).max())


def test_moments(case):
    e = case.estimate
    close(e.mean, case.means.mean(axis=0))
    spread = case.means.var(axis=0)
    within = (case.stds**2).mean(axis=0)[..., None]
    assert e.std.shape == e.mean.shape
    close(np.asarray(e.std) ** 2, within + spread)


def test_covariance_blocks(case):
    e = case.estimate
    left = case.means - case.means.mean(axis=0)
    want = np.einsum("s...lot,s...lpt->...lopt", left, left) / N_DRAWS
    want += np.mean([case.blocks(s) for s in range(N_DRAWS)], axis=0)[..., None]
    assert e.cov.shape == want.shape
    close(e.cov, want)
    close(np.einsum("...loot->...lot", e.cov), np.asarray(e.std) ** 2)


def test_interval_is_that_of_the_mixture(case):
    """Against root finding, one source at a time."""
    lower, upper = (np.asarray(x) for x in case.estimate.interval(0.8))
    assert lower.shape == case.means.shape[1:]
    for index in np.ndindex(*lower.shape):
        mean, std = case.means[(slice(None), *index)], case.stds[(slice(None), *index[-3:-1])]
        size = std.max() + np.ptp(mean)
        assert abs(lower[index] - case.quantile(mean, std, 0.1)) <= 1e-8 * size, index
        assert abs(upper[index] - case.quantile(mean, std, 0.9)) <= 1e-8 * size, index


def test_a_few_locations_and_times(case):
    at = ([7, 2], [2, 0])
    for whole, some in (
        (case.estimate.interval(0.5), case.estimate.interval(0.5, at=at)),
        ([case.estimate.exceedance(1e-9)[..., None, :]],
         [case.estimate.exceedance(1e-9, at=at)[..., None, :]]),
        ([case.estimate.exceedance(1e-9, "mean")[..., None, :]],
         [case.estimate.exceedance(1e-9, "mean", at=at)[..., None, :]]),
    ):  # fmt: skip
        for w, s in zip(whole, some, strict=True):
            close(s, np.asarray(w)[..., [7, 2], :, :][..., [2, 0]], 1e-8)


def test_exceedance_is_the_average_over_members(case):
    level = float(np.median(np.linalg.norm(case.means.mean(axis=0), axis=-2)))
    towards = case.means.mean(axis=0)
    direction = towards / np.linalg.norm(towards, axis=-2, keepdims=True)
    norm, along = 0.0, 0.0
    for s in range(N_DRAWS):
        mean, cov = jnp.asarray(case.means[s]), jnp.asarray(case.blocks(s))
        norm += np.asarray(ball_exceedance(mean, cov, jnp.asarray(level))) / N_DRAWS
        sd = np.sqrt(np.einsum("...lot,lop,...lpt->...lt", direction, case.blocks(s), direction))
        part = np.sum(direction * case.means[s], axis=-2)
        along += stats.norm.sf(level, part, np.maximum(sd, 1e-300)) / N_DRAWS
    close(case.estimate.exceedance(level), norm, 1e-8)
    close(case.estimate.exceedance(level, "mean"), along, 1e-8)


@pytest.mark.statistical
def test_draws_have_these_moments_and_probabilities(case):
    n = 2000
    e = case.estimate
    draws = np.asarray(e.sample(jax.random.key(1), n))
    mean, std = np.asarray(e.mean), np.asarray(e.std)
    worst = np.abs(draws.mean(axis=0) - mean) / (std / n**0.5 + 1e-30)
    assert worst.max() < 4.5  # of up to a few hundred numbers
    left = (draws - mean) ** 2
    error = np.abs(left.mean(axis=0) - std**2) / (left.std(axis=0) / n**0.5 + 1e-30)
    assert error.max() < 5.0
    level = float(np.median(np.linalg.norm(mean, axis=-2)))
    share = (np.linalg.norm(draws, axis=-2) > level).mean(axis=0)
    probability = np.asarray(e.exceedance(level))
    spread = np.sqrt(probability * (1 - probability) / n)
    assert (np.abs(share - probability) < 4.5 * spread + 1e-3).all()
    some = np.asarray(e.sample(jax.random.key(1), 5, at=([3], [1, 2])))
    assert some.shape == (5, *e.mean.shape[:-3], 1, e.n_orients, 2)


def test_label_course(case):
    p = case.problem
    course = case.estimate.label([1, 4, 6], level=0.8, mode="mean")
    weights = np.zeros((p.n_locations, p.n_orients))
    weights[[1, 4, 6], -1] = 1 / 3
    members = np.einsum("lo,s...lot->s...t", weights, case.means)
    spread = np.sqrt(np.einsum("i,sij,j->s", weights.ravel(), case.covs, weights.ravel()))
    close(course.mean, members.mean(axis=0))
    across = spread.reshape(-1, *[1] * (members.ndim - 1)) ** 2
    close(course.std**2, across.mean(axis=0) + members.var(axis=0))
    for index in np.ndindex(*course.lower.shape):
        values = members[(slice(None), *index)]
        want = case.quantile(values, spread, 0.1), case.quantile(values, spread, 0.9)
        size = spread.max() + np.ptp(values)
        assert abs(course.lower[index] - want[0]) <= 1e-8 * size
        assert abs(course.upper[index] - want[1]) <= 1e-8 * size


def test_kernel_and_prediction(case):
    p, e = case.problem, case.estimate
    kernel = np.asarray(e.kernel).reshape(-1, p.whitener.matrix.shape[1])
    close((kernel @ np.asarray(p.recording)).reshape(e.mean.shape), e.mean)
    want = np.asarray(p.gain).reshape(p.rank, -1) @ np.asarray(e.mean).reshape(
        *e.mean.shape[:-3], -1, p.n_times
    )
    close(e.posterior.fitted(), want / float(p.source_unit), 1e-8)
    assert float(e.explained_variance) <= 1.0


def test_one_draw_is_the_gaussian(case):
    hyper = jax.tree.map(lambda x: x[2:3], case.hyper)
    one = dataclasses.replace(case.estimate, posterior=case.marginal.mixture(hyper))
    m = case.marginal
    single = gaussian_posterior(m.problem, m.prior, m.noise, picked(hyper, 0))
    gauss = dataclasses.replace(case.estimate, posterior=single)
    close(one.mean, gauss.mean, 1e-11)
    close(one.std, np.broadcast_to(gauss.std, one.std.shape), 1e-11)
    close(one.cov, np.broadcast_to(np.asarray(gauss.cov)[..., None], one.cov.shape), 1e-11)
    for got, want in zip(one.interval(), gauss.interval(), strict=True):
        close(got, want, 1e-11)
    for along in ("norm", "mean"):
        close(one.exceedance(1e-9, along), gauss.exceedance(1e-9, along), 1e-9)
    close(one.kernel, gauss.kernel, 1e-11)
    got, want = one.label([0, 1]), gauss.label([0, 1])
    close(got.upper, want.upper, 1e-11)


def test_gradient_of_mean_and_spread(problem_factory):
    """Through the stream, with respect to the data and the variances."""
    problem = problem_factory(1, **SIZE)
    gamma = jnp.asarray(np.random.default_rng(0).lognormal(0.0, 1.0, (3, 9)))

    @jax.jit
    def loss(data, gamma):
        marginal = ej.models.ARD().marginal(problem.with_data(data), None)
        e = Estimate(problem.with_data(data), marginal.mixture({"gamma": gamma}))
        lower, upper = e.interval(0.5)
        unit = problem.source_unit
        return jnp.sum(e.mean**2 + e.std**2) / unit**2 + jnp.sum(upper - 2 * lower) / unit

    data = problem.recording
    grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(data, gamma)
    rng = np.random.default_rng(1)
    for i, x in enumerate((data, gamma)):
        way = jnp.asarray(rng.standard_normal(x.shape)) * jnp.sqrt(jnp.mean(x**2))
        step = 1e-5
        args = [(data + k * step * way, gamma) if i == 0 else (data, gamma + k * step * way)
                for k in (1, -1)]  # fmt: skip
        want = float(loss(*args[0]) - loss(*args[1])) / (2 * step)
        assert float(jnp.sum(grads[i] * way)) == pytest.approx(want, rel=1e-6)


def test_silent_locations(problem_factory):
    """A variance of zero leaves a point at zero."""
    problem = problem_factory(3, **SIZE)
    gamma = jnp.ones((4, 9)).at[:, 3].set(0.0)
    estimate = Estimate(problem, ej.models.ARD().marginal(problem).mixture({"gamma": gamma}))
    lower, upper = estimate.interval()
    assert (np.asarray(estimate.std)[3] == 0).all()
    assert (np.asarray(lower)[3] == 0).all()
    assert (np.asarray(upper)[3] == 0).all()
    assert (np.asarray(estimate.exceedance(1e-12))[3] < 5e-4).all()
