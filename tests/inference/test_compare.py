"""Comparison of models: probabilities by hand, and what cannot be compared."""

import dataclasses

import numpy as np
import pytest

import esijax as ej


def fit(problem, lambda2=1.0):
    return ej.solve(problem, ej.models.MinimumNorm(lambda2), ej.inference.Linear())


def test_probabilities(fixed):
    fits = {"weak": fit(fixed, 10.0), "strong": fit(fixed, 0.1), "middle": fit(fixed, 1.0)}
    table = ej.compare(fits)
    evidence = {name: float(e.log_evidence) for name, e in fits.items()}
    order = sorted(evidence, key=evidence.get, reverse=True)
    assert [row.name for row in table.rows] == order
    want = np.exp(np.array([evidence[n] for n in order]) - evidence[order[0]])
    np.testing.assert_allclose([r.probability for r in table.rows], want / want.sum(), rtol=1e-12)
    assert table.rows[0].difference == 0
    np.testing.assert_allclose(
        table.rows[1].difference, evidence[order[1]] - evidence[order[0]], rtol=1e-12
    )
    assert all(row.model == "MinimumNorm" and row.method == "Linear" for row in table.rows)


def test_it_prints(fixed):
    table = ej.compare([fit(fixed, 10.0), fit(fixed, 0.1)])
    lines = str(table).splitlines()
    assert lines[0].split() == ["model", "method", "log", "evidence", "difference", "probability"]
    assert len(lines) == 3
    assert f"{table.rows[0].log_evidence:.2f}" in lines[1]
    assert table._repr_html_().count("<tr>") == 3
    named = ej.compare({"<b>": fit(fixed), "c": fit(fixed, 2.0)})
    assert "&lt;b&gt;" in named._repr_html_()


def test_another_noise_covariance_is_allowed(fixed):
    """Densities are in the data's units: the wrong noise covariance loses."""
    channels = fixed.whitener.matrix.shape[1]
    cov = np.asarray(fixed.whitener.colorer @ fixed.whitener.colorer.T)
    gain = np.asarray(fixed.whitener.colorer @ fixed.gain[..., 0])
    right = ej.from_arrays(gain, fixed.recording, noise_cov=cov)
    wrong = ej.from_arrays(gain, fixed.recording, noise_cov=100 * cov)
    table = ej.compare({"right": fit(right), "wrong": fit(wrong)})
    assert table.rows[0].name == "right"
    assert channels == 12
    # 100 times the variance costs at most log 10 per number, not the Jacobian of the whitening
    assert -table.rows[1].difference < 12 * 7 * np.log(10)


def test_a_doubtful_evidence_is_marked(fixed):
    from esijax.estimate import RESULT

    doubtful = dataclasses.replace(fit(fixed), result=RESULT.doubtful)
    table = ej.compare([doubtful, fit(fixed, 2.0)])
    assert "did not meet its own checks" in {r.name: r.note for r in table.rows}["0: MinimumNorm"]


def test_different_data_are_refused(fixed, problem_factory, referenced):
    one = fit(fixed)
    labels = dataclasses.replace(fixed.labels, tmin=0.3)
    others = {
        "times": [
            fixed.with_data(fixed.recording[:, :5]),
            dataclasses.replace(fixed, labels=labels),
        ],
        "channels": [problem_factory(1, n_channels=10)],
        "rank": [referenced],
        "data": [fixed.with_data(2 * fixed.recording)],
    }
    for what, problems in others.items():
        for problem in problems:
            with pytest.raises(ej.InputError, match=f"differ in {what}"):
                ej.compare([one, fit(problem)])


def test_other_projectors_are_refused(fixed):
    rng = np.random.default_rng(0)
    recording = np.asarray(fixed.recording)
    gain = np.asarray(fixed.whitener.colorer @ fixed.gain[..., 0])
    fits = []
    for _ in range(2):
        axis = rng.standard_normal(12)
        out = np.eye(12) - np.outer(axis, axis) / (axis @ axis)
        fits.append(fit(ej.from_arrays(out @ gain, out @ recording, noise_cov=out)))
    with pytest.raises(ej.InputError, match="differ in projectors"):
        ej.compare(fits)


def test_what_is_no_comparison(fixed):
    one = fit(fixed)
    with pytest.raises(ej.InputError, match="at least two"):
        ej.compare([one])
    with pytest.raises(ej.InputError, match="a list of estimates or a dict"):
        ej.compare(one)
    with pytest.raises(ej.InputError, match="no Estimate but int"):
        ej.compare([one, 3])
    with pytest.raises(ej.InputError, match="has no evidence"):
        ej.compare([one, ej.solve(fixed, None, ej.inference.LCMV())])
