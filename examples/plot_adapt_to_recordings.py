"""
Adaptation to recordings without truth
======================================

Weights that were trained on simulations meet real noise and a real head. `ej.learn.adapt` lets the
lengths of the steps and the last layer move until channels that are held out are predicted better
from the others; nobody needs to know the sources. Channels that no step has seen decide whether the
new weights are kept.
"""

import os
import warnings
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# Three responses of MNE's sample subject whose side is known, by EEG (the folder ``sample`` where
# ESIJAX_DATA points).

data = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
forward = ej.io.read_forward(data / "audvis-oct5-fwd.fif")
noise_cov = ej.io.read_noise_cov(data / "audvis-cov.fif")
windows = {
    "Right Auditory": (0.08, 0.10, "left"),
    "Left visual": (0.11, 0.13, "right"),
    "Right visual": (0.08, 0.11, "left"),
}
problems = {}
for condition, (tmin, tmax, _) in windows.items():
    evoked = ej.io.read_evoked(data / "audvis-ave.fif.gz", condition)
    evoked.info["bads"] = ["MEG 2443", "EEG 053"]
    evoked.apply_baseline((None, 0)).crop(tmin, tmax)
    problems[condition] = ej.from_mne(evoked, forward, noise_cov, picks="eeg")

# %%
# Forty steps on all three. The guard: log density of channels that no step has seen, given the
# others, for each dimension and sample.

adapted = ej.learn.adapt(None, list(problems.values()), key=0, steps=40, progress=False)
told = adapted.about["adapted"]
before, after = told["before"]["channels"], told["after"]["channels"]
print(f"kept: {told['kept']}, log density of unseen channels {before:.3f} -> {after:.3f}")

# %%
# Maps before and after. Real data are doubted: their residuals are larger than the noise covariance
# says, for the head is a model and the brain is never silent.

figure, axes = plt.subplots(2, 3, figsize=(11, 6.5), layout="constrained")
for row, (when, network) in zip(axes, {"before": None, "after": adapted}.items(), strict=True):
    for ax, (condition, problem) in zip(row, problems.items(), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ej.EsijaxWarning)  # the doubt, shown below
            estimate = ej.solve(problem, ej.models.ARD(), ej.inference.Unrolled(network))
        strength = np.linalg.norm(np.asarray(estimate.mean), axis=1).max(axis=1)
        places = 1e3 * np.asarray(problem.geometry.positions)
        order = np.argsort(strength)
        ax.scatter(
            places[order, 0], places[order, 1], c=strength[order] / strength.max(), s=7,
            cmap="magma_r", vmin=0, vmax=1, linewidths=0,
        )  # fmt: skip
        side = "left" if places[strength.argmax(), 0] < 0 else "right"
        ratio = estimate.verdict()["noise_ratio"]
        ax.set(
            title=f"{condition}: {side} (named: {windows[condition][2]})",
            xlabel=f"residuals have {ratio:.1f} times the variance of the noise",
            aspect="equal", xticks=[], yticks=[],
        )  # fmt: skip
        print(f"{when}, {condition}: strongest {side}, named {windows[condition][2]}")
    row[0].set_ylabel(when)
figure.suptitle("Learned variances, before and after adaptation, from above")
plt.show()
