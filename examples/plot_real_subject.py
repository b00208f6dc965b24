"""
A real subject: four conditions, three noise normalisations, their uncertainty
==============================================================================

Auditory and visual responses of one subject, recorded with 306 MEG and 60 EEG channels. Each
condition is reconstructed as a minimum norm estimate and its dSPM and sLORETA normalisations.
The uncertainty at the peak tells what a map alone hides.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# The data: MNE's sample subject; where its files are not found, a simulated stand-in.

subject = ej.io.sample_subject()
print(subject.about)
windows = {
    "Left Auditory": (0.07, 0.11),
    "Right Auditory": (0.08, 0.10),
    "Left visual": (0.11, 0.13),
    "Right visual": (0.08, 0.11),
}

# %%
# One problem per condition, three maps of each. The posterior's standard deviation is divided by
# the same factor as the mean, so that their ratio does not depend on the normalisation's units.

figure, axes = plt.subplots(4, 3, figsize=(11, 9), layout="constrained", sharex="row")
for row, (condition, window) in zip(axes, windows.items(), strict=True):
    evoked = subject.evoked(condition, *window)
    problem = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.2, depth=0.8)
    n_left = len(problem.labels.vertices[0])
    for ax, norm in zip(row, (None, "dSPM", "sLORETA"), strict=True):
        estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear(norm))
        amplitude = np.linalg.norm(np.asarray(estimate.mean), axis=1).max(axis=1)
        factor, unit = (1e9, "nA m") if norm is None else (1.0, norm)
        for name, part in (("left", slice(n_left)), ("right", slice(n_left, None))):
            best = int(np.argmax(amplitude[part])) + (part.start or 0)
            course = estimate.label([best], mode="mean")
            line = ax.plot(1e3 * course.times, factor * course.mean, label=name)[0]
            ax.fill_between(
                1e3 * course.times, factor * course.lower, factor * course.upper,
                color=line.get_color(), alpha=0.2, lw=0,
            )  # fmt: skip
        side = "left" if amplitude[:n_left].max() > amplitude[n_left:].max() else "right"
        ax.set(title=f"{condition}: {unit}, {side} peak", xlabel="time (ms)")
    row[0].legend(frameon=False, fontsize=8)
figure.suptitle("Time courses at the peak of each hemisphere, 90 % credible bands")
plt.show()

# %%
# Each curve is the component along the normal at the strongest place of a hemisphere. Rows differ
# in who answered, columns in the unit and in the place that the normalisation calls the
# strongest; the ratio of curve and band at one place is the same in all three.
