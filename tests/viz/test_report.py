"""The report: one file that stands alone, says what was done and opens in a browser."""

import dataclasses
import html
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import esijax as ej

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --virtual-time-budget=8000 "
    "--enable-logging=stderr --v=0"
).split()
NOTE = "a note with <b>marks</b> & an ampersand"


@pytest.fixture(scope="module")
def estimate(evoked, forward, noise_cov):
    """Minimum norm of one real response, with a note that needs escaping."""
    problem = ej.from_mne(evoked, forward, noise_cov)
    solved = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear("dSPM"))
    return dataclasses.replace(solved, notes=(*solved.notes, NOTE))


@pytest.fixture(scope="module")
def path(estimate, tmp_path_factory):
    tables = {"Scores <of> it": [{"what": "x & y", "value": 3}]}
    folder = tmp_path_factory.mktemp("report")
    written = ej.report(estimate, folder / "map.html", tables=tables)
    assert [p.name for p in folder.iterdir()] == ["map.html"]
    return written


@pytest.fixture(scope="module")
def text(path):
    return path.read_text(encoding="utf-8")


def outer(text):
    """The page without the documents inside its frames."""
    return re.sub(r'srcdoc="[^"]*"', "", text)


def frames(text):
    return [html.unescape(f) for f in re.findall(r'srcdoc="([^"]*)"', text)]


def test_stands_alone(text):
    """Nothing is loaded from elsewhere, in the page or in its frame."""
    for page in (outer(text), *frames(text)):
        loads = re.findall(r"<(?:script|link|img|iframe|video|embed)\b[^>]*>", page)
        sources = [s for tag in loads for s in re.findall(r'\b(?:src|href)\s*=\s*"([^"]*)', tag)]
        assert all(s.startswith("data:") for s in sources), sources
        assert not re.search(r"@import\s+(url\()?[\"']?http", page)
    links = set(re.findall(r'<a\b[^>]*href="(http[^"]*)"', outer(text)))
    assert links <= {"https://mne.tools", "https://mne.tools/"}


def test_says_what_was_done(text, estimate):
    page = outer(text)
    for expected in (
        "Right visual", "MinimumNorm", "dSPM", "203 grad", "102 mag", "59 eeg", "1996 locations",
        "85 to 103 ms, 12 samples", "explained variance", "log-evidence", "float64", "lambda2",
        str(estimate.problem.rank), f"esijax {ej.__version__}",
    ):  # fmt: skip
        assert expected in page, expected
    headings = (
        "What was done",
        "Places",
        "Data",
        "Time courses at the peaks",
        "Source maps",
        "Diagnostics",
    )
    for heading in (*headings, "Source maps to turn"):
        assert f">{heading}<" in re.sub(r">\s+|\s+<", lambda m: m[0].strip(), page), heading


def test_places_say_why_they_have_no_names(text):
    """The sample subject comes without a transform to MNI: head coordinates, and the reason."""
    page = outer(text)
    assert "head (mm)" in page
    assert "MNI305" not in page
    assert "no MNI coordinates and no regions: no folder of subjects is given" in page


def test_opens_with_the_verdict(text, estimate):
    """The sentence and the light, in words beside the colour, before anything else; each check."""
    page, trust = outer(text), estimate.trust()
    start = page.index('<div role="status"')
    assert start < page.index("MinimumNorm")
    assert html.escape(trust.sentence) in page[start : start + 1500]
    assert re.search(rf"[✔▲✖] {trust.light}</strong>", page[start : start + 500])
    for check in trust.checks:
        assert f"<td>{html.escape(check.meaning)}</td>" in page
        assert f"<td>{html.escape(check.advice or '-')}</td>" in page


def test_text_is_escaped(text):
    assert html.escape(NOTE) in text
    assert NOTE not in text
    assert "x &amp; y" in text
    assert "<of>" not in outer(text)


def test_maps_are_three_rows_of_four_views(estimate):
    import matplotlib.pyplot as plt

    from esijax.viz.maps import maps_of, plot_map
    from esijax.viz.summary import summarise

    figure = plot_map(estimate)
    panels = [a.get_label() for a in figure.axes if ": " in a.get_label()]
    assert len(panels) == 12
    assert {p.split(": ")[0] for p in panels} == {"posterior mean", "posterior SD", "Pr(exceeds)"}
    maps = maps_of(estimate, summarise(estimate))
    assert maps["posterior SD"].threshold is None
    assert maps["posterior mean"].threshold > 0
    assert maps["Pr(exceeds)"].limits == (0.0, 1.0)
    plt.close(figure)


def test_exceedance_at_the_peak_is_that_of_the_estimate(estimate):
    from esijax.viz.maps import exceedance_at

    whole = np.asarray(estimate.exceedance(2.0, along="mean"))
    np.testing.assert_allclose(exceedance_at(estimate, 2.0, 5), whole[:, 5], atol=1e-12)


def test_time_is_chosen(estimate):
    from esijax.viz.summary import summarise

    times = estimate.problem.times
    assert summarise(estimate, float(times[3])).peak_time == 3
    with pytest.raises(ej.InputError, match=r"time 0\.5 s is outside 0\.085 to 0\.103 s"):
        summarise(estimate, 0.5)


def test_bad_requests_leave_no_file(estimate, tmp_path):
    with pytest.raises(ej.InputError, match="time 3"):
        ej.report(estimate, tmp_path / "r.html", time=3.0)
    gain = np.random.default_rng(0).standard_normal((4, 6))
    problem = ej.from_arrays(gain, gain[:, :2], noise_cov=0.1)
    solved = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    with pytest.raises(ej.InputError, match="positions"):
        ej.report(solved, tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_arrays_with_positions_are_enough(free, tmp_path):
    """No mesh, no channel types that MNE knows, no anatomy: projections instead of a cortex."""
    solved = ej.solve(free, ej.models.MinimumNorm(), ej.inference.Linear())
    page = ej.report(solved, tmp_path / "r.html", title="mine <3").read_text(encoding="utf-8")
    assert "mine &lt;3" in page
    assert "seen from" in frames(page)[0]
    assert "hemisphere" not in frames(page)[0]
    assert "20 locations x 3 orientations" in page


@pytest.mark.slow
def test_single_trials(trials, tmp_path):
    solved = ej.solve(trials, ej.models.MinimumNorm(), ej.inference.Linear())
    page = ej.report(solved, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Time courses at the peaks" in page


def test_beamformer_has_no_diagnostics(evoked, forward, noise_cov, tmp_path):
    """A method that models no data still has a report."""
    problem = ej.from_mne(evoked, forward, noise_cov)
    solved = ej.solve(problem, None, ej.inference.LCMV())
    page = ej.report(solved, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Diagnostics" not in page
    assert "log-evidence" not in page


@pytest.mark.slow
def test_volume_is_shown_on_slices(evoked, noise_cov, data_dir, tmp_path):
    import matplotlib.pyplot as plt
    import mne

    from esijax.viz.maps import plot_map

    with mne.utils.use_log_level("ERROR"):
        sphere = mne.make_sphere_model((0.0, 0.0, 0.04), 0.12)
        src = mne.setup_volume_source_space(pos=20.0, sphere=(0.0, 0.0, 0.04, 0.06))
        trans = data_dir / "head-mri-trans.fif"
        volume = mne.make_forward_solution(evoked.info, trans, src, sphere, meg=False)
    problem = ej.from_mne(evoked.copy().pick("eeg"), volume, noise_cov)
    solved = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    figure = plot_map(solved)
    bars = [
        a.get_label() for a in figure.axes if a.get_label() in ("posterior mean", "posterior SD")
    ]
    assert len(bars) == 2
    plt.close(figure)
    page = ej.report(solved, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "hemisphere" not in frames(page)[0]


PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  const frame = document.querySelector("iframe[srcdoc]"), box = frame.getBoundingClientRect();
  const inner = frame.contentDocument.documentElement;
  console.log(`PROBE ${box.top} ${box.bottom} ${inner.scrollHeight} ${inner.scrollWidth} END`);
}, 3000));</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_opens_in_a_browser(text, tmp_path):
    """No script fails, the frame fits, and the cortex to turn shows colours on grey."""
    from matplotlib.image import imread

    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    start, _, end = text.rpartition("</body>")
    page.write_text(start + PROBE + end, encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=1300,3600", f"--screenshot={shot}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    wrong = r"Uncaught|\w+Error\b|ERROR:CONSOLE|Invalid color"
    assert not [line for line in console if re.search(wrong, line)]
    (probe,) = [line for line in console if "PROBE" in line]
    numbers = re.search(r"PROBE (\S+) (\S+) (\S+) (\S+) END", probe).groups()
    top, bottom, height, width = (round(float(n)) for n in numbers)
    assert height <= bottom - top == 620
    assert width < 1300
    pixels = imread(shot)[..., :3]
    assert pixels.shape[:2] == (3600, 1300)
    assert 0.05 < (pixels.max(axis=-1) < 0.9).mean() < 0.95
    frame = pixels[top + 60 : bottom - 10, 400:1100]
    assert 0.15 < (frame.max(axis=-1) < 0.9).mean() < 0.95  # a brain on white
    assert (np.ptp(frame, axis=-1) > 0.3).mean() > 2e-3  # with colours on it
    assert (frame.max(axis=-1) < 0.05).mean() < 1e-3  # and nothing black


@pytest.mark.slow
def test_name_is_the_function_whatever_was_imported_before():
    code = "import esijax.app.localize, esijax.app.demo, esijax as ej; assert callable(ej.report)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
