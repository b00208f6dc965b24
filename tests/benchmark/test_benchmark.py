"""The benchmark on a small study: scenarios, protocols, peers, cells on disk, the page."""

import dataclasses
import json
import warnings

import jax
import mne
import numpy as np
import pandas as pd
import pytest

import esijax as ej
from esijax.app.benchmark import chosen, study_of
from esijax.benchmark import (
    METHODS,
    PROTOCOLS,
    SCENARIOS,
    Study,
    markdown,
    run,
    summary,
    write_page,
)
from esijax.benchmark.peers import MNE_PEERS, PeerAnswer
from esijax.benchmark.protocols import erp_waves, gaussian_waves, mixed, wishart
from esijax.benchmark.runner import scored

TWO = ("MNE", "sLORETA")


@pytest.fixture(autouse=True)
def _quiet():
    """Weak signals are what scenarios are made of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ej.EsijaxWarning)
        yield


@pytest.fixture(scope="module")
def study(evokeds, forward, noise_cov):
    """59 electrodes; every seventh location is inverted, all of them make the data."""
    evoked = evokeds["Right visual"].copy().pick("eeg", exclude="bads")
    vertices = [s["vertno"][::7] for s in forward["src"]]
    data = np.zeros((sum(map(len, vertices)), 1))
    stc = mne.SourceEstimate(data, vertices, 0.0, 1.0)
    coarse = mne.forward.restrict_forward_to_stc(forward, stc)
    return Study(evoked.info, coarse, forward, noise_cov, nave=evoked.nave)


@pytest.fixture(scope="module")
def focal(study):
    return list(SCENARIOS["focal"](study).cases(3))


@pytest.fixture
def results(study, tmp_path):
    return run(study, tmp_path, scenarios=["focal"], methods=TWO, seeds=2)


# ------------------------------------------------------------------ scenarios
def test_cases_know_their_truth(focal):
    for case in focal:
        assert case.active.sum() == 1
        where = np.asarray(case.problem.geometry.positions)
        near = np.argmin(np.linalg.norm(where - case.centres, axis=1))
        assert np.flatnonzero(case.active) == [near]
        assert np.abs(case.truth).sum(axis=(1, 2)).argmax() == near
        signal = ej.simulate.snr_db(case.problem, case.problem.recording)
        assert 5.0 < float(signal) < 9.0  # 5 dB of signal and 0 dB of noise make 6.2 dB
    assert len({tuple(c.centres[0]) for c in focal}) == 3


def test_few_channels_are_spread(study):
    case = next(iter(SCENARIOS["few channels"](study).cases(1)))
    assert len(case.problem.labels.ch_names) == 32
    assert set(case.problem.labels.ch_names) == set(study.electrodes)


def test_deep_sources_are_deep(study):
    from esijax.io import geometry

    setting = SCENARIOS["deep"](study)
    depth = ej.simulate.depths(geometry(study.truth_forward))
    region = np.asarray(setting.scenarios[0].sources.region)
    assert depth[region].min() >= 0.03
    assert len(region) == (depth >= 0.03).sum()


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_runs(study, data_dir, name):
    from esijax.app.benchmark import read_bem

    bem = read_bem(data_dir / "three-layer-320-bem-sol.fif")
    whole = Study(study.info, study.forward, study.truth_forward, study.noise_cov, bem, study.nave)
    for case in SCENARIOS[name](whole).cases(2):
        assert case.active.any()
        assert len(case.centres) == (2 if name in ("two correlated", "resting state") else 1)
        for method in TWO:
            card = scored(case, METHODS[method], [])
            assert np.isfinite([card["peak_error_mm"], card["auc"], card["coverage_90_all"]]).all()


@pytest.mark.slow
def test_scenarios_are_what_they_say(study, data_dir):
    from esijax.app.benchmark import read_bem

    bem = read_bem(data_dir / "three-layer-320-bem-sol.fif")
    whole = Study(study.info, study.forward, study.truth_forward, study.noise_cov, bem, study.nave)
    truth = {
        name: [ej.simulate.simulate(jax.random.split(jax.random.key(1), 40), s.head, s.problem,
                                    s.sources, s.waveform, s.noise, s.snr_db)
               for s in SCENARIOS[name](whole).scenarios]
        for name in ("low SNR", "two correlated", "resting state", "wrong head")
    }  # fmt: skip
    assert np.allclose(truth["low SNR"][0].snr_db, -5.0)
    pairs = truth["two correlated"][0].truth
    apart = np.linalg.norm(pairs.centres[:, 0] - pairs.centres[:, 1], axis=-1)
    assert apart.min() > 0.04
    unit = np.asarray(pairs.wave / np.linalg.norm(pairs.wave, axis=-1, keepdims=True))
    assert np.allclose(np.sum(unit[:, 0] * unit[:, 1], axis=1), 0.9)  # without removing means
    rest = truth["resting state"][0]
    alike = [np.corrcoef(w)[0, 1] for w in np.asarray(rest.truth.wave)]
    assert np.abs(alike).mean() < 0.8  # any phase between them
    colorer = np.asarray(rest.scenario.problem.whitener.colorer)
    cov = colorer @ colorer.T
    assert np.allclose(np.diag(cov), cov[0, 0])  # ad hoc: one variance for all electrodes
    heads = [np.asarray(s.scenario.head.gain) for s in truth["wrong head"]]
    right = np.asarray(whole.head(whole.problem()).gain)
    off = [np.linalg.norm(h - right) / np.linalg.norm(right) for h in heads]
    assert len({round(x, 6) for x in off}) == len(heads) == 4
    assert 0.1 < min(off) < max(off) < 0.8


# ------------------------------------------------------------------ published protocols
@pytest.mark.parametrize("alpha", [0.99, 0.5, 0.01])
def test_noise_is_mixed_by_alpha(alpha):
    rng = np.random.default_rng(0)
    clean, cov = rng.standard_normal((6, 4000)), wishart(rng, 6)
    noise, scaled = mixed(rng, clean, cov, alpha)
    ratio = np.linalg.norm(clean) / np.linalg.norm(noise)
    assert ratio == pytest.approx(alpha / (1 - alpha), rel=1e-12)
    found = noise @ noise.T / 4000
    assert np.linalg.norm(found - scaled) < 0.05 * np.linalg.norm(scaled)


def test_wishart_mean():
    rng = np.random.default_rng(1)
    mean = np.mean([wishart(rng, 5) for _ in range(4000)], axis=0)
    assert np.abs(mean - 5e-3 * np.eye(5)).max() < 3e-4  # n degrees of freedom, scale 1e-3


def test_courses_of_the_protocols():
    waves = erp_waves(np.random.default_rng(0), 50)
    assert waves.shape == (50, 250)
    assert (waves[:, :125] == 0).all()  # -0.5 s to the stimulus
    peak = np.abs(waves).max(axis=1)
    assert peak.min() >= 2.5e-9
    assert peak.max() <= 50e-9
    assert np.median(peak) == pytest.approx(20e-9, rel=0.15)
    lengths = [np.ptp(np.flatnonzero(w)) for w in waves]
    assert min(lengths) >= 75  # 82 samples, tapered to zero at both ends
    assert gaussian_waves(np.random.default_rng(0), 3).shape == (3, 10)


@pytest.mark.parametrize(
    "name",
    ["BSI-Zoo 3, full, alpha 0.99", "BSI-Zoo 3, diagonal, alpha 0.5", "CaliBrain 5, alpha 0.5"],
)
def test_protocols_give_their_truth(study, name):
    case = list(PROTOCOLS[name](study).cases(2))[1]
    problem, nnz = case.problem, 5 if "Cali" in name else 3
    assert case.active.sum() == nnz
    assert case.truth.shape == (problem.n_locations, 1, problem.n_times)
    # the inverse crime of both: the truth through the lead field, and noise of unit variance
    gain = np.asarray(problem.gain)[:, :, 0] / float(problem.source_unit)
    left = np.asarray(problem.data) - gain @ case.truth[:, 0]
    assert np.sqrt(np.mean(left**2)) == pytest.approx(1.0, abs=0.1)


PEER = {"mne: LCMV-max-power": MNE_PEERS["mne: LCMV-max-power"]}
# hundreds of iterations, or a compilation of ten seconds
LONG = ("Champagne", "StudentT", "MxNE-Huber", "TF-MxNE", "irTF-MxNE", "TV", "SISSY", "patches")
QUICK = tuple(m for m in METHODS if m not in LONG)


@pytest.mark.parametrize(
    ("methods", "peers"), [(QUICK, PEER), pytest.param(LONG, {}, marks=pytest.mark.slow)]
)
def test_every_method_meets_a_protocol(study, tmp_path, methods, peers):
    said = []
    results = run(study, tmp_path, scenarios=["BSI-Zoo 1, full, alpha 0.9"], methods=methods,
                  seeds=1, peers=peers, tell=said.append)  # fmt: skip
    left_out = set(methods) - set(results.method)
    assert left_out == set(methods) & {"LCMV-max-power"}  # orientations are fixed
    assert len(said) == len(left_out)
    assert all("LCMV-max-power" in text for text in said)


# ------------------------------------------------------------------ peers
def test_mne_gives_the_same_map(focal):
    case = focal[0]
    ours = np.linalg.norm(METHODS["dSPM"](case).mean, axis=1)
    theirs = np.linalg.norm(MNE_PEERS["mne: dSPM"](case).mean, axis=1)
    assert np.abs(ours - theirs).max() < 1e-5 * theirs.max()  # their forward is float32
    same, other = (scored(case, f, []) for f in (METHODS["dSPM"], MNE_PEERS["mne: dSPM"]))
    for name in ("peak_error_mm", "matched_error_mm", "auc", "size_correlation"):
        assert same[name] == pytest.approx(other[name], rel=1e-4)
    assert "coverage_90_all" in same
    assert "coverage_90_all" not in other


def test_beamformers_see_the_same_data_covariance(focal):
    case = focal[0]
    ours = np.abs(METHODS["LCMV-max-power"](case).mean[:, 0])
    theirs = np.abs(MNE_PEERS["mne: LCMV-max-power"](case).mean[:, 0])
    scale = (ours * theirs).sum() / (theirs**2).sum()  # theirs is in units of single trials
    assert np.abs(ours - scale * theirs).max() < 1e-5 * ours.max()


def test_sparse_maps_are_put_on_all_locations(focal):
    answer = MNE_PEERS["mne: MxNE"](focal[0])
    size = np.linalg.norm(answer.mean, axis=(1, 2))
    assert answer.mean.shape[0] == focal[0].problem.n_locations
    assert 0 < (size > 0).sum() < 60


def test_a_failing_peer_is_counted(focal):
    def broken(_case):
        raise RuntimeError("no")

    def silent(case):
        return PeerAnswer(np.zeros_like(case.truth))

    failures = []
    assert scored(focal[0], broken, failures) == {"failed": 1.0}
    assert scored(focal[0], silent, failures) == {"failed": 1.0}
    assert failures == ["RuntimeError: no", "InputError: the map is zero or not finite"]


def test_what_only_fails_is_not_kept(study, tmp_path):
    ran, said = [], []

    def broken(case):
        ran.append(case)
        raise RuntimeError("no")

    args = {"scenarios": ["focal"], "methods": ["MNE"], "seeds": 5, "peers": {"peer": broken}}
    results = run(study, tmp_path, tell=said.append, **args)
    assert set(results.method) == {"MNE"}
    assert len(ran) == 3
    assert "no" in said[0]
    run(study, tmp_path, tell=said.append, **args)
    assert len(ran) == 6


def test_foreign_peers_are_named_when_absent(monkeypatch):
    from esijax.benchmark import foreign

    said = []
    monkeypatch.delenv(foreign.VARIABLE, raising=False)
    assert foreign.available(said.append) == {}
    monkeypatch.setenv(foreign.VARIABLE, "/no/such/python")
    assert foreign.available(said.append) == {}
    assert foreign.VARIABLE in said[0]
    assert [s.split(": ")[1].split()[0] for s in said[1:]] == ["calibrain", "invert"]
    assert "/no/such/python" in said[1]


# ------------------------------------------------------------------ cells on disk
def test_finished_cells_are_not_run_again(study, tmp_path, monkeypatch):
    ran = []

    def counted(case):
        ran.append(case)
        return METHODS["MNE"](case)

    args = {"scenarios": ["focal"], "methods": TWO, "seeds": 2}
    first = run(study, tmp_path, **args)
    monkeypatch.setitem(METHODS, "sLORETA", counted)
    again = run(study, tmp_path, **args)
    assert not ran
    pd.testing.assert_frame_equal(first, again)
    (tmp_path / "cells" / "focal--sLORETA.csv").unlink()
    run(study, tmp_path, **args)
    assert len(ran) == 2
    assert len(pd.read_csv(tmp_path / "results.csv")) == len(first)


def test_cells_of_another_run_are_refused(study, results, tmp_path):
    with pytest.raises(ej.InputError, match="another run"):
        run(study, tmp_path, scenarios=["focal"], methods=TWO, seeds=3)
    assert json.loads((tmp_path / "settings.json").read_text())["seeds"] == 2
    info = study.info.copy()
    info["bads"] = ["EEG 001"]
    other = dataclasses.replace(study, info=info)
    with pytest.raises(ej.InputError, match="another run"):
        run(other, tmp_path, scenarios=["focal"], methods=TWO, seeds=2)


def test_unknown_names(study, tmp_path):
    with pytest.raises(ej.InputError, match="no scenario 'nowhere'"):
        run(study, tmp_path, scenarios=["nowhere"])
    with pytest.raises(ej.InputError, match="no method 'magic'"):
        run(study, tmp_path, methods=["magic"])


def test_a_wrong_head_needs_a_head_model(study, tmp_path):
    said = []
    args = {"methods": ["MNE"], "seeds": 1, "tell": said.append}
    with pytest.raises(ej.InputError, match="no scenario could be run"):
        run(study, tmp_path, scenarios=["wrong head"], **args)
    assert "--bem" in said[0]


# ------------------------------------------------------------------ table and page
def test_table_of_medians(results):
    rows = results[(results.metric == "peak_error_mm") & (results.method == "MNE")]
    table = summary(results, "peak_error_mm")
    assert table.loc["focal", "MNE"] == np.median(rows.value)
    assert f"| MNE | {np.median(rows.value):.1f} |" in markdown(results, ["peak_error_mm"])
    assert "###" not in markdown(results, ["no_such_metric"])


def test_page(results, tmp_path):
    path = write_page(results, tmp_path / "benchmark.html", "esijax benchmark --seeds 2")
    text = path.read_text()
    assert "esijax benchmark --seeds 2" in text
    assert text.count("<table") >= 5
    assert text.count("data:image/png") >= 5


def test_names_on_the_command_line():
    known = ("MNE", "MNE, evidence", "dSPM")
    assert chosen("all", known, (), "method") == list(known)
    assert chosen("dSPM,MNE, evidence", known, (), "method") == ["dSPM", "MNE, evidence"]
    assert chosen("MNE,dSPM", known, (), "method") == ["MNE", "dSPM"]
    assert chosen("CaliBrain", ("focal",), tuple(PROTOCOLS), "scenario") == [
        name for name in PROTOCOLS if name.startswith("CaliBrain")
    ]
    assert chosen("CaliBrain 5,focal", ("focal",), tuple(PROTOCOLS), "scenario") == [
        *(f"CaliBrain 5, alpha {a}" for a in (0.1, 0.5, 0.9)), "focal"
    ]  # fmt: skip
    with pytest.raises(ej.InputError, match="no method 'x'"):
        chosen("MNE,x", known, (), "method")


def test_files_belong_together(tmp_path):
    with pytest.raises(ej.InputError, match="need --evoked"):
        study_of({}, None, ("EEG 001",))
    files = dict.fromkeys(("evoked", "forward", "truth-forward", "noise-cov", "bem"))
    with pytest.raises(ej.InputError, match="--truth-forward"):
        study_of(files | {"evoked": tmp_path, "forward": tmp_path}, None, ())


def test_an_answer_is_a_map(focal):
    case = focal[0]
    truth = np.linalg.norm(case.truth, axis=1)[:, None]
    card = scored(case, lambda _: PeerAnswer(truth), [])
    where = np.asarray(case.problem.geometry.positions)
    nearest = np.linalg.norm(where - case.centres, axis=1).min()  # the inverted grid is coarse
    assert card["peak_error_mm"] == pytest.approx(1e3 * nearest)
    assert card["auc"] == 1.0
    assert card["outside_mm"] == 0.0
    assert card["size_correlation"] == pytest.approx(1.0)
