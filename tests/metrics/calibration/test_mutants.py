"""The planted bugs are what their names say, and NUTS without them passes."""

import dataclasses
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest

import esijax as ej
from esijax.metrics.calibration import mutants

KEY = jax.random.key(0)


def test_log_evidence_of_the_model_is_that_of_the_data():
    from scipy.stats import multivariate_normal

    model = mutants.component_model(3, 5, 4)
    theta, _ = model.simulate(KEY)
    hyper = {name: theta[name] for name in ("gamma", "noise")}
    y = np.random.default_rng(1).standard_normal((5, 4))
    cov = sum(g * c for g, c in zip(theta["gamma"], model.components, strict=True))
    cov = np.asarray(cov) + float(theta["noise"]) ** 2 * np.eye(5)
    want = multivariate_normal(np.zeros(5), cov).logpdf(y.T).sum()
    got = model.log_evidence(hyper, jnp.asarray(y @ y.T)) - 10 * math.log(2 * math.pi)
    assert float(got) == pytest.approx(want, rel=1e-10)


def potential(model, data, z):
    """Log density of the logarithms, as NumPyro's sampler sees it."""
    from numpyro.infer.util import potential_energy

    def seeded(data):  # the potential substitutes all sites, but asks for a key all the same
        with numpyro.handlers.seed(rng_seed=0):
            return model(data)

    return -potential_energy(seeded, (data,), {}, z)


def test_each_mutant_changes_what_its_name_says():
    """Differences of log densities, by the formula of each bug."""
    model = mutants.component_model(3, 5, 4)
    _, power = model.simulate(KEY)
    z = {"gamma": jnp.array([0.3, -0.5, 1.0]), "noise": jnp.asarray(0.4)}
    hyper = {name: jnp.exp(v) for name, v in z.items()}
    right = potential(model, power, z)
    normal = -0.5 * jnp.sum(z["gamma"] ** 2) - 1.5 * math.log(2 * math.pi)
    log_det = jnp.linalg.slogdet(model.covariance(hyper))[1]
    squared = {**hyper, "noise": hyper["noise"] ** 2}
    want = {
        "log-determinant scaled by 0.9": 0.1 * 0.5 * 4 * log_det,
        "noise scale squared": model.log_evidence(squared, power)
        - model.log_evidence(hyper, power),
        "dropped prior term": -(normal - jnp.sum(z["gamma"])),  # the Jacobian stays
        "wrong Jacobian": -jnp.sum(z["gamma"]),
    }
    for name, difference in want.items():
        wrong = dataclasses.replace(model, **mutants.MUTANTS[name])
        got = potential(wrong, power, z) - right
        assert float(got) == pytest.approx(float(difference), rel=1e-9), name
    assert set(mutants.MUTANTS) == {*want, "posterior variance halved"}
    draws = jnp.exp(jax.random.normal(KEY, (50, 2)))
    half = mutants.halved(draws)
    np.testing.assert_allclose(jnp.log(half).mean(0), jnp.log(draws).mean(0), rtol=1e-9)
    np.testing.assert_allclose(jnp.log(half).var(0), jnp.log(draws).var(0) / 2, rtol=1e-9)


def test_gauntlet_runs_any_sampler():
    """Draws of the prior that look at no data: too wide, each truth is one of them."""

    def from_prior(model, key, _data):
        gamma, noise = jax.random.normal(key, (2, 39, 2))
        return {"gamma": jnp.exp(gamma), "noise": 2 * jnp.exp(0.5 * noise[:, 0])}

    results = ej.metrics.gauntlet(
        from_prior,
        600,
        key=KEY,
        model=mutants.component_model(2, 4, 3),
        only=["correct", "posterior variance halved"],
        progress=False,
    )
    assert list(results) == ["correct", "posterior variance halved"]
    right, wrong = results.values()
    assert min(right.ks["gamma[0]"], right.chi2["gamma[0]"], right.ks["noise"]) > 0.01
    assert right.ks["log_evidence"] < 1e-6  # only the quantity that looks at the data tells
    assert wrong.chi2["gamma[0]"] < 1e-6


def test_unknown_mutant():
    with pytest.raises(ej.InputError, match="no mutant named 'typo'"):
        ej.metrics.gauntlet(key=KEY, only=["typo"])


GAUNTLET = """
import sys, jax
jax.config.update("jax_enable_x64", True)
import esijax as ej
result = ej.metrics.gauntlet(key=jax.random.key(1), only=[sys.argv[1]], progress=False)[sys.argv[1]]
print(result, result.passes(), abs(result.autocorrelation).max(), result.p_value, sep="\\n")
"""


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", ["correct", *mutants.MUTANTS])
def test_the_gauntlet(name):
    """NUTS on 6 components x 20 sensors, 1,000 data sets.

    In a process of its own: with the light code generation of these tests it takes many times
    as long.
    """
    done = subprocess.run(
        [sys.executable, "-c", GAUNTLET, name],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "XLA_FLAGS": ""},
    )
    *_, passes, lag, p_value = done.stdout.split()
    if name == "correct":
        assert passes == "True", done.stdout
    else:
        assert float(p_value) < 1e-6, done.stdout
    assert float(lag) < 0.15
