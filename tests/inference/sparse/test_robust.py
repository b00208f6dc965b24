"""Robust data terms of MAP: naive minimisation, proofs, derivatives, artefacts, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.inference import EM, MAP, Reweighted
from esijax.models import L1, L21, TV, Elastic
from esijax.models.noise import Huber, Lp, StudentTNoise

ALPHA = 3.0
NOISES = {"Huber": Huber(1.2), "Student": StudentTNoise(4.0), "Lp": Lp(1.0, 0.5)}


@pytest.fixture(scope="module")
def problem():
    """Two sources, coloured noise, one channel with an artefact."""
    rng = np.random.default_rng(3)
    gain, z = rng.standard_normal((16, 25)), np.zeros((25, 6))
    z[4], z[17] = 4 * np.hanning(8)[1:-1], -3.0
    root = np.eye(16) + 0.02 * rng.standard_normal((16, 16))
    data = gain @ z + root @ rng.standard_normal((16, 6))
    data[5] += 60.0
    return ej.from_arrays(gain, data, noise_cov=root @ root.T)


def on_channels(problem):
    """Whitened to the channels: the rotation that brings the covariance nearest to them."""
    colorer = np.asarray(problem.whitener.colorer)
    alike = colorer / np.sqrt(np.sum(colorer**2, axis=1))[:, None]
    values, vectors = np.linalg.eigh(alike.T @ alike)
    return alike @ (vectors / np.sqrt(values)) @ vectors.T


def rho(name, r):
    """The three of them, as their definitions have it."""
    if name == "Huber":
        return np.where(np.abs(r) < 1.2, 0.5 * r**2, 1.2 * np.abs(r) - 0.72)
    if name == "Student":
        return 2.5 * np.log(1 + r**2 / 4)
    return np.sqrt(r**2 + 0.25) - 0.5


def objective(problem, name, z, alpha):
    """Written out."""
    gain = np.asarray(problem.gain[..., 0] * problem.prior_scale[:, 0])
    left = on_channels(problem) @ (np.asarray(problem.data) - gain @ z)
    return rho(name, left).sum() + alpha * np.linalg.norm(z, axis=1).sum()


def units(estimate):
    """Sources over the prior's scale."""
    return np.asarray(estimate.posterior.sources)[:, 0] / np.asarray(estimate.problem.prior_scale)


@pytest.mark.parametrize("name", list(NOISES))
def test_the_minimum(problem, name):
    """Objective as written out, not above that of slow proximal gradients; proofs."""
    found = ej.solve(problem, L21(ALPHA), MAP(tol=1e-9), noise=NOISES[name])
    proof, z = found.diagnostics, units(found)
    assert bool(proof.converged)
    assert float(proof.primal) == pytest.approx(objective(problem, name, z, ALPHA), rel=1e-10)
    gain = jnp.asarray(problem.gain[..., 0] * problem.prior_scale[:, 0])
    axes = jnp.asarray(on_channels(problem))
    steep = {"Huber": 1.0, "Student": 1.25, "Lp": 2.0}[name] * jnp.linalg.norm(gain, 2) ** 2

    def influence(r):
        return {
            "Huber": jnp.clip(r, -1.2, 1.2),
            "Student": 5 * r / (4 + r**2),
            "Lp": r / jnp.sqrt(r**2 + 0.25),
        }[name]

    def step(_, x):
        x = x + gain.T @ (axes.T @ influence(axes @ (problem.data - gain @ x))) / steep
        size = jnp.linalg.norm(x, axis=1, keepdims=True)
        return x * jnp.maximum(1 - ALPHA / steep / jnp.maximum(size, 1e-300), 0)

    slow = np.asarray(
        jax.lax.fori_loop(0, 20000, step, jnp.asarray(z) if name == "Student" else 0 * z)
    )
    assert float(proof.primal) <= objective(problem, name, slow, ALPHA) * (1 + 1e-8)
    np.testing.assert_allclose(z, slow, atol=2e-5 * np.abs(slow).max())
    if name == "Huber":
        assert -1e-12 <= float(proof.relative_gap) <= 1e-9
    else:
        assert np.isnan(float(proof.gap))


def test_wide_is_least_squares(problem):
    """Beyond every residual, Huber's answer is that of white noise, in one turn."""
    plain = ej.solve(problem, L21(6.0), MAP(tol=1e-10))
    wide = ej.solve(problem, L21(6.0), MAP(tol=1e-10), noise=Huber(1e6))
    np.testing.assert_allclose(wide.mean, plain.mean, atol=1e-8 * np.abs(plain.mean).max())
    squares = ej.solve(problem, L21(6.0), MAP(tol=1e-10), noise=Lp(2.0))
    np.testing.assert_allclose(squares.mean, plain.mean, atol=1e-8 * np.abs(plain.mean).max())


@pytest.mark.parametrize("name", list(NOISES))
def test_an_artefact(problem, name):
    """With a share of the cleaned alpha_max the two sources are found; white noise finds others."""
    model = L21(ej.relative(0.3))
    found = units(ej.solve(problem, model, MAP(), noise=NOISES[name]))
    strongest = np.argsort(np.linalg.norm(found, axis=1))[-2:]
    assert set(strongest.tolist()) == {4, 17}
    white = units(ej.solve(problem, model, MAP()))
    assert set(np.argsort(np.linalg.norm(white, axis=1))[-2:].tolist()) != {4, 17}


@pytest.mark.slow
@pytest.mark.parametrize(
    "penalty", [L1(3.0), Elastic(6.0, 0.7), TV(2.0)], ids=lambda p: type(p).__name__
)
def test_other_penalties(problem, penalty):
    """A stationary point for each; total variation on a chain."""
    if isinstance(penalty, TV):
        chain = np.stack([np.arange(24), np.arange(1, 25)], axis=1)
        problem = dataclasses.replace(
            problem, geometry=dataclasses.replace(problem.geometry, edges=jnp.asarray(chain))
        )
    found = ej.solve(problem, penalty, MAP(tol=1e-5), noise=Huber(1.2))
    assert bool(found.diagnostics.converged)


@pytest.mark.parametrize(
    "name", ["Huber", *(pytest.param(n, marks=pytest.mark.slow) for n in NOISES if n != "Huber")]
)
def test_derivatives(problem, name):
    """Along alpha and the data, central differences."""
    # Huber's noise does not see what it clips: the answer is less exact than its proof
    tol, step = (1e-13, 1e-4) if name == "Huber" else (1e-11, 1e-5)

    def at(alpha, data):
        some = dataclasses.replace(problem, data=data)
        found = ej.solve(some, L21(alpha), MAP(tol=tol), noise=NOISES[name])
        return jnp.sum(found.posterior.sources**3)

    rng = np.random.default_rng(0)
    along = jnp.asarray(rng.standard_normal(problem.data.shape))
    slope = jax.jit(jax.grad(at, argnums=(0, 1)))(ALPHA, problem.data)
    value = jax.jit(at)
    up, down = (value(ALPHA + s * step, problem.data + s * step * along) for s in (1, -1))
    expected = float(up - down) / (2 * step)
    assert float(slope[0] + jnp.sum(slope[1] * along)) == pytest.approx(expected, rel=1e-6)


def test_refusals(problem):
    """Where it is not taken, and numbers that cannot be."""
    for model, method in ((L21(6.0), Reweighted(3)), (ej.models.ARD(), EM())):
        with pytest.raises(ej.InputError, match="does not take Huber noise"):
            ej.solve(problem, model, method, noise=Huber())
    for make in (
        lambda: Huber(0.0),
        lambda: StudentTNoise(-1.0),
        lambda: Lp(2.5),
        lambda: Lp(1, 0),
    ):
        with pytest.raises(ej.InputError):
            make()
