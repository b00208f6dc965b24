"""`ej.testing.check` sees what is broken: one planted fault for each promise."""

import dataclasses
import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.models.noise import Noise, Robust
from esijax.models.source_cov import Diagonal
from esijax.testing import Report, calibration, methods, penalties, priors, promises
from esijax.testing.problems import small_problem
from esijax.testing.report import ReportRow
from esijax.testing.table import row_of, row_of_answer


@pytest.fixture(scope="module")
def problem():
    return small_problem(1, 3)


class Level(ej.models.Prior):
    """A sound prior."""

    def hyper(self, sizes):  # noqa: ARG002
        return {"level": numpyro.sample("level", dist.LogNormal(0.0, 0.5))}

    def source_cov(self, hyper, problem):
        return Diagonal(hyper["level"] * problem.prior_scale**2)


class Bent(Diagonal):
    """R V of another R than its draws and blocks."""

    def apply(self, columns):
        return super().apply(columns).at[0].add(0.5 * columns[1])


class Quiet(Diagonal):
    """Draws that are too small."""

    def draw(self, key, n):
        return 0.5 * super().draw(key, n)


class WithCov(Level):
    cls: Any = eqx.field(static=True, default=Diagonal)

    def source_cov(self, hyper, problem):
        return self.cls(hyper["level"] * problem.prior_scale**2)


@pytest.mark.parametrize(
    ("cls", "told"), [(Diagonal, None), (Bent, "not symmetric"), (Quiet, "draw")]
)
def test_a_covariance_that_disagrees_with_itself(problem, cls, told):
    row = row_of(
        "itself", {"covariance": lambda: priors.source_cov_is_a_covariance(WithCov(cls), problem)}
    )
    assert (row.reasons == ()) == (told is None)
    assert told is None or told in row.reasons[0]


class Louder(Noise):
    factor: jax.Array = eqx.field(converter=lambda x: jnp.asarray(x, float), default=1.0)

    def hyper(self):
        return {"level": numpyro.sample("noise/level", dist.LogNormal(0.0, 0.5))}

    def covariance(self, hyper, whitener):
        return self.factor * hyper["level"] * jnp.eye(whitener.matrix.shape[0])


def test_a_noise_covariance_that_is_none(problem):
    priors.noise_cov_is_a_covariance(Louder(), problem)
    with pytest.raises(promises.BrokenPromise, match="not positive definite"):
        priors.noise_cov_is_a_covariance(Louder(-1.0), problem)


class Sum(ej.models.L1):
    """L1 with a step that is too long, or a polar that is too small."""

    stretch: float = eqx.field(static=True, default=1.0)
    shrink: float = eqx.field(static=True, default=1.0)

    def prox(self, x, step):
        return super().prox(x, self.stretch * step)

    def polar(self, slope):
        return self.shrink * super().polar(slope)


@pytest.mark.parametrize(
    ("fault", "promise"),
    [({}, None), ({"stretch": 1.5}, "prox"), ({"shrink": 0.5}, "polar")],
)
def test_a_wrong_proximal_map_or_polar(problem, fault, promise):
    penalty = dataclasses.replace(Sum(2.0), **fault)
    row = row_of("itself", penalties.promises_of(penalty, problem))
    broken = {name for name, cell in row.cells.items() if cell != "ok"}
    assert broken == ({promise} - {None} | ({"polar"} if promise == "prox" else set()))


class Cauchy(Robust):
    factor: float = eqx.field(static=True, default=1.0)
    bend: float = eqx.field(static=True, default=1.0)
    axes: jax.Array | None = None

    def value(self, residual):
        return 0.5 * jnp.sum(jnp.log1p(residual**2))

    def influence(self, residual):
        return self.factor * residual / (1.0 + residual**2)

    @property
    def curvature(self):
        return jnp.asarray(self.bend)


@pytest.mark.parametrize(
    ("fault", "told"),
    [({}, None), ({"factor": 1.1}, "derivative of value"), ({"bend": 0.5}, "second derivative")],
)
def test_a_wrong_influence_or_curvature(problem, fault, told):
    term = dataclasses.replace(Cauchy(), **fault)
    if told is None:
        penalties.influence_is_the_derivative(term, problem)
        return
    with pytest.raises(promises.BrokenPromise, match=told):
        penalties.influence_is_the_derivative(term, problem)


class Ridge(ej.inference.Method):
    """Sound; `weight` is an array, or a number of Python."""

    differentiable = True
    weight: Any = 1.0
    fault: str = eqx.field(static=True, default="")

    def finish(self, state):
        p = state.setup.problem
        g = p.gain.reshape(p.rank, -1)
        data = jax.lax.stop_gradient(p.data) if self.fault == "gradient" else p.data
        x = g.T @ jnp.linalg.solve(g @ g.T + self.weight * jnp.eye(p.rank), data)
        if self.fault == "jit" and isinstance(p.data, jax.core.Tracer):
            x = 1.01 * x
        if self.fault == "solves":
            x = x.at[0, 0].set(jnp.nan)
        x = x.reshape(p.n_locations, p.n_orients, -1)
        return ej.inference.Estimate(
            p, ej.inference.PointPosterior(x, jnp.tensordot(p.gain, x, 2)), method="Ridge"
        )


def direct(problem, method, init=None):
    setup = ej.inference.Setup(problem, None)
    return method.finish(ej.inference.State(setup))


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        (Ridge(jnp.asarray(1.0)), set()),
        (Ridge(jnp.asarray(1.0), "gradient"), {"gradient"}),
        (Ridge(jnp.asarray(1.0), "jit"), {"jit", "vmap"}),
        (Ridge(jnp.asarray(1.0), "solves"), {"solves"}),
    ],
    ids=["sound", "gradient", "jit", "solves"],
)
def test_a_method_that_breaks_a_promise(problem, method, broken):
    row = row_of_answer("own", direct, problem, method, differentiable=True)
    found = {name for name, cell in row.cells.items() if cell == "FAILS"}
    assert broken <= found
    if not broken:
        assert not found, row.reasons


def test_numbers_of_python_compile_anew(problem):
    def answer(problem, method):
        return ej.solve(problem, None, method)

    promises.nothing_compiled_anew(answer, problem, Ridge(jnp.asarray(1.0)))
    with pytest.raises(promises.BrokenPromise, match="fields of numbers must be arrays"):
        promises.nothing_compiled_anew(answer, problem, Ridge(1.0))


STEPS = itertools.count()


class Forgetful(ej.inference.Method):
    """Keeps a count on the host: what is resumed starts anew."""

    def init(self, setup):
        return ej.inference.State(setup, {"n": 0, "total": 0.0})

    def step(self, state):
        carry = state.carry
        return ej.inference.State(
            state.setup, {"n": carry["n"] + 1, "total": carry["total"] + carry["n"]}
        )

    def advance(self, state):
        after = self.step(state)
        after.carry["total"] = after.carry["total"] + float(next(STEPS))
        return after

    def done(self, state):
        return state.carry["n"] >= 4

    def finish(self, state):
        p = state.setup.problem
        x = state.carry["total"] * jnp.ones((p.n_locations, p.n_orients, p.n_times))
        return ej.inference.Estimate(
            p, ej.inference.PointPosterior(x, jnp.tensordot(p.gain, x, 2)), method="Forgetful"
        )


def test_a_state_that_is_not_all_in_the_carry(problem):
    def answer(problem, method):
        return ej.solve(problem, None, method)

    with pytest.raises(promises.BrokenPromise, match="the resumed mean differs"):
        methods.resumed_is_the_same(answer, problem, Forgetful(), None)


class TooSure(dist.LogNormal):
    """A density that is narrower than its draws."""

    def log_prob(self, value, *_):
        return dist.LogNormal(self.loc, 0.3 * self.scale).log_prob(value)


class Overconfident(Level):
    def hyper(self, sizes):  # noqa: ARG002
        return {"level": numpyro.sample("level", TooSure(0.0, 1.5))}


@pytest.mark.slow
@pytest.mark.statistical
def test_calibration_sees_a_density_that_is_not_that_of_the_draws():
    calibration.calibrated(Level(), None, progress=False)
    with pytest.raises(promises.BrokenPromise, match="not where its posterior says"):
        calibration.calibrated(Overconfident(), None, progress=False)


# ------------------------------------------------------------------ the table
def test_what_is_no_extension_is_refused():
    with pytest.raises(TypeError, match="the class L21: make one"):
        ej.testing.check(ej.models.L21)
    with pytest.raises(TypeError, match="got 3"):
        ej.testing.check(3)


def test_the_report_counts_failures_and_refusals():
    rows = (
        ReportRow("itself", {"prox": "ok"}),
        ReportRow("MAP", {"solves": "ok", "jit": "FAILS"}, ("jit: mean differs by 1 under jit",)),
        ReportRow("EM", {}, refusal="EM takes priors."),
    )
    report = Report("Own", rows)
    assert not report.passes()
    assert report.taken_by == ("itself", "MAP")
    assert report.refused_by == {"EM": "EM takes priors."}
    text = str(report)
    for part in ("NOT all holds", "FAILS  MAP: jit: mean differs", "EM refuses it: EM takes"):
        assert part in text
    assert Report("Own", rows[:1]).passes()
    assert not Report("Own", rows[2:]).passes()


# ------------------------------------------------------------------ the package's own
def _components():
    return ej.models.Components([np.arange(4), np.arange(4, 9)], dist.Gamma(2.0, 1.0))


noise, way, models = ej.models.noise, ej.inference, ej.models
OWN = {
    "MinimumNorm": lambda: models.MinimumNorm(0.3),
    "ELORETA": lambda: models.ELORETA(0.3),
    "LORETA": lambda: models.LORETA(0.3),
    "ARD": lambda: models.ARD(dist.InverseGamma(2.0, 0.5)),
    "ARD-flat": lambda: models.ARD(),
    "StudentT": lambda: models.StudentT(2.0, 0.5),
    "Horseshoe": lambda: models.Horseshoe(0.3, slab=3.0),
    "GroupLaplace": lambda: models.GroupLaplace(3.0),
    "Components": lambda: _components(),
    "Sum": lambda: models.Sum(_components(), models.Components("iid", dist.LogNormal(0.0, 1.0))),
    "Scalar": lambda: noise.Scalar(),
    "PerType": lambda: noise.PerType(),
    "Diagonal": lambda: noise.Diagonal(),
    "LowRank": lambda: noise.LowRank(1, 0.3),
    "Huber": lambda: noise.Huber(),
    "StudentTNoise": lambda: noise.StudentTNoise(),
    "Lp": lambda: noise.Lp(),
    "Lrq": lambda: models.Lrq(2.0, 2, 0.5),
    "TV": lambda: models.TV(1.0),
    "SISSY": lambda: models.SISSY(1.0, 0.3),
    "L21": lambda: models.L21(2.0),
    "L1": lambda: models.L1(2.0),
    "Elastic": lambda: models.Elastic(2.0, 0.9),
    "MCP": lambda: models.MCP(2.0, 40.0),  # shrinks all: unshrunk, nine unknowns fit eight sensors
    "LogSum": lambda: models.LogSum(2.0),
    "SparseGroup": lambda: models.SparseGroup(2.0, 0.3, np.arange(9) // 4),
    "Linear": lambda: way.Linear("dSPM"),
    "LCMV": lambda: way.LCMV(),
    "EM": lambda: way.EM(max_iter=20),
    "Evidence": lambda: way.Evidence(),
    "Laplace": lambda: way.Laplace(num_samples=100, num_maps=6),
    "SVI": lambda: way.SVI(steps=12, num_particles=1, num_samples=100, num_maps=6),
    "NUTS": lambda: way.NUTS(20, 20, 2, max_tree_depth=4, num_maps=6),
    "Gibbs": lambda: way.Gibbs(20, 20, 2, num_maps=6),
    "MAP": lambda: way.MAP(),
    "Reweighted": lambda: way.Reweighted(3),
}
DAILY = {"MinimumNorm"}


@pytest.mark.parametrize(
    "name", [n if n in DAILY else pytest.param(n, marks=pytest.mark.slow) for n in OWN]
)
def test_the_packages_own_pass(name):
    report = ej.testing.check(OWN[name](), calibrate=False, progress=False)
    assert report.passes(), str(report)
