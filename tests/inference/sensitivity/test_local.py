"""Local resolution: against finite differences, the linear kernel, and the dense Jacobian."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.inference import MAP, Linear, Reweighted, select
from esijax.inference.sensitivity import local
from esijax.models import L21, Elastic, MinimumNorm

TIGHT = 1e-12


@pytest.fixture(scope="module")
def free(problem_factory):
    return problem_factory(3)


@pytest.fixture(scope="module")
def sparse(free):
    """A penalty with a number for alpha."""
    return L21(0.3 * select.alpha_max(free, L21(1.0)))


def moved(problem, penalty, method, location, orient, course, step=1e-5):
    """Change of the map per unit of a source, by central differences."""
    topography = np.asarray(problem.whitener.colorer @ problem.gain[:, location, orient])
    move = step * topography[:, None] * course

    def mean(data):
        return np.asarray(ej.solve(problem.with_data(data), penalty, method).posterior.mean())

    recording = np.asarray(problem.recording)
    return (mean(recording + move) - mean(recording - move)) / (2 * step)


def test_sparse(free, sparse):
    """Columns and rows of the same derivative."""
    method = MAP(tol=TIGHT)
    strength = np.linalg.norm(ej.solve(free, sparse, method).mean, axis=(1, 2))
    location, other = np.argsort(strength)[[-1, 0]]
    course = np.random.default_rng(0).standard_normal(free.n_times)
    for where in (int(location), int(other)):
        found = local.point_spread(free, sparse, method, where, orient=1, course=course)
        expected = moved(free, sparse, method, where, 1, course)
        np.testing.assert_allclose(found, expected, atol=1e-6 * abs(expected).max())
    leak = local.cross_talk(free, sparse, method, int(location), orient=0, course=course)
    for where, orient in ((int(location), 1), (int(other), 2)):
        change = local.point_spread(free, sparse, method, where, orient=orient, course=course)
        there = change[int(location), 0] @ course / (course @ course)
        assert float(leak[where, orient]) == pytest.approx(float(there), abs=1e-9)


def test_linear_is_the_kernel(free):
    """The derivative of a linear map is its resolution matrix, whatever the data."""
    model = MinimumNorm()
    estimate = ej.solve(free, model, Linear())
    kernel = np.asarray(estimate.kernel)  # A m per V and T
    gain = np.asarray(free.whitener.colorer @ free.gain[:, 4, 2])
    expected = np.tensordot(kernel, gain, axes=(-1, 0)) / float(free.source_unit)
    found = local.point_spread(free, model, Linear(), 4)
    np.testing.assert_allclose(
        found, np.repeat(expected[..., None], free.n_times, axis=2), rtol=1e-8
    )
    leak = local.cross_talk(free, model, Linear(), 7)
    assert float(leak[4, 2]) == pytest.approx(float(expected[7, 2]), rel=1e-8)


def dense_leverage(problem, penalty, method):
    """Diagonal of the derivative of the fitted channels, by central differences."""
    recording = np.asarray(problem.recording)
    colorer = np.asarray(problem.whitener.colorer)

    @jax.jit
    def fitted(data):
        return colorer @ ej.solve(problem.with_data(data), penalty, method).posterior.fitted()

    out, step = np.zeros(len(recording)), 1e-5 * np.abs(recording).max()
    for c, t in np.ndindex(recording.shape):
        move = np.zeros_like(recording)
        move[c, t] = step
        out[c] += float((fitted(recording + move) - fitted(recording - move))[c, t]) / (2 * step)
    return out / problem.n_times


@pytest.mark.parametrize(
    ("penalty", "method"),
    [
        (L21, MAP(tol=TIGHT)),
        pytest.param(L21, Reweighted(3, tol=TIGHT), marks=pytest.mark.slow),
        pytest.param(lambda a: Elastic(a, 0.8), MAP(tol=TIGHT), marks=pytest.mark.slow),
    ],
    ids=["norms", "turns", "elastic"],
)
def test_leverage(free, penalty, method):
    penalty = dataclasses.replace(penalty(1.0), alpha=0.3 * select.alpha_max(free, penalty(1.0)))
    estimate = ej.solve(free, penalty, method)
    found = local.leverage(estimate, penalty, method)
    np.testing.assert_allclose(found, dense_leverage(free, penalty, method), atol=1e-6)
    df = select.degrees_of_freedom(estimate, penalty, method)
    assert float(found.sum() * free.n_times) == pytest.approx(float(df), rel=1e-8)


def test_refusals(free, sparse):
    method = MAP()
    for bad in ({"location": 20}, {"location": -1}, {"orient": 3}):
        arguments = {"location": 0, **bad}
        with pytest.raises(ej.InputError, match="must be an integer"):
            local.point_spread(free, sparse, method, **arguments)
    for course in (np.ones(3), np.zeros(7), np.full(7, np.nan)):
        with pytest.raises(ej.InputError, match="course must be 7"):
            local.cross_talk(free, sparse, method, 0, course=course)
    with pytest.raises(ej.InputError, match="no derivative"):
        local.point_spread(free, MinimumNorm(), ej.inference.NUTS(), 0)
    with pytest.raises(ej.InputError, match="leverage is for MAP"):
        local.leverage(ej.solve(free, MinimumNorm(), Linear()), sparse)
    with pytest.warns(ej.EsijaxWarning, match="every source is zero"):
        nothing = ej.solve(free, L21(1e9), method)
    assert not jnp.any(local.leverage(nothing, L21(1e9)))
