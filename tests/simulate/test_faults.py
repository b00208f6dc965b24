"""Channel subsets, references, lost dimensions and bad channels."""

import jax
import numpy as np
import pytest

import esijax as ej
from esijax import simulate as sim

KEY = jax.random.key(2)


def test_channels_are_spread_evenly():
    rng = np.random.default_rng(0)
    positions = rng.standard_normal((200, 3))
    positions *= 0.1 / np.linalg.norm(positions, axis=1, keepdims=True)
    before = None
    for n in (19, 32, 64, 128, 200):
        index = sim.spread_channels(positions, n)
        assert len(set(index.tolist())) == n
        # by hand: no sensor left out is farther from all chosen than two chosen are apart
        gaps = np.linalg.norm(positions[:, None] - positions[index], axis=-1)
        left = np.delete(np.arange(200), index)
        among = gaps[index] + 9 * np.eye(n)
        if len(left):
            assert gaps[left].min(axis=1).max() <= among.min() + 1e-12
        assert before is None or set(before) <= set(index.tolist())
        before = index.tolist()


def by_hand(problem, operator):
    """Lead field, covariance and data behind an operator, in the caller's units."""
    colorer = np.asarray(problem.whitener.colorer)
    lead = np.tensordot(colorer, problem.gain, 1) / float(problem.source_unit)
    cov = operator @ colorer @ colorer.T @ operator.T
    return np.tensordot(operator, lead, 1), cov, operator @ np.asarray(problem.recording)


OPERATORS = {
    "subset": lambda types: sim.pick_channels(types, [0, 2, 5, 9, 10]),
    "subset without EEG": lambda _types: np.eye(12)[[8, 11]],
    "reference": sim.average_reference,
    "rank loss": lambda _types: sim.project_out(np.random.default_rng(1).standard_normal((12, 3))),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_problem_behind_an_operator(problem, name):
    operator = OPERATORS[name](problem.labels.ch_types)
    behind = sim.through(problem, operator)
    lead, cov, data = by_hand(problem, operator)
    assert behind.rank == np.linalg.matrix_rank(cov, 1e-9 * cov.max())
    # whitened Gram matrices do not depend on the choice of the whitener's rotation
    inverse = np.linalg.pinv(cov, rcond=1e-9)
    gram = np.einsum("rt,rlo->tlo", behind.data, behind.gain) / float(behind.source_unit)
    np.testing.assert_allclose(gram, np.einsum("ct,cd,dlo->tlo", data, inverse, lead), rtol=1e-7)
    found = np.asarray(behind.whitener.colorer)
    np.testing.assert_allclose(found @ found.T, cov, atol=1e-10)
    total = np.sum(np.asarray(behind.gain) ** 2 * np.asarray(behind.prior_scale) ** 2)
    assert total == pytest.approx(behind.rank)
    assert len(behind.labels.ch_names) == len(operator)
    if name == "rank loss":
        estimate = ej.solve(behind, ej.models.MinimumNorm(), ej.inference.Linear("dSPM"))
        assert np.isfinite(estimate.mean).all()


def test_subset_keeps_names_and_refers_to_its_own_average(problem):
    operator = sim.pick_channels(problem.labels.ch_types, [0, 2, 5, 9, 10])
    behind = sim.through(problem, operator)
    names = problem.labels.ch_names
    assert behind.labels.ch_names == tuple(names[i] for i in (0, 2, 5, 9, 10))
    assert behind.labels.ch_types == ("eeg", "eeg", "eeg", "mag", "mag")
    np.testing.assert_allclose(behind.recording[:3].mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_array_equal(behind.recording[3:], problem.recording[np.array([9, 10])])
    # the reference that the larger set had makes no difference
    first = sim.through(problem, sim.average_reference(problem.labels.ch_types))
    both = sim.through(first, operator)
    np.testing.assert_allclose(both.recording, behind.recording, atol=1e-12)
    assert both.rank == behind.rank == 4


def test_removed_vectors_are_gone():
    vectors = np.random.default_rng(0).standard_normal((12, 3))
    operator = sim.project_out(vectors)
    np.testing.assert_allclose(operator @ vectors, 0.0, atol=1e-12)
    np.testing.assert_allclose(operator @ operator, operator, atol=1e-12)
    assert np.trace(operator) == pytest.approx(9)


@pytest.mark.parametrize("kind", ["noisy", "flat"])
def test_bad_channels(kind):
    data = np.random.default_rng(0).standard_normal((30, 5000))
    spoil = jax.jit(lambda k, d: sim.bad_channels(k, d, 4, kind, 3.0))
    spoilt, bad = spoil(KEY, data)
    bad = np.asarray(bad)
    assert len(set(bad.tolist())) == 4
    good = np.setdiff1d(np.arange(30), bad)
    np.testing.assert_array_equal(np.asarray(spoilt)[good], data[good])
    std = np.asarray(spoilt)[bad].std(axis=1) / data[bad].std(axis=1)
    want = 0.0 if kind == "flat" else np.sqrt(10)
    np.testing.assert_allclose(std, want, rtol=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda _p: sim.spread_channels(np.ones((5, 3)), 6),
            "6 channels cannot be chosen out of 5",
        ),
        (lambda _p: sim.spread_channels(np.full((5, 3), np.nan), 2), "finite"),
        (lambda _p: sim.pick_channels(["eeg"] * 3, [0, 0]), "each once"),
        (lambda _p: sim.pick_channels(["eeg"] * 3, [0, 3]), "0..2"),
        (lambda _p: sim.project_out(np.ones((5, 2))), "independent"),
        (lambda _p: sim.project_out(np.ones(5)), "channels, k"),
        (lambda p: sim.through(p, np.eye(5)), "12 channels"),
        (lambda _p: sim.bad_channels(KEY, np.ones((3, 5)), 4), "4 of 3"),
        (lambda _p: sim.bad_channels(KEY, np.ones((3, 5)), 1, "odd"), "'odd'"),
    ],
)
def test_refusals(problem, make, message):
    with pytest.raises(ej.InputError, match=message):
        make(problem)
