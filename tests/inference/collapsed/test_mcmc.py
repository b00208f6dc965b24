"""NUTS: right where the answer is known, honest where it is not, resumed and stopped cleanly."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import integrate

import esijax as ej
from esijax.estimate import RESULT
from esijax.inference.collapsed.sampling import nuts as mcmc
from esijax.inference.collapsed.target import Target
from esijax.models.priors.prior import Prior
from esijax.models.source_cov import Diagonal

KEY = jax.random.key(0)
SPARSE = dist.InverseGamma(1.0, 0.1)


def quiet(problem, prior, method, **options):
    """Solve; short chains do not pass their checks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ej.EsijaxWarning)
        return ej.solve(problem, prior, method, **{"key": KEY, **options})


@pytest.fixture(scope="module")
def short():
    return ej.inference.NUTS(60, 40, 2, num_maps=20, chunk=30)


@pytest.fixture(scope="module")
def reference(fixed, short):
    return quiet(fixed, ej.models.ARD(SPARSE), short)


# ------------------------------------------------------------------ right where it is known
def apart(n=25, rank=30, n_times=6):
    """Sources with orthogonal fields: the posterior falls apart into one-dimensional ones."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((rank, n)))[0]
    strength = np.exp(0.5 * rng.standard_normal(n))
    sources = np.sqrt(dist.LogNormal(0.0, 1.0).sample(KEY, (n,)))[:, None]
    sources = sources * rng.standard_normal((n, n_times))
    data = basis * strength @ sources + rng.standard_normal((rank, n_times))
    return ej.from_arrays(basis * strength, data, noise_cov=1.0)


def by_quadrature(problem):
    """E log gamma, E (log gamma)^2, E X and E X^2 at the first sample, for each source."""
    gain = np.asarray(problem.gain[..., 0] * problem.prior_scale[:, 0])
    length = np.linalg.norm(gain, axis=0)
    seen = (gain / length).T @ np.asarray(problem.data)
    out = []
    own = np.asarray(problem.prior_scale[:, 0])
    for size, row, scale in zip(length, seen, own, strict=True):

        def log_density(u, size=size, row=row):
            total = np.exp(u) * size**2 + 1
            fit = -0.5 * (len(row) * np.log(total) + np.sum(row**2) / total)
            return fit + float(dist.Normal(0.0, 1.0).log_prob(u))

        top = max(log_density(u) for u in np.linspace(-8, 8, 400))

        def moment(function, log_density=log_density, top=top):
            def integrand(v):
                return function(v) * np.exp(log_density(v) - top)

            return integrate.quad(integrand, -9, 9, epsabs=1e-12, limit=200)[0]

        def source(u, size=size, row=row, scale=scale):
            gamma = np.exp(u)
            return scale * gamma * size / (gamma * size**2 + 1) * row[0]

        def square(u, size=size, scale=scale, source=source):
            return source(u) ** 2 + scale**2 * np.exp(u) / (np.exp(u) * size**2 + 1)

        whole = moment(lambda u: u**0)
        functions = (lambda u: u, lambda u: u**2, source, square)
        out.append([moment(f) / whole for f in functions])
    return np.array(out).T


@pytest.mark.slow
@pytest.mark.statistical
def test_conjugate_case_on_100_quantities():
    from arviz_stats.base import array_stats

    problem = apart()
    method = ej.inference.NUTS(300, 700, 2, num_maps=1400)
    estimate = quiet(problem, ej.models.ARD(dist.LogNormal(0.0, 1.0)), method)
    log = np.log(np.asarray(estimate.diagnostics.draws["gamma"]))
    means = np.asarray(estimate.mean / problem.source_unit)[:, 0, 0]
    squares = means**2 + np.asarray((estimate.std / problem.source_unit) ** 2)[:, 0, 0]
    # per draw, as the quadrature has it, for the standard error of the maps' moments
    gain = problem.gain[..., 0] * problem.prior_scale[:, 0]
    size = np.asarray(jnp.linalg.norm(gain, axis=0))
    row = np.asarray(gain.T @ problem.data)[:, 0] / size
    scale, gamma = np.asarray(problem.prior_scale[:, 0]), np.exp(log)
    source = scale * gamma * size / (gamma * size**2 + 1) * row
    square = source**2 + scale**2 * gamma / (gamma * size**2 + 1)
    want = by_quadrature(problem)
    got = np.array([log.mean((0, 1)), (log**2).mean((0, 1)), means, squares])
    drawn = np.stack([log, log**2, source, square])  # (4, chains, samples, sources)
    error = array_stats.mcse(np.moveaxis(drawn, 3, 1).reshape(100, *log.shape[:2]))
    assert got.size == 100
    np.testing.assert_array_less(np.abs(got - want).ravel() / error, 4.0)


@pytest.mark.slow
@pytest.mark.statistical
def test_noise_is_learned():
    """Components off the data's span, noise of variance 4: the scale is found."""
    problem = apart(n=5)
    loud = problem.with_data(2.0 * problem.recording)
    prior = ej.models.ARD(dist.InverseGamma(2.0, 0.5))
    noise = ej.models.noise.Scalar()
    estimate = quiet(loud, prior, ej.inference.NUTS(200, 200, 2), noise=noise)
    scale = np.asarray(estimate.hyper["noise_scale"])
    assert abs(scale.mean() - 2.0) < 4 * scale.std()
    assert estimate.hyper["gamma"].shape == (400, 5)


# ------------------------------------------------------------------ the machinery
def test_layout(fixed, reference):
    assert reference.hyper["gamma"].shape == (80, 20)
    assert reference.mean.shape == (20, 1, 7)
    assert reference.posterior.n_draws == 20
    draws = reference.diagnostics.draws["gamma"]
    assert draws.shape == (2, 40, 20)
    np.testing.assert_array_equal(draws.reshape(80, 20), reference.hyper["gamma"])
    log_p = -reference.diagnostics.potential[1, 3]
    target = Target(ej.models.ARD(SPARSE).marginal(fixed))
    free = target.free({"gamma": draws[1, 3]})
    np.testing.assert_allclose(log_p, target.log_posterior(free), rtol=1e-10)


def test_draws_do_not_depend_on_the_chunk(fixed, short, reference):
    other = dataclasses.replace(short, chunk=7)
    again = quiet(fixed, ej.models.ARD(SPARSE), other)
    np.testing.assert_array_equal(again.hyper["gamma"], reference.hyper["gamma"])


def stop_after(monkeypatch, n):
    """Ctrl-C at the n-th look."""
    advance, count = mcmc.NUTS.advance, iter(range(100))

    def counted(self, state):
        if next(count) == n:
            raise KeyboardInterrupt
        return advance(self, state)

    monkeypatch.setattr(mcmc.NUTS, "advance", counted)


def test_interrupted_and_resumed_bitwise(fixed, short, reference, tmp_path, monkeypatch):
    prior, path = ej.models.ARD(SPARSE), tmp_path / "chains"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        part = quiet(fixed, prior, short, checkpoint=path)
    assert part.result == RESULT.interrupted
    assert part.hyper["gamma"].shape == (60, 20)
    first = np.asarray(reference.diagnostics.draws["gamma"])[:, :30]
    np.testing.assert_array_equal(part.diagnostics.draws["gamma"], first)
    whole = quiet(fixed, prior, short, checkpoint=path)
    np.testing.assert_array_equal(whole.hyper["gamma"], reference.hyper["gamma"])
    np.testing.assert_array_equal(whole.mean, reference.mean)


def test_stopped_during_warm_up_says_so(fixed, short, monkeypatch):
    stop_after(monkeypatch, 1)
    with pytest.warns(ej.EsijaxWarning, match="warm-up was not finished"):
        estimate = ej.solve(fixed, ej.models.ARD(SPARSE), short, key=KEY)
    assert estimate.hyper["gamma"].shape == (2, 20)
    assert bool(jnp.isfinite(estimate.mean).all())


@pytest.mark.slow
def test_under_jit_and_vmap(fixed, short):
    prior = ej.models.ARD(SPARSE)

    @jax.jit
    def gammas(data, key):
        return ej.solve(fixed.with_data(data), prior, short, key=key).hyper["gamma"]

    data = fixed.recording
    one = gammas(data, KEY)
    assert one.shape == (80, 20)
    both = jax.vmap(gammas)(jnp.stack([data, data]), jnp.stack([KEY, jax.random.key(1)]))
    assert bool(jnp.isfinite(both).all())
    assert float(jnp.abs(both[0] - both[1]).max()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("noise", [None, ej.models.noise.PerType, ej.models.noise.Diagonal])
def test_starts_from_an_earlier_estimate(fixed, short, noise):
    prior = ej.models.ARD(SPARSE)
    noise = None if noise is None else noise()
    earlier = quiet(fixed, prior, ej.inference.Laplace(200), noise=noise)
    estimate = quiet(fixed, prior, short, noise=noise, init=earlier)
    assert bool(jnp.isfinite(estimate.mean).all())
    point = quiet(fixed, ej.models.ARD(), ej.inference.EM(), noise=noise)
    estimate = quiet(fixed, prior, short, noise=noise, init=point)
    assert bool(jnp.isfinite(estimate.mean).all())


class OneScale(Prior):
    """A prior that is not linear in variances."""

    def hyper(self, sizes):
        assert sizes["n_locations"] == 20
        return {"scale": numpyro.sample("scale", dist.LogNormal(0.0, 1.0))}

    def source_cov(self, hyper, problem):
        return Diagonal(jnp.tanh(hyper["scale"]) * problem.prior_scale**2)


def test_any_prior(fixed, short):
    estimate = quiet(fixed, OneScale(), short)
    assert estimate.hyper["scale"].shape == (80,)


# ------------------------------------------------------------------ honest
def test_too_short_chains_are_doubted(fixed, short):
    with pytest.warns(ej.EsijaxWarning, match="ESS"):
        estimate = ej.solve(fixed, ej.models.ARD(SPARSE), short, key=KEY)
    assert estimate.result == RESULT.doubtful
    verdict = estimate.verdict()
    assert {"rhat", "ess_bulk", "ess_tail", "divergences", "bfmi", "at_max_depth"} <= set(verdict)


def test_what_is_doubted(reference):
    good = reference.diagnostics
    rng = np.random.default_rng(0)

    def changed(**fields):
        draws = {"gamma": jnp.asarray(rng.standard_normal((4, 500, 3)))}
        noise = jnp.asarray(rng.standard_normal((4, 500)))
        base = {
            "draws": draws,
            "potential": noise,
            "energy": noise,
            "accept": jnp.full((4, 500), 0.8),
            "steps": jnp.full((4, 500), 7),
            "diverging": jnp.zeros((4, 500), bool),
            "step_size": jnp.ones(4),
            "warmed": jnp.asarray(True),
        }
        return dataclasses.replace(good, **{**base, **fields}).doubts()

    assert changed() == ()
    moved = jnp.asarray(rng.standard_normal((4, 500, 3))).at[2].add(1.0)
    assert "R-hat" in changed(draws={"gamma": moved})[0]
    still = jnp.asarray(rng.standard_normal((4, 500, 3))).at[1].set(0.3)
    stuck = changed(draws={"gamma": still}, accept=jnp.full((4, 500), 0.8).at[1].set(0.0))
    assert "1 of 4 chains did not move" in stuck
    assert "3 divergences" in changed(diverging=jnp.zeros((4, 500), bool).at[0, :3].set(True))[0]
    assert "max_tree_depth" in changed(steps=jnp.full((4, 500), good.max_steps))[0]
    slow = jnp.cumsum(jnp.asarray(rng.standard_normal((4, 500))), axis=1)
    assert any("E-BFMI" in d for d in changed(energy=slow))
    assert any("nan" in d for d in changed(draws={"gamma": moved.at[0, 0].set(jnp.nan)}))


def test_bad_inputs(fixed, short):
    with pytest.raises(ej.InputError, match="flat hyper-prior"):
        ej.solve(fixed, ej.models.ARD(), short, key=KEY)
    with pytest.raises(ej.InputError, match="hyper-parameters"):
        ej.solve(fixed, ej.models.MinimumNorm(), short, key=KEY)
    with pytest.raises(ej.InputError, match="key"):
        ej.solve(fixed, ej.models.ARD(SPARSE), short)
    for options in ({"num_warmup": 0}, {"num_chains": -1}, {"num_maps": 0}):
        with pytest.raises(ej.InputError, match="positive integer"):
            ej.inference.NUTS(**options)
    with pytest.raises(ej.InputError, match="target_accept"):
        ej.inference.NUTS(target_accept=1.5)
    with pytest.raises(ej.InputError, match="chunk"):
        ej.inference.NUTS(chunk=0)


class Broken(OneScale):
    """Nowhere a covariance."""

    def source_cov(self, hyper, problem):
        return Diagonal(-1e6 * hyper["scale"] * problem.prior_scale**2)


def test_a_posterior_that_is_nowhere_finite(fixed, short):
    with pytest.raises(ej.InputError, match="log posterior is nan where chain 0 starts"):
        ej.solve(fixed, Broken(), short, key=KEY)
