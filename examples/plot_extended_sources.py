"""
Extended sources: patches with borders, by total variation and SISSY
====================================================================

A mixed norm sees a patch of cortex as a few points, a minimum norm map as a cloud. Total variation
charges for borders (VB-SCCD), SISSY for borders and for every active location: their maps are
patches. The certificate is a duality gap, as for the mixed norm.
"""

import os
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# The head and the noise of MNE's sample subject (the folder ``sample`` where ESIJAX_DATA points).
# On the left hemisphere a patch of 15 mm radius is active with one course; then the measured
# response to a flash in the right visual field.

data = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
forward = ej.io.read_forward(data / "audvis-oct5-fwd.fif")
noise_cov = ej.io.read_noise_cov(data / "audvis-cov.fif")
evoked = ej.io.read_evoked(data / "audvis-ave.fif.gz", "Right visual")
evoked.info["bads"] = ["MEG 2443", "EEG 053"]
evoked.apply_baseline((None, 0)).crop(0.08, 0.11)
measured = ej.from_mne(evoked, forward, noise_cov, loose=0.0)
places = 1e3 * np.asarray(measured.geometry.positions)
n_left = len(measured.labels.vertices[0])

seed = int(np.argmin(np.linalg.norm(places[:n_left] - [-55, 0, 60], axis=1)))
patch = np.linalg.norm(places - places[seed], axis=1) < 15
patch[n_left:] = False
moment = 10.0 * patch[:, None] * np.hanning(measured.n_times)  # nA m at each location
noise = np.random.default_rng(0).standard_normal(measured.data.shape)
white = np.asarray(measured.gain[..., 0]) @ moment + noise
simulated = measured.with_data(np.asarray(measured.whitener.colorer) @ white)

# %%
# Four maps of each. Alpha of SISSY and TV is a share of a generous bound on alpha_max; to look at a
# map a gap of a thousandth of the objective is plenty. What total variation finds of the patch
# lies within it, with a sharp border; the measured response is as focal as MxNE has it.

answers = {
    "minimum norm": (ej.models.MinimumNorm("evidence"), ej.inference.Linear()),
    "MxNE": (ej.models.L21(ej.relative(0.3)), ej.inference.MAP()),
    "SISSY": (ej.models.SISSY(ej.relative(0.003), ratio=0.3), ej.inference.MAP(tol=1e-3)),
    "TV": (ej.models.TV(ej.relative(0.01)), ej.inference.MAP(tol=1e-3)),
}
figure, axes = plt.subplots(2, 5, figsize=(16, 5.2), layout="constrained")


def draw(ax, strength, title):
    """Look at the left hemisphere from the left, and at the right one through it."""
    for side, marker in ((slice(n_left, None), "s"), (slice(0, n_left), "o")):
        ax.scatter(
            places[side, 1], places[side, 2], c=strength[side] / max(strength.max(), 1e-12),
            s=9, cmap="magma_r", vmin=0, vmax=1, marker=marker, linewidths=0,
        )  # fmt: skip
    ax.set(title=title, aspect="equal", xticks=[], yticks=[])


draw(axes[0, 0], patch.astype(float), f"truth: {patch.sum()} locations")
axes[1, 0].axis("off")
for row, (name, problem) in zip(
    axes, {"simulated": simulated, "measured": measured}.items(), strict=True
):
    for ax, (how, (model, method)) in zip(row[1:], answers.items(), strict=True):
        estimate = ej.solve(problem, model, method)
        strength = np.linalg.norm(estimate.mean[:, 0], axis=1)
        strong = strength > 0.5 * strength.max()
        said = f"{how}: {strong.sum()} above half"
        if name == "simulated":
            said += f", {(strong & patch).sum()} true"
        draw(ax, strength, said)
        side = "left" if strength[:n_left].max() > strength[n_left:].max() else "right"
        gap = estimate.verdict().get("relative_gap")
        print(f"{name}, {said}; strongest {side}" + ("" if gap is None else f", gap {gap:.0e}"))
figure.suptitle("A simulated patch (above) and a measured visual response, from the left")
plt.show()
