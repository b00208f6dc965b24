"""Every example runs from top to bottom, without a warning, and ends in a picture.

With ESIJAX_EXAMPLE_PICTURES=docs/pictures the pictures that the site keeps are made anew.
"""

import contextlib
import os
import re
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from PIL import Image

# samplers and searches, twenty seconds and more
SLOW = {
    "plot_head_without_mri",
    "plot_learned_penalty",
    "plot_new_prior",
    "plot_noise_in_time",
    "plot_temporal_basis",
    "plot_one_prior_five_inferences",
    "plot_simulate",
    "plot_skull_conductivity",
    "plot_sparse_sources",
    "plot_time_frequency_sources",
    "plot_bad_channel",
    "plot_choose_lambda2",
    "plot_real_subject",
    "plot_template_head",
    "plot_choose_alpha",
    "plot_extended_sources",
    "plot_what_a_point_estimate_hides",
    "plot_what_a_sparse_map_sees",
    "plot_unrolled_variances",
    "plot_train_variances",
    "plot_adapt_to_recordings",
    "plot_amortised_posterior",
    "plot_waves",
}
EXAMPLES_ALL = sorted((Path(__file__).parents[1] / "examples").glob("plot_*.py"))
EXAMPLES = [
    pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in SLOW else ())
    for path in EXAMPLES_ALL
]


def keep(figures, name, folder):
    """Write pictures in few colours: the site keeps them."""
    for number, figure in enumerate(figures, 1):
        path = folder / (f"{name}.png" if number == 1 else f"{name}-{number}.png")
        figure.savefig(path, dpi=80)
        with Image.open(path) as image:
            few = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
            few.save(path, optimize=True)


@pytest.fixture
def subject(request, monkeypatch):
    """The measured subject where it is; examples stand in for it else."""
    with contextlib.suppress(pytest.skip.Exception):
        monkeypatch.setenv("ESIJAX_DATA", str(request.getfixturevalue("data_dir").parent))


@pytest.mark.parametrize("path", EXAMPLES)
def test_example_runs_and_draws(path, monkeypatch, subject):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.extend(map(plt.figure, plt.get_fignums())))
    folder = os.environ.get("ESIJAX_EXAMPLE_PICTURES")
    runpy.run_path(str(path), run_name="__main__")
    assert shown
    for figure in shown:
        figure.canvas.draw()
        assert figure.axes
    if folder:
        keep(shown, path.stem, Path(folder))
    plt.close("all")


@pytest.mark.parametrize("path", EXAMPLES_ALL, ids=lambda p: p.stem)
def test_example_says_what_to_see(path):
    """The last words stand under the picture; colour bars have labels."""
    last = path.read_text().split("# %%\n")[-1].strip()
    assert all(line.startswith("#") for line in last.splitlines()), "no words under the picture"
    assert len(last) > 60
    for call in re.findall(r"colorbar\(([^\n]*)\)", path.read_text()):
        assert "label=" in call


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES_ALL, ids=lambda p: p.stem)
def test_example_runs_without_data(path, monkeypatch, tmp_path):
    """On the stand-in, which its first line names."""
    if "sample_subject" not in path.read_text():
        pytest.skip("needs no subject")
    monkeypatch.setenv("ESIJAX_DATA", str(tmp_path))
    monkeypatch.setattr(plt, "show", lambda: None)
    runpy.run_path(str(path), run_name="__main__")
    plt.close("all")
