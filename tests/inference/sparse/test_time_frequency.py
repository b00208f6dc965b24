"""TF-MxNE: the objective of MNE-Python's solver, proofs, zero at alpha_max, derivatives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.inference import MAP, Reweighted, select
from esijax.models import TimeFrequency

theirs = pytest.importorskip("mne.inverse_sparse.mxne_optim").tf_mixed_norm_solver
T = 48
pytestmark = pytest.mark.filterwarnings("ignore:the map explains:esijax.EsijaxWarning")


@pytest.fixture(
    scope="module", params=[1, pytest.param(3, marks=pytest.mark.slow)], ids=["fixed", "free"]
)
def problem(request):
    """Two bursts among twenty locations."""
    rng = np.random.default_rng(0)
    z = np.zeros((20, request.param, T))
    z[3, -1, 10:30] = 5 * np.hanning(20)
    z[11, 0, 20:40] = 6 * np.sin(np.arange(20))
    gain = rng.standard_normal((12, 20, request.param))
    data = np.tensordot(gain, z, 2) + rng.standard_normal((12, T))
    return ej.from_arrays(gain, data, noise_cov=1.0)


@pytest.mark.parametrize(
    ("fraction", "ratio", "wsize", "tstep"),
    [
        pytest.param(0.4, 0.1, 16, 4, id="blocks"),
        pytest.param(0.3, 0.6, 16, 4, id="entries"),
        pytest.param(0.3, 0.2, [4, 16], [2, 4], id="two dictionaries", marks=pytest.mark.slow),
    ],
)
def test_equal_to_mne(problem, fraction, ratio, wsize, tstep):
    model = TimeFrequency(ej.relative(fraction), ratio, wsize, tstep)
    estimate = ej.solve(problem, model, MAP(tol=1e-11))
    proof = estimate.diagnostics
    assert bool(proof.converged)
    assert -1e-12 <= float(proof.relative_gap) <= 1e-11
    assert float(proof.kkt) <= 1e-6
    alpha, n_orients = float(estimate.hyper["alpha"]), problem.n_orients
    x, active, objective = theirs(
        np.asarray(problem.data),
        np.asarray(problem.gain * problem.prior_scale).reshape(problem.rank, -1),
        alpha * (1 - ratio),
        alpha * ratio,
        wsize=np.atleast_1d(wsize),
        tstep=np.atleast_1d(tstep),
        n_orient=n_orients,
        maxit=20_000,
        tol=1e-12,
        debias=False,
        verbose="ERROR",
    )[:3]
    assert float(proof.primal) <= objective[-1] * (1 + 1e-8)
    z = np.asarray(estimate.posterior.sources / problem.prior_scale[..., None])
    full = np.zeros((20 * n_orients, T))
    full[active] = x
    np.testing.assert_allclose(z.reshape(full.shape), full, atol=1e-5 * np.abs(full).max())


def test_alpha_max(problem):
    """Zero from alpha_max on, at once; not below."""
    model = TimeFrequency(1.0, 0.3, 16, 4)
    largest = float(select.alpha_max(problem, model))
    with pytest.warns(ej.EsijaxWarning, match="every source is zero"):
        zero = ej.solve(problem, dataclasses.replace(model, alpha=largest * (1 + 1e-9)), MAP())
    assert not zero.mean.any()
    assert int(zero.diagnostics.iterations) <= 1
    assert ej.solve(problem, dataclasses.replace(model, alpha=0.97 * largest), MAP()).mean.any()


def test_reweighted(problem):
    """Sparser than the convex answer, at the same places."""
    model = TimeFrequency(ej.relative(0.3), 0.3, 16, 4)
    first = ej.solve(problem, model, MAP())
    later = ej.solve(problem, model, Reweighted(5))
    assert bool(later.diagnostics.converged)
    was, now = (set(np.flatnonzero(np.asarray(e.mean).any((1, 2)))) for e in (first, later))
    assert now
    assert now <= was


def test_not_converged(problem):
    model = TimeFrequency(ej.relative(0.1), 0.3, 16, 4)
    with pytest.warns(ej.EsijaxWarning, match="not converged"):
        ej.solve(problem, model, MAP(tol=1e-15, max_iter=1))


def test_derivative(problem):
    """Along alpha, against central differences."""
    model = TimeFrequency(
        0.3 * select.alpha_max(problem, TimeFrequency(1.0, 0.3, 16, 4)), 0.3, 16, 4
    )
    target = np.random.default_rng(1).standard_normal((20, problem.n_orients, T))

    def loss(alpha):
        changed = dataclasses.replace(model, alpha=alpha)
        return jnp.sum(ej.solve(problem, changed, MAP(tol=1e-14)).posterior.mean() * target)

    value = jax.jit(loss)
    step = 1e-5 * float(model.alpha)
    numeric = (value(model.alpha + step) - value(model.alpha - step)) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(model.alpha), numeric, rtol=1e-5)
