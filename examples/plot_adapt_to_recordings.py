"""
Adaptation to recordings without truth
======================================

Weights that were trained on simulations meet real noise and a real head. `ej.learn.adapt` lets the
lengths of the steps and the last layer move until channels that are held out are predicted better
from the others; nobody needs to know the sources. Channels that no step has seen decide whether the
new weights are kept.
"""

import warnings

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# Three responses of MNE's sample subject whose side is known, by EEG; where its files are not
# found, of a simulated stand-in.

subject = ej.io.sample_subject()
print(subject.about)
windows = {
    "Right Auditory": (0.08, 0.10, "left"),
    "Left visual": (0.11, 0.13, "right"),
    "Right visual": (0.08, 0.11, "left"),
}
problems = {}
for condition, (tmin, tmax, _) in windows.items():
    evoked = subject.evoked(condition, tmin, tmax)
    problems[condition] = ej.from_mne(evoked, subject.forward, subject.noise_cov, picks="eeg")

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
        dots = ax.scatter(
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
figure.colorbar(dots, ax=axes, shrink=0.6, label="amplitude, share of the largest")
figure.suptitle("Learned variances, before and after adaptation, from above")
plt.show()

# %%
# Above the maps before adaptation, below those after it. Look at the side of the strongest place
# against the side that is named, and at the ratio under each map: what is not explained stays
# larger than the noise, and no adaptation can change that.
