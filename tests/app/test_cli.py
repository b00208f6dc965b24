"""The command line: quick to answer, right on real data, one line for every mistake."""

import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import mne
import numpy as np
import pytest

import esijax as ej

BADS = ["--bads", "MEG 2443", "--bads", "EEG 053"]
INSTALLED = Path(sys.executable).parent / "esijax"
WHERE = {  # what is known of the responses: shared/data/sample/README.md
    "Right Auditory": (0.080, 0.100, "left"),
    "Right visual": (0.080, 0.110, "left"),
    "Left visual": (0.110, 0.130, "right"),
}


def command(*arguments, python=()):
    """Run the command line in a process of its own."""
    line = [sys.executable, *python, "-m", "esijax.cli", *map(str, arguments)]
    environment = os.environ | {"PYTHONUTF8": "1"}
    environment.pop("COLUMNS", None)
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=900)


@pytest.fixture
def esijax(monkeypatch, capsys):
    """Run the command line in this process: (exit code, standard output, standard error)."""
    from esijax import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["esijax", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


_READ: dict = {}


@pytest.fixture
def read_once(monkeypatch):
    """Read each file of the sample subject once for all tests; each gets a copy."""
    for name in ("read_forward_solution", "read_evokeds"):
        reader = getattr(mne, name)

        def cached(path, *args, _reader=reader, _name=name, **kwargs):
            kept = "sample" in str(path) and (_name, str(path), repr(args), repr(kwargs))
            if not kept:
                return _reader(path, *args, **kwargs)
            if kept not in _READ:
                _READ[kept] = _reader(path, *args, **kwargs)
            return copy.deepcopy(_READ[kept])

        monkeypatch.setattr(mne, name, cached)


# ------------------------------------------------------------------ quick answers
@pytest.mark.slow
def test_help_is_quick_and_light():
    code = (
        "import sys, time; start = time.perf_counter(); sys.argv = ['esijax', '--help']\n"
        "from esijax import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "import json; heavy = {'jax', 'mne', 'numpyro', 'arviz', 'nilearn', 'matplotlib'}\n"
        "print(json.dumps([time.perf_counter() - start, sorted(heavy & set(sys.modules))]))"
    )
    taken = []
    for _ in range(3):  # the quickest of three: other work may hold the machine
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "localize" in done.stdout
        seconds, loaded = json.loads(done.stdout.splitlines()[-1])
        assert loaded == []
        taken.append(seconds)
    assert min(taken) < 1.0


@pytest.mark.parametrize("name", ["demo", "localize", "benchmark", "info"])
def test_each_command_has_help(esijax, name):
    code, out, _ = esijax(name, "--help")
    assert code == 0
    assert name in out


@pytest.mark.slow
def test_the_second_run_starts_warm(tmp_path):
    """What is compiled is kept in the user's cache, and found there."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    code = (
        "from esijax import cli; cli._prepare(); import jax, jax.monitoring as m; seen = []\n"
        "m.register_event_listener(lambda name, **_: seen.append(name))\n"
        "jax.jit(lambda x: jax.lax.linalg.eigh(x)[1] @ x @ x.T)(jax.numpy.ones((9, 9)))\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)\n"
        "jax.jit(lambda x: jax.numpy.linalg.svd(x @ x.T)[1])(jax.numpy.ones((9, 9)))\n"
        "print('hit', seen.count('/jax/compilation_cache/cache_hits') > 0)"
    )
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split()[-1])
    assert said == ["False", "True"]
    assert list(tmp_path.glob("**/programs/*"))


def test_version(esijax):
    assert esijax("--version")[:2] == (0, f"{ej.__version__}\n")


def test_info(esijax):
    code, out, err = esijax("info")
    assert code == 0
    assert not err
    for expected in ("esijax", "jax", "numpyro", "mne", "arviz", "Python", "cpu", "float64"):
        assert expected in out


@pytest.mark.slow
def test_info_in_its_own_process_is_in_float64():
    done = command("info")
    assert done.returncode == 0
    assert "float64" in done.stdout
    assert not done.stderr


# ------------------------------------------------------------------ demo
def scores(out):
    """The table as printed: {method: {heading: text}}."""
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == ["method"])
    headings = [h.strip() for h in lines[start].strip().split("  ") if h.strip()]
    rows = {}
    for line in lines[start + 2 :]:
        cells = [c.strip() for c in line.strip().split("  ") if c.strip()]
        if len(cells) != len(headings):
            break
        rows[cells[0]] = dict(zip(headings[1:], cells[1:], strict=True))
    return rows


def check_demo(folder, out, methods, largest_error):
    import matplotlib.image

    rows = scores(out)
    assert set(rows) == set(methods)
    for name in ("dSPM", "eLORETA"):
        for side in ("left error", "right error"):
            assert float(rows[name][side].removesuffix(" mm")) < largest_error, (name, side)
        assert 0 < float(rows[name]["spread"].removesuffix(" mm")) < 60
        assert 30 <= int(rows[name]["active"].removesuffix(" %")) <= 100
        assert 80 <= int(rows[name]["inactive"].removesuffix(" %")) <= 100
    assert max(map(len, out.splitlines())) <= 100
    assert str(folder / "report.html") in out.replace("\n", "")
    for stem in ("dspm", "eloreta", "data", "courses"):
        pixels = matplotlib.image.imread(folder / f"{stem}.png")[..., :3]
        assert pixels.shape[1] > 600
        assert 0.02 < (pixels.min(axis=-1) < 0.8).mean() < 0.98, stem
    assert "Methods compared with the truth" in (folder / "report.html").read_text("utf-8")
    stems = [m.lower().replace(", ", "-").replace(" ", "-") for m in methods]
    pictures = ["dspm.png", "eloreta.png", "data.png", "courses.png", "report.html", "demo.log"]
    (problem,) = (p.name for p in folder.glob("problem-*.npz"))
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [f"{s}.npz" for s in stems] + [problem, *pictures]
    )
    loaded = ej.load(folder / "eloreta.npz")
    assert np.isfinite(np.asarray(loaded.mean)).all()
    assert ej.io.shared_problem(loaded, folder) in folder.iterdir()
    assert loaded.problem.labels.comment == "simulated auditory response"


def test_demo_on_coarse_grids(esijax, monkeypatch, tmp_path):
    """The same with two methods and fewer sources, so that every run of the tests sees it."""
    from esijax.app import demo
    from esijax.viz import maps

    kept = {name: demo.DEMO_METHODS[name] for name in ("dSPM", "eLORETA")}
    monkeypatch.setattr(demo, "DEMO_METHODS", kept)
    monkeypatch.setattr(demo, "INVERTED", "ico3")
    monkeypatch.setattr(demo, "SIMULATED", "oct5")
    drawn, draw = [], maps.plot_map

    def plot_map(estimate, *more, **rest):
        drawn.append(f"{estimate.model} {estimate.method}")
        return draw(estimate, *more, **rest)

    monkeypatch.setattr(maps, "plot_map", plot_map)
    code, out, err = esijax("demo", "--out", tmp_path / "demo", "--seed", "3")
    assert (code, err) == (0, "")
    assert len(drawn) == len(set(drawn)) == 2  # each once, for the file and the page
    check_demo(tmp_path / "demo", out, list(kept), largest_error=25)


@pytest.mark.slow
def test_demo(tmp_path):
    from esijax.app.demo import DEMO_METHODS

    start = time.perf_counter()
    done = command("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert time.perf_counter() - start < 300  # 60 on two cores that are free
    check_demo(tmp_path / "demo", done.stdout, list(DEMO_METHODS), largest_error=20)


@pytest.mark.slow
def test_same_seed_same_data(monkeypatch):
    """Another seed is other noise; the truth stays."""
    from esijax.app import demo

    monkeypatch.setattr(demo, "INVERTED", "ico3")
    monkeypatch.setattr(demo, "SIMULATED", "ico3")
    (a, _, _, truth), (b, *_), (c, _, _, other) = (demo.simulated(s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.data, b.data)
    assert np.abs(a.data - c.data).max() > 0
    np.testing.assert_array_equal(truth.sources, other.sources)
    moment = np.linalg.norm(truth.sources.sum(axis=0), axis=0)
    assert a.times[moment.argmax()] == pytest.approx(demo.PEAK, abs=0.01)


# ------------------------------------------------------------------ localize
def localize(esijax, data_dir, grid, out, condition, *more):
    tmin, tmax, _ = WHERE[condition]
    return esijax(
        "localize", data_dir / "audvis-ave.fif.gz",
        "--forward", data_dir / f"audvis-{grid}-fwd.fif",
        "--noise-cov", data_dir / "audvis-cov.fif",
        "--condition", condition, "--tmin", tmin, "--tmax", tmax, *BADS, "--out", out, *more,
    )  # fmt: skip


def check_side(folder, condition):
    """The posterior mean is largest in the hemisphere that the literature names."""
    import mne

    estimate = ej.load(folder / "estimate.npz")
    tmin, tmax, side = WHERE[condition]
    assert estimate.problem.times[0] >= tmin - 1e-9
    assert estimate.problem.times[-1] <= tmax + 1e-9
    assert not {"MEG 2443", "EEG 053"} & set(estimate.problem.labels.ch_names)
    amplitude = np.linalg.norm(np.asarray(estimate.mean), axis=-2).max(axis=-1)
    n_left = len(estimate.problem.labels.vertices[0])
    left, right = amplitude[:n_left].max(), amplitude[n_left:].max()
    assert (left > right) == (side == "left"), (condition, left, right)
    stc = mne.read_source_estimate(folder / "mean", subject="sample")
    np.testing.assert_allclose(stc.data.max(axis=1), amplitude, rtol=1e-5)
    assert stc.times[0] == pytest.approx(estimate.problem.times[0], abs=1e-6)
    std = mne.read_source_estimate(folder / "std", subject="sample")
    assert std.data.shape == stc.data.shape
    assert (std.data > 0).all()


@pytest.mark.parametrize(
    "condition",
    [c if c == "Left visual" else pytest.param(c, marks=pytest.mark.slow) for c in WHERE],
)
def test_localize_finds_the_side(esijax, data_dir, tmp_path, condition):
    code, out, err = localize(esijax, data_dir, "oct5", tmp_path / "out", condition)
    assert (code, err) == (0, "")
    check_side(tmp_path / "out", condition)
    assert f"peak: {WHERE[condition][2]} (" in out
    shown = [line for line in out.splitlines() if line[:1] not in ("[", " ")]
    assert shown[0].startswith("RED: Do not believe this map yet")  # a covariance below 40 Hz
    assert "explained variance" in out
    written = {p.name for p in (tmp_path / "out").iterdir()}
    stcs = {f"{what}-{hemi}.stc" for what in ("mean", "std") for hemi in ("lh", "rh")}
    others = {"estimate.npz", "map.png", "places.csv", "report.html", "localize.log"}
    assert written == others | stcs
    assert condition in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_localize_opens_with_a_verdict_and_proposes_a_window(data_dir):
    """A covariance of another band: red, with what to do in options; the response is found."""
    import warnings

    from esijax.app.console import console
    from esijax.app.localize import (
        Wanted,
        _head,
        _problem_of,
        _read_response,
        _trust_lines,
        _windowed,
    )
    from esijax.registry import METHODS

    wanted = Wanted(
        data_dir / "audvis-ave.fif.gz",
        forward=data_dir / "audvis-oct5-fwd.fif",
        noise_cov=data_dir / "audvis-cov.fif",
        condition="Right Auditory",
        picks=("grad",),
        bads=("MEG 2443",),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ej.EsijaxWarning)
        response = _read_response(wanted)
        head = _head(wanted.forward, response, console())
        whole = _problem_of(wanted, response, head, console())
        problem = _windowed(whole, wanted.window)
        estimate = METHODS["MNE"].make(1 / 9).solve(problem)
    low, high = 1e3 * problem.times[[0, -1]]
    assert 60 < low < 90 < high < 120
    assert f"window: {low:.0f} to {high:.0f} ms, proposed" in problem.labels.notes[-1]
    first = _trust_lines(estimate.trust())[0]
    assert first.startswith("RED: Do not believe this map yet: before time zero")
    assert "another band" in first
    assert "--noise-time auto" in first
    chosen = _windowed(whole, (0.1, None))
    assert chosen.times[0] >= 0.1 - 1e-9
    assert not any("proposed" in note for note in chosen.labels.notes)


@pytest.mark.slow
@pytest.mark.parametrize("condition", WHERE)
def test_localize_finds_the_side_on_the_fine_grid(esijax, data_dir, tmp_path, condition):
    code, _, err = localize(esijax, data_dir, "oct6", tmp_path / "out", condition)
    assert (code, err) == (0, "")
    check_side(tmp_path / "out", condition)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ("--method", "eLORETA", "--loose", "0", "--depth", "none"),
        ("--method", "MNE", "--lambda2", "evidence"),
        ("--method", "LCMV"),
        ("--method", "sLORETA", "--lambda2", "1/4", "--no-baseline"),
    ],
)
def test_localize_with_other_choices(esijax, data_dir, tmp_path, more):
    code, _, err = localize(esijax, data_dir, "oct5", tmp_path / "out", "Right visual", *more)
    assert (code, err) == (0, "")
    assert np.isfinite(np.asarray(ej.load(tmp_path / "out" / "estimate.npz").mean)).all()


@pytest.mark.slow
def test_localize_on_the_template_head(esijax, evokeds, tmp_path):
    """EEG with 10-05 names and nothing else: no forward, no covariance."""
    import mne

    evoked = evokeds["Right visual"].copy().pick("eeg", exclude="bads")
    standard = mne.channels.make_standard_montage("biosemi64").ch_names
    evoked.rename_channels(dict(zip(evoked.ch_names, standard, strict=False)))
    evoked.save(tmp_path / "eeg-ave.fif", verbose="ERROR")
    code, out, err = esijax("localize", tmp_path / "eeg-ave.fif", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "template head for 59 EEG channels" in out
    assert "MNI305" in out
    assert "before time zero" in out
    assert "note:" in out  # fewer than 64 channels
    estimate = ej.load(tmp_path / "out" / "estimate.npz")
    assert estimate.problem.n_locations == 2052
    assert np.isfinite(np.asarray(estimate.mean)).all()


@pytest.mark.slow
def test_benchmark_writes_its_tables(esijax, data_dir, tmp_path):
    fwd = data_dir / "audvis-oct5-fwd.fif"
    arguments = ["--evoked", data_dir / "audvis-ave.fif.gz", "--noise-cov",
                 data_dir / "audvis-cov.fif", "--forward", fwd, "--truth-forward", fwd, *BADS,
                 "--seeds", 2, "--scenarios", "focal,CaliBrain 5, alpha 0.5",
                 "--methods", "MNE,LCMV", "--peers", "mne", "--out", tmp_path]  # fmt: skip
    code, out, err = esijax("benchmark", *arguments)
    assert code == 0, err
    assert "peak error (mm)" in out
    rows = (tmp_path / "results.csv").read_text().splitlines()
    for method in ("MNE", "LCMV", "mne: dSPM", "mne: MxNE"):
        for scenario in ("focal", '"CaliBrain 5, alpha 0.5"'):
            assert any(row.startswith(f"{scenario},{method},1,peak_error_mm") for row in rows)
    assert "<table" in (tmp_path / "benchmark.html").read_text()
    assert esijax("benchmark", *arguments)[1] == out  # all cells are there already


# ------------------------------------------------------------------ mistakes
@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["localize", "{data}/nothing-ave.fif"], "nothing-ave.fif: no such file"),
        (["localize", "{ave}"], "4 conditions, name one of"),
        (["localize", "{ave}", "--condition", "Left Smell"], "no condition 'Left Smell'"),
        (["localize", "{ave}", "--condition", "7"], "there is no 7"),
        (["localize", "{ave}", "--condition", "0"], "--forward is needed"),
        (["localize", "{ave}", "--lambda2", "big"], "--lambda2 takes a number"),
        (["localize", "{ave}", "--lambda2", "1/0"], "--lambda2 takes a number"),
        (["localize", "{ave}", "--lambda2", "-1"], "lambda2"),
        (["localize", "{ave}", "--lambda2", "nan"], "--lambda2 takes a number"),
        (["localize", "{ave}", "--loose", "wide"], "--loose takes a number or auto"),
        (["localize", "{ave}", "--loose", "surface=0.2,deep=1", "--condition", "0", "--forward",
          "{fwd}"], "loose must have the keys ['surface'], got ['surface', 'deep']"),
        (["localize", "{ave}", "--depth", "deep"], "--depth takes a number or none or exp="),
        (["localize", "{ave}", "--depth", "exp=1,deep=2", "--condition", "0", "--forward", "{fwd}"],
         "depth does not know ['deep']"),
        (["localize", "{ave}", "--rank", "72"], "--rank takes none, info, full or meg=72,eeg=58"),
        (["localize", "{ave}", "--rank", "meg=999", "--condition", "0", "--forward", "{fwd}",
          "--noise-cov", "{cov}"], "rank of meg is set to 999"),
        (["localize", "{ave}", "--picks", "ecg", "--condition", "0", "--forward", "{fwd}"],
         "--picks: 'ecg' is neither a channel nor a channel type"),
        (["localize", "{ave}", "--nave", "0", "--condition", "0", "--forward", "{fwd}"], "nave"),
        (["localize", "{ave}", "--method", "magic"], "magic"),
        (["localize", "{ave}", "--condition", "0", "--bads", "MEG 0"], "MEG 0"),
        (["localize", "{ave}", "--condition", "0", "--forward", "{cut}"], "cut-fwd.fif"),
        (["localize", "{ave}", "--condition", "0", "--forward", "{ave}"], "audvis-ave.fif.gz"),
        (["localize", "{ave}", "--condition", "0", "--forward", "{none}"], "none-fwd.fif"),
        (["localize", "{ave}", "--condition", "0", "--forward", "{fwd}", "--noise-cov", "{none}"],
         "none-fwd.fif: no such file"),
        (["localize", "{ave}", "--condition", "0", "--forward", "{fwd}", "--noise-cov", "{cov}",
          "--tmin", "0.9"], "--tmin 0.9 --tmax None: the data go from -0.200 to 0.499 s"),
        (["localize", "{ave}", "--condition", "0", "--forward", "{fwd}", "--noise-cov", "{cov}",
          "--tmin", "0.2", "--tmax", "0.1"], "--tmin 0.2 --tmax 0.1"),
        (["localize", "{ave}", "--condition", "0", "--forward", "{fwd}", "--noise-cov", "{cov}",
          "--loose", "2"], "loose"),
        (["localize", "{ave}", "--out", "{cov}"], "audvis-cov.fif is not a folder"),
        (["localize"], "EVOKED"),
        (["localize", "{ave}", "--colour", "red"], "--colour"),
        (["demo", "--seed", "none"], "--seed"),
        (["benchmark", "--seeds", "0"], "--seeds must be at least 1"),
        (["benchmark", "--scenarios", "nowhere"], "no scenario 'nowhere'"),
        (["benchmark", "--methods", "magic"], "no method 'magic'"),
        (["benchmark", "--forward", "{fwd}"], "give --evoked as well"),
        (["benchmark", "--out", "{cov}"], "--out"),
        (["benchmark", "--evoked", "{ave}", "--forward", "{fwd}", "--truth-forward", "{fwd}",
          "--noise-cov", "{cov}", "--bem", "{cov}"], "--bem"),
        (["train", "{none}"], "none-fwd.fif cannot be read as TOML"),
        (["invert"], "invert"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value[-2:]),
)  # fmt: skip
@pytest.mark.usefixtures("read_once")
def test_mistakes_are_one_line(esijax, data_dir, tmp_path, monkeypatch, arguments, culprit):
    monkeypatch.chdir(tmp_path)
    cut = tmp_path / "cut-fwd.fif"
    whole = data_dir / "audvis-oct5-fwd.fif"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    names = {
        "data": data_dir, "ave": data_dir / "audvis-ave.fif.gz", "cov": data_dir / "audvis-cov.fif",
        "fwd": whole, "cut": cut, "none": tmp_path / "none-fwd.fif",
    }  # fmt: skip
    code, out, err = esijax(*(a.format(**names) for a in arguments))
    assert code == 2, out
    assert err.startswith("esijax: ")
    assert err.count("\n") == 1
    assert culprit in err
    assert "Traceback" not in out + err
    assert [p.name for p in tmp_path.iterdir()] == ["cut-fwd.fif"]  # nothing half-written


@pytest.mark.slow
def test_debug_shows_the_traceback(tmp_path):
    plain = command("localize", tmp_path / "no-ave.fif")
    assert plain.returncode == 2
    assert plain.stderr.count("\n") == 1
    debug = command("localize", tmp_path / "no-ave.fif", "--debug")
    assert debug.returncode not in (0, 2)
    assert "Traceback" in debug.stderr
    assert "readers.py" in debug.stderr
    assert debug.stderr.splitlines()[-1].endswith("no-ave.fif: no such file.")


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED.exists(), reason="not installed as a command")
def test_command_is_installed():
    done = subprocess.run([INSTALLED, "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == ej.__version__


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["smoothing", "fista", "mlp"])
def test_train_writes_weights(esijax, tmp_path, kind):
    """A task file in, weights out for their method; an earlier training is not overwritten."""
    task, out = tmp_path / "task.toml", tmp_path / "run"
    task.write_text(
        f'[network]\nkind = "{kind}"\n[training]\nsteps = 2\nbatch = 2\nheld_out = 2\n'
        '[heads]\nmontage = "biosemi32"\nfiner = "ico3"\nchannels = [12]\nwrong = 0\n'
        "[sources]\npatches = [1]\nflat = 0\ndipoles = 0\n[calibration]\nscenarios = []\n"
    )
    code, _, err = esijax("train", task, "--out", out)
    assert code == 0, err
    trained = ej.learn.load(out / "weights.npz")
    assert trained.about["task"]["heads"]["channels"] == [12]
    (ej.inference.Direct if kind == "mlp" else ej.inference.Unrolled)(trained)
    code, _, err = esijax("train", task, "--out", out)
    assert code == 2
    assert "--resume" in err
    assert esijax("train", task, "--out", out, "--resume")[0] == 0
