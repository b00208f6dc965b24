"""Variational Bayes of maps times waves: updates against dense algebra, the bound, promises."""

import dataclasses
import warnings

import dense_waves as dense
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.inference.collapsed.vb import vb as rounds
from esijax.inference.collapsed.vb._courses import asked, courses, gain_of, rescaled
from esijax.inference.collapsed.vb._maps import maps_of, raised
from esijax.inference.collapsed.vb._mixing import mixed, rows_that_count
from esijax.inference.collapsed.vb._time import climbed
from esijax.inference.method import Setup

VB = ej.inference.VB
TIMES = np.arange(30) / 100.0
MATERN = ej.models.time.Matern(1.5, dist.LogNormal(-3, 0.5))
LOCAL = dist.InverseGamma(1.0, 0.1)


def recording(seed=0, channels=5, locations=8, n_times=30, amplitude=3.0):
    """Two sources that share a course."""
    rng = np.random.default_rng(seed)
    gain = rng.standard_normal((channels, locations))
    course = np.exp(-0.5 * ((np.arange(n_times) - n_times / 2) / (n_times / 8)) ** 2)
    field = gain[:, :2] @ np.array([1.0, -0.7])[: min(locations, 2)] * amplitude
    return gain, field[:, None] * course + rng.standard_normal((channels, n_times))


@pytest.fixture(scope="module")
def problem():
    return ej.from_arrays(*recording(), noise_cov=1.0, sfreq=100.0)


def waves(k=2, time=MATERN, prior=None, **kwargs):
    prior = ej.models.ARD(LOCAL) if prior is None else prior
    return ej.models.TemporalBasis(prior, ej.models.Waves(k, time), **kwargs)


def started(problem, model, noise):
    """What a method is given, and its first state."""
    noise = noise.prepare(problem)
    setup = Setup(problem, model.prepare(problem), noise)
    return eqx.filter_jit(VB().init)(setup)


class Dense:
    """The same numbers as dense matrices."""

    def __init__(self, state):
        self.space, self.time = state.fixed
        setup = state.setup
        marginal = rounds.spatial_marginal(setup)
        self.a = np.asarray(marginal.factor)
        self.group = np.asarray(marginal.group)
        self.data = np.asarray(self.space.data)

    def noise(self, theta):
        out = np.asarray(self.space.sensor_noise(theta))
        if self.space.rest is not None:
            out = out + np.asarray(self.space.rest.cov(self.space.apart(theta)[2]))
        return out

    def gamma(self, theta):
        return np.asarray(theta)[self.group]

    def in_time(self, at):
        return np.asarray(self.time.dense(at.free))

    def waves(self, law):
        return np.asarray(law.mean), dense.spread_of_waves(law)

    def maps(self, theta, law):
        return dense.dense_maps(
            self.a, self.gamma(theta), self.noise(theta), self.data, *self.waves(law)
        )

    def bound(self, theta, at, maps, law):
        return dense.bound(
            self.a,
            self.gamma(theta),
            self.noise(theta),
            self.in_time(at),
            self.data,
            maps,
            self.waves(law),
        )

    def log_prior(self, theta, at):
        return float(self.space.prior.value(theta) + at.log_prior)


def close(got, want, tol=1e-10):
    want = np.asarray(want)
    np.testing.assert_allclose(np.asarray(got), want, rtol=tol, atol=tol * np.abs(want).max())


@pytest.fixture(scope="module", params=[None, pytest.param("iid", marks=pytest.mark.slow)])
def state(request, problem):
    return started(problem, waves(rest=request.param), ej.models.noise.Scalar())


def test_updates_are_those_of_dense_algebra(state):
    naive, carry = Dense(state), state.carry
    space, theta, law = naive.space, carry.theta, carry.courses.law
    maps = maps_of(space, theta, law)
    known = naive.maps(theta, law)
    power, drive = dense.asked_of(naive.a, naive.noise(theta), naive.data, *known)
    got = maps.moments(space.data)
    close(got[0], power)
    close(got[1], drive)
    # q(Phi): moments, divergence, what it adds to the bound
    in_time = naive.in_time(carry.time)
    new = courses(asked(*got), carry.time)
    mean, cov = dense.dense_courses(power, drive, in_time)
    k, n = mean.shape
    want = mean @ mean.T + dense.summed(cov, k, n)
    rotation = np.linalg.eigh(want)[1]
    sign = np.sign(np.sum((rotation.T @ mean) * np.asarray(new.law.mean), axis=1))
    turn = rotation * sign[None]
    close(new.law.mean, turn.T @ mean, 1e-9)
    close(new.law.level, np.linalg.eigvalsh(want))
    turned = np.kron(turn.T, np.eye(n))
    close(dense.spread_of_waves(new.law), turned @ cov @ turned.T, 1e-9)
    close(new.divergence, dense.divergence(mean.ravel(), cov, np.kron(np.eye(k), in_time)))
    # the bound with the best q(W), and with the best q(Phi)
    close(maps.value - carry.courses.divergence, naive.bound(theta, carry.time, known, law))
    rise = naive.bound(theta, carry.time, known, law)
    last = dense.bound(
        naive.a, naive.gamma(theta), naive.noise(theta), in_time, naive.data, known, (mean, cov)
    )
    old = np.sum(drive * np.asarray(law.mean)) - 0.5 * np.sum(
        power * (np.asarray(law.mean) @ law.mean.T + dense.summed(naive.waves(law)[1], k, n))
    )
    gained = float(gain_of(asked(*got), carry.time)) - (old - float(carry.courses.divergence))
    close(last - rise, gained, 1e-8)


def test_no_half_step_lowers_the_bound(state):
    naive, carry = Dense(state), state.carry
    space, time = state.fixed
    theta, law, at = carry.theta, carry.courses.law, carry.time
    trace = []

    def note(maps, law, theta, at):
        trace.append(naive.bound(theta, at, maps, law) + naive.log_prior(theta, at))

    step = eqx.filter_jit(lambda f, *x: f(*x))
    for _ in range(3):
        note(naive.maps(theta, law), law, theta, at)
        theta = step(raised, space, theta, step(maps_of, space, theta, law))
        known = naive.maps(theta, law)
        note(known, law, theta, at)
        maps = step(maps_of, space, theta, law)
        wanted = asked(*maps.moments(space.data))
        before = theta
        wanted, theta = step(rescaled, wanted, at, theta, space)
        scale = float(jnp.sqrt(theta[0] / before[0]))
        known = known[0] * scale, known[1] * scale**2
        new = step(courses, wanted, at)
        note(known, _in_rotation_of(law, wanted, at), theta, at)
        at = step(climbed, time, at, wanted.strength, wanted.drive)
        note(known, _in_rotation_of(law, wanted, at), theta, at)
        new = step(courses, wanted, at)
        note(naive.maps(theta, new.law), new.law, theta, at)
        law = new.law
        rows = rows_that_count(space, theta, maps)
        turned = step(courses, step(mixed, wanted, maps, at, rows), at)
        value = step(rounds.objective, space, theta, turned, at, maps_of(space, theta, turned.law))
        want = naive.bound(theta, at, naive.maps(theta, turned.law), turned.law)
        close(value - space.log_jacobian, want + naive.log_prior(theta, at), 1e-9)
    rises = np.diff(trace)
    assert rises.min() > -1e-9 * abs(trace[-1]), rises
    assert trace[-1] > trace[0]


def _in_rotation_of(law, wanted, at):
    """The best q(Phi) in the rotation of the maps that were found for `law`."""
    new = courses(wanted, at).law
    back = wanted.turn @ new.mixing.T  # from the new rotation to the old one
    return dataclasses.replace(new, mean=back @ new.mean, mixing=wanted.turn)


@pytest.mark.filterwarnings("ignore:a single location")
def test_the_bound_is_below_the_evidence():
    gain, data = recording(1, channels=2, locations=1, n_times=6)
    problem = ej.from_arrays(gain, data, noise_cov=1.0, sfreq=100.0)
    model = waves(1, ej.models.time.Matern(0.5, 0.05), rest=None)
    estimate = ej.solve(problem, model, VB(tol=1e-8), noise=ej.models.noise.White())
    marginal = ej.models.ARD().marginal(problem)
    in_time = np.asarray(model.basis.time.cov({}, problem.times).dense())
    exact = dense.evidence_of_one(
        np.asarray(marginal.factor),
        float(estimate.hyper["gamma"][0]),
        np.eye(2),
        in_time,
        np.asarray(problem.data),
    )
    exact += 6 * float(problem.log_jacobian)
    gap = exact - float(estimate.log_evidence)
    assert 0 < gap < 2.0


@pytest.fixture(scope="module")
def answer(problem):
    return ej.solve(problem, waves(), VB(tol=1e-4))


def test_the_bound_rises_and_is_called_a_bound(problem, answer):
    trace = np.asarray(answer.diagnostics.trace)
    trace = trace[np.isfinite(trace)]
    assert np.diff(trace).min() > -1e-9 * abs(trace[-1])
    assert answer.verdict()["converged"]
    assert answer.method == "VB"
    assert "2 waves" in answer.model
    other = ej.solve(
        problem, ej.models.ARD(LOCAL), ej.inference.EM(), noise=ej.models.noise.Scalar()
    )
    rows = {row.method: row for row in ej.compare([answer, other]).rows}
    assert rows["VB"].note == "lower bound"
    assert rows["EM"].note == ""
    assert any("lower bound" in note for note in answer.notes)


def test_waves_and_maps_are_in_the_answer(answer, problem):
    hyper = answer.hyper
    assert {"gamma", "noise_var", "rest/gamma", "time/length", "waves", "waves_std"} <= set(hyper)
    assert hyper["waves"].shape == hyper["waves_std"].shape == (2, problem.n_times)
    course = np.exp(-0.5 * ((np.arange(30) - 15) / 3.75) ** 2)
    assert abs(np.corrcoef(hyper["waves"][0], course)[0, 1]) > 0.9  # the strongest first
    assert np.isfinite(answer.log_evidence)
    band = answer.label(np.array([0, 1]))
    assert band.mean.shape == band.lower.shape == (30,)


def test_an_earlier_estimate_is_where_it_starts(problem, answer):
    again = ej.solve(problem, waves(), VB(tol=1e-2), init=answer)
    assert int(again.diagnostics.iterations) < 6
    assert float(again.log_evidence) > float(answer.log_evidence) - 0.5


def test_jit_and_vmap_change_nothing(problem):
    model, method = waves(rest=None), VB(tol=None, max_iter=3)
    noise = ej.models.noise.White()
    prepared = model.prepare(problem)

    @eqx.filter_jit
    def means(data):
        def one(d):
            estimate = ej.solve(problem.with_data(d), prepared, method, noise=noise)
            return estimate.mean, estimate.std, estimate.log_evidence

        return jax.vmap(one)(data)

    data = jnp.stack([problem.recording, 2 * problem.recording[:, ::-1]])
    got = means(data)
    for i in range(2):
        want = ej.solve(problem.with_data(data[i]), model, method, noise=noise)
        close(got[0][i], want.mean, 1e-7)
        close(got[1][i], want.std, 1e-7)
        close(got[2][i], want.log_evidence, 1e-9)


def test_a_gradient_is_refused_with_a_way_out():
    assert not VB.differentiable
    assert "Kronecker" in VB().no_gradient


def refused(problem, model, match, **kwargs):
    with pytest.raises(ej.InputError, match=match):
        ej.solve(problem, model, VB(), **kwargs)


def test_what_has_no_update_is_refused(problem):
    refused(problem, ej.models.ARD(), "inference.EM")
    refused(problem, waves(prior=ej.models.MinimumNorm(1.0)), "Components")
    refused(problem, waves(prior=ej.models.Horseshoe()), "ties them")
    refused(problem, waves(prior=ej.models.ARD(dist.Gamma(0.3, 1.0))), "unbounded")
    noise = ej.models.noise.InTime(ej.models.noise.Scalar(), ej.models.time.Autoregressive(1))
    refused(problem, waves(), "noise_time", noise=noise)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ej.EsijaxWarning)
        refused(problem, waves(), "not linear", noise=ej.models.noise.LowRank(1))
    with pytest.raises(ej.InputError, match=r"inference\.VB"):
        ej.solve(problem, waves(), ej.inference.EM(), noise=ej.models.noise.White())
    for bad in ({"tol": 0.0}, {"max_iter": 0}, {"updates": 0}):
        with pytest.raises(ej.InputError, match=next(iter(bad))):
            VB(**bad)


def test_too_few_rounds_are_a_doubt():
    trace = jnp.asarray([0.0, 2.0, 3.0])
    ended = rounds.Ascent(trace, jnp.asarray(2), jnp.asarray(False))
    assert "raise max_iter" in ended.doubts()[0]
    assert ended.verdict()["last_rise"] == 1.0
    assert not rounds.Ascent(trace, jnp.asarray(2), jnp.asarray(False), fixed=True).doubts()
    assert not rounds.Ascent(trace, jnp.asarray(1), jnp.asarray(True)).doubts()


@pytest.mark.slow
def test_the_number_of_waves_by_the_bound(problem):
    found = ej.inference.select.by_bound(
        problem, waves(rest=None), (1, 2), noise=ej.models.noise.White()
    )
    assert found.k == 1
    assert set(found.bounds) == {1, 2}
    assert float(found.estimate.log_evidence) == found.bounds[1]


def test_numbers_of_waves_that_cannot_be_compared(problem):
    with pytest.raises(ej.InputError, match="Waves"):
        ej.inference.select.by_bound(problem, ej.models.ARD())
    with pytest.raises(ej.InputError, match="at least one"):
        ej.inference.select.by_bound(problem, waves(), ())
