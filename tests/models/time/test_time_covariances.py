"""Covariances in time against their formulas, their state-space forms, and bad inputs."""

import doctest
import importlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import time_formulas as series

import esijax as ej

time = ej.models.time
EVEN, UNEVEN = series.EVEN, series.UNEVEN


@pytest.fixture(scope="module")
def known():
    return series.known()


def grids(uneven_too):
    return (EVEN, UNEVEN) if uneven_too else (EVEN,)


def test_all_names_are_tried(known):
    assert tuple(known) == series.NAMES


@pytest.mark.parametrize("name", series.NAMES)
def test_dense_is_the_formula(known, name):
    model, formula, uneven_too = known[name]
    for times in grids(uneven_too):
        cov = model.cov({}, times)
        dense = np.asarray(cov.dense())
        np.testing.assert_allclose(dense, formula(times), atol=1e-10)
        np.testing.assert_allclose(np.diag(dense), 1.0, atol=1e-12)
        values, vectors = cov.eigen()
        assert values.min() >= 0
        np.testing.assert_allclose((vectors * values[None]) @ vectors.T, dense, atol=1e-12)


@pytest.mark.parametrize("name", series.NAMES)
def test_steps_imply_the_dense_matrix(known, name):
    model, formula, uneven_too = known[name]
    assert model.markov == (name not in series.NOT_MARKOV)
    for times in grids(uneven_too):
        cov = model.cov({}, times)
        assert cov.markov == model.markov
        if model.markov:
            np.testing.assert_allclose(series.implied(cov.steps()), formula(times), atol=1e-10)
        else:
            with pytest.raises(ej.InputError, match="not Markov"):
                cov.steps()


@pytest.mark.parametrize("nu", [1.5, 2.5])
def test_matern_steps_stay_definite_when_samples_are_close(nu):
    """Process noise over a thousandth of the length: its smallest entries by their power law."""
    cov = time.Matern(nu, 10.0).cov({}, np.arange(3) * 1e-2)
    noise = np.asarray(cov.steps().noise[0])
    a = np.sqrt(2 * nu) * 1e-3
    smallest = {1.5: 4 * a**3 / 3, 2.5: 4 * a**5 / 15}[nu]
    assert noise[0, 0] == pytest.approx(smallest, rel=0.01)
    assert np.linalg.eigvalsh(noise / np.sqrt(np.outer(np.diag(noise), np.diag(noise)))).min() > 0


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["smooth", "matern 5/2", "sum"])
def test_draws_have_the_covariance(known, name):
    model, formula, _ = known[name]
    n = 20_000
    drawn = jax.jit(lambda key: model.cov({}, EVEN).draw(key, n))(jax.random.key(1))
    drawn = np.asarray(drawn)
    assert drawn.shape == (n, len(EVEN))
    np.testing.assert_allclose(drawn.T @ drawn / n, formula(EVEN), atol=5 / np.sqrt(n))


def test_one_sample_is_enough():
    for model in (time.White(), time.Matern(2.5, 0.02)):
        cov = model.cov({}, np.zeros(1))
        assert cov.dense().tolist() == [[1.0]]
        assert cov.draw(jax.random.key(0), 3).shape == (3, 1)


def test_the_filter_reads_any_times(known):
    """Signal and noise of different kinds, uneven times and gaps, against the dense Gaussian."""
    from esijax._ops.time import kalman

    (signal, of_signal, _), (noise, of_noise, _) = known["matern 5/2"], known["oscillator"]
    seen = np.ones(24, bool)
    seen[[3, 4, 20]] = False
    y = np.random.default_rng(0).standard_normal(24)
    total = (3.0 * of_signal(UNEVEN) + 0.5 * of_noise(UNEVEN))[np.ix_(seen, seen)]
    quadratic = y[seen] @ np.linalg.solve(total, y[seen])
    want = -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * total)[1])
    blocks = (signal.cov({}, UNEVEN).steps(), noise.cov({}, UNEVEN).steps())
    got = kalman.log_density(blocks, jnp.asarray([3.0, 0.5]), jnp.asarray(y), jnp.asarray(seen))
    assert got == pytest.approx(want, rel=1e-10)


def test_the_filter_of_a_strong_smooth_signal():
    """At 10^6 times the noise, 300 samples a length: the dense Gaussian in extended precision."""
    from esijax._ops.time import kalman

    n, times = 40, np.arange(40) / 1000
    y = 1e3 * np.cos(20 * times) + np.random.default_rng(0).standard_normal(n)
    a = np.sqrt(np.longdouble(5)) * np.abs(times[:, None] - times[None, :]) / np.longdouble(0.3)
    total = 1e6 * (1 + a + a**2 / 3) * np.exp(-a) + np.eye(n)
    chol, white = np.zeros((n, n), np.longdouble), np.zeros(n, np.longdouble)
    for i in range(n):  # LAPACK has no extended precision
        for j in range(i):
            chol[i, j] = (total[i, j] - chol[i, :j] @ chol[j, :j]) / chol[j, j]
        chol[i, i] = np.sqrt(total[i, i] - chol[i, :i] @ chol[i, :i])
        white[i] = (y[i] - chol[i, :i] @ white[:i]) / chol[i, i]
    want = -0.5 * (white @ white + n * np.log(2 * np.pi)) - np.log(np.diag(chol)).sum()
    blocks = tuple(m.cov({}, times).steps() for m in (time.Matern(2.5, 0.3), time.White()))
    got = kalman.log_density(blocks, jnp.asarray([1e6, 1.0]), jnp.asarray(y))
    assert got == pytest.approx(float(want), rel=1e-12)


# ------------------------------------------------------------------ hyper-parameters
def drawn_and_sites(model, sizes=None):
    with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.trace() as trace:
        hyper = model.hyper(sizes or {"n_times": 24})
    return hyper, {n: s for n, s in trace.items() if s["type"] == "sample"}


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (time.White(), {}),
        (time.SquaredExponential(), {"length": ()}),
        (time.SquaredExponential(0.02), {}),
        (time.Matern(2.5), {"length": ()}),
        (time.Periodic(), {"period": (), "length": ()}),
        (time.Periodic(0.1), {"length": ()}),
        (time.Oscillator(), {"frequency": (), "decay": ()}),
        (time.Autoregressive(4), {"partial": (4,)}),
        (time.Autoregressive(2, dist.TruncatedNormal(0.5, 0.3, low=-1, high=1)), {"partial": (2,)}),
        (
            time.Matern() + time.Autoregressive(2) + time.White(),
            {"shares": (3,), "part0/length": (), "part1/partial": (2,)},
        ),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, time.Time) else "",
)
def test_what_is_not_known_is_drawn(model, shapes):
    hyper, sites = drawn_and_sites(model)
    assert {n: jnp.shape(v) for n, v in hyper.items()} == shapes
    assert set(sites) == set(shapes)
    dense = np.asarray(model.cov(hyper, EVEN).dense())
    np.testing.assert_allclose(np.diag(dense), 1.0, atol=1e-12)
    assert np.linalg.eigvalsh(dense).min() > -1e-12


def test_the_same_class_serves_sources_and_noise():
    from esijax.models._scope import drawn_under, within

    model = time.Autoregressive(2)

    def both():
        sources = drawn_under("time", model.hyper, {"n_times": 24})
        return sources | drawn_under("noise/time", model.hyper, {"n_times": 24})

    with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.trace() as trace:
        hyper = both()
    assert set(hyper) == {"time/partial", "noise/time/partial"} == set(trace)
    assert within("noise/time", hyper)["partial"] is hyper["noise/time/partial"]


def test_sums_of_sums_treat_all_alike():
    a, b, c = time.White(), time.Matern(), time.Oscillator()
    assert len((a + b + c).parts) == 3
    assert len((a + (b + c)).parts) == 3
    weighted = time.Sum(a, b, shares=(0.2, 0.8))
    assert len((weighted + c).parts) == 2
    law = time.Sum(a, b, shares=dist.Dirichlet(jnp.asarray([1.0, 9.0])))
    assert drawn_and_sites(law)[0]["shares"].sum() == pytest.approx(1.0)
    with pytest.raises(TypeError):
        a + 1


# ------------------------------------------------------------------ transformations
LEARNED = {
    "smooth": lambda x: time.SquaredExponential(x),
    "matern": lambda x: time.Matern(2.5, x),
    "periodic": lambda x: time.Periodic(5 * x, x),
    "oscillator": lambda x: time.Oscillator(0.2 / x, 10 * x),
    "AR": lambda x: time.Autoregressive(2, jnp.stack([20 * x, -10 * x])),
    "sum": lambda x: time.Sum(time.Matern(0.5, x), time.White(), shares=jnp.stack([x, 1 - x])),
}


def statistic(model, weight):
    """A number that depends on the whole matrix, and on the whole state-space form."""
    cov = model.cov({}, EVEN)
    total = jnp.sum(weight * cov.dense())
    if model.markov:
        steps = cov.steps()
        total += jnp.sum(jnp.sin(steps.transition)) + jnp.sum(jnp.sin(3 * steps.noise))
        total += jnp.sum(jnp.cos(steps.start))
    return total


@pytest.mark.parametrize("name", LEARNED)
def test_gradients_are_differences(name):
    weight = jnp.asarray(np.random.default_rng(0).standard_normal((24, 24)))
    value = jax.jit(jax.value_and_grad(lambda x: statistic(LEARNED[name](x), weight)))
    x, h = jnp.asarray(0.02), 1e-6
    difference = (value(x + h)[0] - value(x - h)[0]) / (2 * h)
    assert value(x)[1] == pytest.approx(float(difference), rel=1e-6)


def test_jit_and_vmap_and_new_values():
    traced = []

    @eqx.filter_jit
    def dense(model, hyper, times):
        traced.append(1)
        return model.cov(hyper, times).dense()

    for model in (time.Matern(1.5, 0.01), time.Matern(1.5, 0.02)):
        for times in (jnp.asarray(EVEN), jnp.asarray(EVEN) + 0.1):
            want = model.cov({}, times).dense()
            np.testing.assert_allclose(dense(model, {}, times), want, atol=1e-12)
    assert len(traced) == 1
    for law in (dist.LogNormal(-4, 0.5), dist.LogNormal(-3, 1.0)):
        dense(time.SquaredExponential(law), {"length": jnp.asarray(0.1)}, jnp.asarray(EVEN))
    assert len(traced) == 2
    model = time.Autoregressive(2)
    many = {"partial": jnp.asarray([[0.5, -0.2], [0.9, 0.1]])}
    batch = jax.vmap(lambda h: model.cov(h, EVEN).dense())(many)
    for i in range(2):
        want = model.cov({"partial": many["partial"][i]}, EVEN).dense()
        np.testing.assert_allclose(batch[i], want, atol=1e-14)


# ------------------------------------------------------------------ bad inputs
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: time.SquaredExponential(0.0), r"length \(s\) must lie between 0 and inf"),
        (lambda: time.SquaredExponential(float("nan")), "got nan"),
        (lambda: time.SquaredExponential("short"), "or a NumPyro distribution"),
        (lambda: time.SquaredExponential(dist.Normal(0.0, 1.0)), "Normal has the support"),
        (lambda: time.SquaredExponential(dist.Poisson(3.0)), "Poisson has the support"),
        (lambda: time.SquaredExponential([0.1, 0.2]), r"numbers of shape \(2,\)"),
        (
            lambda: time.Matern(1.5, dist.LogNormal(jnp.zeros(2), 1.0)),
            r"LogNormal with entries of shape \(2,\)",
        ),
        (lambda: time.Matern(1.0), "0.5, 1.5 or 2.5"),
        (lambda: time.Periodic(-0.1), r"period \(s\)"),
        (lambda: time.Oscillator(0.0), "frequency"),
        (lambda: time.Oscillator(10.0, decay=float("inf")), "poles lie within the circle"),
        (lambda: time.Oscillator(130.0).cov({}, EVEN), "half the sampling frequency of 250 Hz"),
        (lambda: time.Autoregressive(0), "order of 1 or more"),
        (lambda: time.Autoregressive(True), "order of 1 or more"),
        (lambda: time.Autoregressive(2, 0.5), r"of shape \(2,\)"),
        (lambda: time.Autoregressive(2, (0.5, 1.0)), "pole on the unit circle"),
        (lambda: time.Autoregressive(2, dist.Normal(0.0, 0.3)), "pole on the unit circle"),
        (lambda: time.Autoregressive(2, dist.Uniform(0.0, 2.0)), "pole on the unit circle"),
        (lambda: time.Autoregressive.of([2.0, -1.0]), "have a pole of radius 1"),
        (lambda: time.Autoregressive.of([[0.1]]), "a row of numbers"),
        (lambda: time.Autoregressive(3).start(jnp.ones(3)), "starts from the lags 0 to 3"),
        (lambda: time.Autoregressive(24, [0.0] * 24).cov({}, EVEN).dense(), "a lower order"),
        (lambda: time.Autoregressive(24, [0.0] * 24).cov({}, EVEN).steps(), "a lower order"),
        (lambda: time.Autoregressive(1, 0.5).cov({}, UNEVEN), "time.Matern"),
        (lambda: (time.White() + time.Autoregressive(1)).cov({}, UNEVEN), "time.Matern"),
        (lambda: time.White().cov({}, EVEN[::-1]), "ascending"),
        (lambda: time.White().cov({}, np.array([0.0, np.nan])), "finite"),
        (lambda: time.White().cov({}, np.zeros(0)), "row of numbers"),
        (lambda: time.Sum(time.White()), "two parts"),
        (lambda: time.Sum(time.White(), ej.models.noise.White()), "adds covariances in time"),
        (lambda: time.Sum(time.White(), time.Matern(), shares=(0.5, 0.6)), "sum 1.1"),
        (lambda: time.Sum(time.White(), time.Matern(), shares=(1.0, 0.0)), "positive numbers"),
        (lambda: time.Sum(time.White(), time.Matern(), shares=(1.0,)), "2 parts"),
        (lambda: time.Sum(time.White(), time.Matern(), shares="even"), "2 parts"),
        (
            lambda: time.Sum(time.White(), time.Matern(), shares=dist.Dirichlet(jnp.ones(3))),
            "simplex of 2 parts",
        ),
        (
            lambda: time.Sum(time.White(), time.Matern(), shares=dist.Uniform(0.0, 1.0)),
            "simplex of 2 parts",
        ),
    ],
)
def test_bad_inputs(make, match):
    with pytest.raises(ej.InputError, match=match):
        make()


@pytest.mark.parametrize("name", ["time", "kernels", "matern", "oscillator", "autoregressive"])
def test_examples_in_docstrings_run(name):
    done = doctest.testmod(importlib.import_module(f"esijax.models.time.{name}"))
    assert done.failed == 0
    assert done.attempted


def test_a_kernel_of_ones_own():
    from esijax.models.time._parameter import parameter

    class Rational(time.Kernel):
        length: object = eqx.field(converter=parameter)

        def at(self, hyper, lags):
            return 1.0 / (1.0 + (lags / self.value(hyper, "length")) ** 2)

    model = Rational(dist.LogNormal(-4, 0.5)) + time.White()
    hyper, _ = drawn_and_sites(model)
    assert set(hyper) == {"shares", "part0/length"}
    assert not model.markov
    assert model.cov(hyper, UNEVEN).dense().shape == (24, 24)
