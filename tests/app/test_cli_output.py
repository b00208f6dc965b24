"""What a command writes: whole, with the command in it, never mixed; and how it is stopped."""

import hashlib
import os
import shlex
import signal
import subprocess
import sys
import time

import mne
import numpy as np
import pytest
from test_cli import esijax as in_this_process

import esijax as ej
from esijax.app import output as _output
from esijax.estimate import RESULT

esijax = in_this_process
FILES = {"estimate.npz", "localize.log", "map.png", "mean-vl.stc", "report.html", "std-vl.stc"}


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Arguments of `localize` for 32 electrodes and 50 sources in a sphere, all made here."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    montage = mne.channels.make_standard_montage("biosemi32")
    info = mne.create_info(montage.ch_names, 100.0, "eeg")
    info.set_montage(montage)
    unit = rng.standard_normal((50, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    places = {"rr": [0, 0, 0.04] + 0.06 * unit * rng.uniform(0.4, 1, (50, 1)), "nn": unit}
    with mne.utils.use_log_level("ERROR"):
        sphere = mne.make_sphere_model((0.0, 0.0, 0.04), 0.1)
        src = mne.setup_volume_source_space(pos=places)
        trans = mne.transforms.Transform("head", "mri")
        forward = mne.make_forward_solution(info, trans, src, sphere, meg=False, mindist=0.0)
        data = 3e-8 * forward["sol"]["data"][:, :1] + 3e-7 * rng.standard_normal((32, 6))
        evoked = mne.EvokedArray(data, info, comment="a/b", nave=1)
        evoked.set_eeg_reference(projection=True).apply_proj()
        cov = mne.Covariance(9e-14 * np.eye(32), info["ch_names"], [], [], 1000)
        evoked.save(folder / "x-ave.fif")
        mne.write_forward_solution(folder / "x-fwd.fif", forward)
        cov.save(folder / "x-cov.fif")
    options = ["--forward", folder / "x-fwd.fif", "--noise-cov", folder / "x-cov.fif"]
    return ["localize", folder / "x-ave.fif", *options, "--method", "MNE"]


@pytest.fixture
def light(monkeypatch):
    """Pictures and pages are looked at elsewhere."""
    from esijax.app import localize as _localize

    def page(estimate, path):
        path.write_text("page")
        return path

    def picture(self, _figure, stem):
        path = self.folder / f"{stem}.png"
        path.write_bytes(b"picture")
        return path

    monkeypatch.setattr(_localize, "report", page)
    monkeypatch.setattr(_localize.maps, "plot_map", lambda _: None)
    monkeypatch.setattr(_output.Output, "picture", picture)


def listed(folder):
    """Digests that the log has."""
    text = (folder / "localize.log").read_text().partition("\nfiles:\n")[2]
    return {name: digest for digest, name in (row.split("  ") for row in text.splitlines())}


def told(folder):
    text = (folder / "localize.log").read_text()
    return dict(row.partition(": ")[::2] for row in text.splitlines() if ": " in row)


# ------------------------------------------------------------------ the command in every file
def test_every_file_holds_the_command(esijax, line, tmp_path):
    """The .stc format has no room for text: the digests of the log tie those files to it."""
    from PIL import Image

    out = tmp_path / "not yet" / "out <1>"
    code, said, err = esijax(*line, "--out", out)
    assert (code, err) == (0, "")
    command = shlex.join(["esijax", *map(str, line), "--out", str(out)])
    assert {p.name for p in out.iterdir()} == FILES
    assert told(out)["command"] == command
    assert told(out)["state"] == "done"
    assert told(out)["peak"]
    digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in out.iterdir()}
    del digests["localize.log"]
    assert listed(out) == digests
    assert ej.load(out / "estimate.npz").notes[-1] == f"command: {command}"
    assert Image.open(out / "map.png").text["Description"] == command
    page = (out / "report.html").read_text("utf-8")
    assert ">command</th>" in page
    assert command.replace("'", "&#x27;").replace("<", "&lt;").replace(">", "&gt;") in page
    assert "command:" not in said


# ------------------------------------------------------------------ whose folder it is
@pytest.fixture
def done(esijax, line, light, tmp_path):
    """A folder with results, and a file of the user's beside them."""
    out = tmp_path / "out"
    assert esijax(*line, "--out", out)[0] == 0
    (out / "thoughts.txt").write_text("mine")
    return out


def content(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_the_same_command_replaces_its_own(esijax, line, done):
    """Spelled in another order, with --debug and --overwrite or without."""
    for more in ([], ["--debug"], ["--overwrite"], ["--checkpoint", done.parent / "kept"]):
        (code, _, err) = esijax("localize", "--method", "MNE", *line[1:-2], "--out", done, *more)
        assert (code, err) == (0, "")
    assert {p.name for p in done.iterdir()} == FILES | {"thoughts.txt"}


def test_another_command_is_refused_before_it_reads(esijax, line, done):
    before = content(done)
    code, out, err = esijax(*line[:-2], "--method", "dSPM", "--out", done)
    assert (code, err.count("\n")) == (2, 1)
    assert f"--out {done} holds results of another command (esijax localize" in err
    assert err.strip().endswith("give another folder, or --overwrite.")
    assert "whitening" not in out
    assert content(done) == before


def test_overwrite_leaves_no_file_of_the_other_command(esijax, line, done):
    """A point estimate has no standard deviation: that of the run before would be taken for its."""
    code, _, _ = esijax(*line[:-2], "--method", "MxNE", "--out", done, "--overwrite")
    assert code == 0
    assert {p.name for p in done.iterdir()} == FILES - {"std-vl.stc"} | {"thoughts.txt"}
    assert (done / "thoughts.txt").read_text() == "mine"
    assert "MxNE" in told(done)["command"]


def test_what_was_changed_since_is_not_deleted(esijax, line, done):
    (done / "std-vl.stc").write_text("mine too")
    assert "std-vl.stc of other origin" in esijax(*line, "--out", done)[2]
    assert esijax(*line[:-2], "--method", "MxNE", "--out", done, "--overwrite")[0] == 0
    assert (done / "std-vl.stc").read_text() == "mine too"


@pytest.mark.parametrize("name", ["report.html", "mean-lh.stc", "settings.json", "localize.log"])
def test_files_of_others_are_refused(esijax, line, tmp_path, name):
    (tmp_path / name).write_text("{}")
    code, _, err = esijax(*line, "--out", tmp_path)
    assert code == 2
    assert f"holds {name} of other origin: give another folder, or --overwrite" in err
    assert content(tmp_path) == {name: b"{}"}


@pytest.mark.parametrize("command", ["demo", "benchmark"])
def test_demo_and_benchmark_do_not_mix_either(esijax, done, command):
    before = content(done)
    code, _, err = esijax(command, "--out", done)
    assert code == 2
    assert f"--out {done} holds" in err
    assert content(done) == before


def test_a_run_that_broke_off_is_begun_again(esijax, line, light, tmp_path, monkeypatch):
    """What broke in the middle of the writing is one line, and no reason to refuse the next run."""
    from esijax.app import localize as _localize

    good = _localize.report
    monkeypatch.setattr(_localize, "report", lambda *_: (_ for _ in ()).throw(MemoryError))
    code, _, err = esijax(*line, "--out", tmp_path)
    assert code == 2
    assert err == "esijax: MemoryError: no message (--debug shows where it comes from)\n"
    assert told(tmp_path)["state"] == "unfinished"
    monkeypatch.setattr(_localize, "report", good)
    assert esijax(*line, "--out", tmp_path)[0] == 0
    assert told(tmp_path)["state"] == "done"
    assert {p.name for p in tmp_path.iterdir()} == FILES


@pytest.mark.parametrize("command", ["localize", "demo", "benchmark", "--checkpoint"])
@pytest.mark.parametrize("kind", ["file", "below a file", "link", "read-only"])
def test_a_folder_that_cannot_be_written(esijax, line, tmp_path, monkeypatch, command, kind):
    """Found before anything is computed, and nothing is left."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    out = {"below a file": "file/below", "read-only": "new"}.get(kind, kind)
    if kind == "read-only":  # the tests may run as root, whom no permission stops
        refuse = PermissionError(13, "Permission denied")
        monkeypatch.setattr(
            "tempfile.TemporaryFile", lambda **_: (_ for _ in ()).throw(refuse), raising=True
        )
    arguments = {
        "localize": [*line, "--out", tmp_path / out],
        "--checkpoint": [*line, "--out", tmp_path / "fine", "--checkpoint", tmp_path / out],
    }.get(command, [command, "--out", tmp_path / out])
    code, said, err = esijax(*arguments)
    assert (code, said) == (2, "")
    option = "--out" if kind == "read-only" or command != "--checkpoint" else command
    assert err.startswith(f"esijax: {option} {tmp_path}")
    assert err.strip().endswith("folder.") or err.strip().endswith("another one.")
    assert {p.name for p in tmp_path.iterdir()} == {"file", "link"}


# ------------------------------------------------------------------ stopped and taken up again
@pytest.fixture
def in_steps(monkeypatch):
    """A method that takes a few steps even on the smallest problem."""
    from esijax import inference, models, registry

    def make(_lambda2):
        return registry.Recipe(models.ARD(), inference.EM("mm", tol=1e-9, accelerate=False))

    entry = registry.METHODS["Champagne"]._replace(make=make)
    monkeypatch.setitem(registry.METHODS, "Champagne", entry)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def stopping(monkeypatch, after, how):
    """Do `how` after some steps."""
    from tqdm.auto import tqdm

    steps = iter(range(10_000))

    def update(_self, _n=1):
        if next(steps) == after:
            how()

    monkeypatch.setattr(tqdm, "update", update)


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (interrupt, 130),
        (lambda: os.kill(os.getpid(), signal.SIGINT), 130),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 143),
    ],
    ids=["raised", "SIGINT", "SIGTERM"],
)
def test_what_was_computed_is_written(esijax, line, in_steps, light, out, monkeypatch, how, status):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    stopping(monkeypatch, 1, how)
    code, _, err = esijax(*line[:-2], "--method", "Champagne", "--out", out)
    assert code == status
    assert err.splitlines()[-1] == f"esijax: interrupted: what was computed until then is in {out}"
    assert {p.name for p in out.iterdir()} == FILES
    assert told(out)["state"].startswith("interrupted")
    loaded = ej.load(out / "estimate.npz")
    assert loaded.result == RESULT.interrupted
    assert np.isfinite(np.asarray(loaded.mean)).all()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_outside_the_solve_a_signal_ends_at_once(esijax, line, tmp_path, monkeypatch, number):
    from esijax import io

    monkeypatch.setattr(io, "read_evoked", lambda *_: os.kill(os.getpid(), number))
    code, _, err = esijax(*line, "--out", tmp_path / "out")
    assert (code, err) == (128 + number, "esijax: interrupted\n")
    assert not list(tmp_path.iterdir())


def test_a_second_signal_ends_at_once(esijax, line, in_steps, tmp_path, monkeypatch):
    from esijax.app import localize as _localize

    stopping(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    found = []

    def again(estimate, _told):
        found.append(RESULT[estimate.result])
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(_localize, "_summary_lines", again)
    code, _, err = esijax(*line[:-2], "--method", "Champagne", "--out", tmp_path / "out")
    assert code == 143
    assert found == [RESULT[RESULT.interrupted]]
    assert err.splitlines()[-1] == "esijax: interrupted"
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_taken_up(esijax, line, light, in_steps, tmp_path, monkeypatch):
    """Bitwise the answer of a run that nobody stopped."""
    way = [*line[:-2], "--method", "Champagne"]
    assert esijax(*way, "--out", tmp_path / "whole")[0] == 0
    kept = ["--checkpoint", tmp_path / "kept"]
    with monkeypatch.context() as patch:
        stopping(patch, 1, interrupt)
        assert esijax(*way, "--out", tmp_path / "half", *kept)[0] == 130
    assert [p.name for p in (tmp_path / "kept").iterdir()] == ["a%2Fb-Champagne.ckpt"]
    assert esijax(*way, "--out", tmp_path / "half", *kept)[0] == 0
    whole, half = (ej.load(tmp_path / n / "estimate.npz") for n in ("whole", "half"))
    np.testing.assert_array_equal(np.asarray(half.mean), np.asarray(whole.mean))
    assert told(tmp_path / "half")["state"] == told(tmp_path / "whole")["state"]


def test_names_of_checkpoints_differ_where_conditions_do():
    from esijax.app.localize import _file_name

    names = ["a/b", "a-b", "a%2Fb", "..", "", "Left visual", "é" * 200, "é" * 201, "\0", "a\nb"]
    made = [_file_name(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(len(m.encode()) <= 120 and not set(m) & set("/.\0\n") for m in made)
    assert _file_name("Left visual") == "Left visual"


@pytest.mark.slow
def test_a_start_that_is_stopped_is_what_there_is(esijax, line, light, tmp_path, monkeypatch):
    """Two solves, two files; the second begins only where the first was finished."""
    way = [*line[:-2], "--method", "patches-NUTS", "--checkpoint", tmp_path / "kept"]
    from esijax import inference, models, registry

    def make(_lambda2):
        start, method = inference.Laplace(num_maps=1), inference.NUTS(num_warmup=20, num_samples=20)
        prior = models.Components(components=models.components.IID())
        return registry.Recipe(prior, method, models.noise.Scalar(), start)

    entry = registry.METHODS["patches-NUTS"]._replace(make=make)
    monkeypatch.setitem(registry.METHODS, "patches-NUTS", entry)
    with monkeypatch.context() as patch:
        stopping(patch, 0, interrupt)
        code, _, err = esijax(*way, "--out", tmp_path / "out")
        assert code == 130, err
    assert ej.load(tmp_path / "out" / "estimate.npz").method == "Laplace"
    with monkeypatch.context() as patch:
        stopping(patch, 3, interrupt)
        assert esijax(*way, "--out", tmp_path / "out")[0] == 130
    names = sorted(p.name for p in (tmp_path / "kept").iterdir())
    assert names == ["a%2Fb-patches-NUTS.ckpt", "a%2Fb-patches-NUTS.start.ckpt"]


@pytest.mark.slow
def test_sigterm_to_a_process(line, tmp_path):
    """As a batch system sends it: results, one line, status 143; the next process goes on."""
    way = [sys.executable, "-m", "esijax.cli", *map(str, line[:-2])]
    way += ["--method", "irTF-MxNE", "--out", str(tmp_path / "out"), "--checkpoint", str(tmp_path)]
    running = subprocess.Popen(way, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    limit = time.monotonic() + 300
    while not list(tmp_path.glob("*.ckpt")) and time.monotonic() < limit:
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=300)
    assert running.returncode == 143, err
    assert err.splitlines()[-1].startswith("esijax: interrupted: what was computed until then is")
    assert told(tmp_path / "out")["state"].startswith("interrupted")
    again = subprocess.run(way, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr
    assert told(tmp_path / "out")["state"] == "done"
