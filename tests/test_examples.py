"""Every example runs from top to bottom, without a warning, and ends in a picture."""

import os
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

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
EXAMPLES = [
    pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in SLOW else ())
    for path in sorted((Path(__file__).parents[1] / "examples").glob("plot_*.py"))
]


@pytest.mark.parametrize("path", EXAMPLES)
def test_example_runs_and_draws(path, monkeypatch, request):
    if "ESIJAX_DATA" in path.read_text():
        monkeypatch.setenv("ESIJAX_DATA", str(request.getfixturevalue("data_dir").parent))
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    folder = os.environ.get("ESIJAX_EXAMPLE_PICTURES")
    runpy.run_path(str(path), run_name="__main__")
    assert len(shown) == 1
    figure = shown[0]
    figure.canvas.draw()
    assert figure.axes
    if folder:
        figure.savefig(Path(folder) / f"{path.stem}.png", dpi=80)
    plt.close("all")
