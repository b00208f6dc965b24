"""
Sparse sources: mixed norms, their strength from the data, and what they hide
=============================================================================

A minimum norm map is spread over the cortex. The mixed norm (MxNE) asks for few active locations
that share one time course over a window, its reweighted form (irMxNE) for fewer still, with less
bias. How few is the weight alpha, and the data can choose it: by Stein's unbiased risk estimate
with exact degrees of freedom, or by predicting sensors that were left out.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# Three responses of MNE's sample subject (or of its simulated stand-in) whose side is known.

subject = ej.io.sample_subject()
print(subject.about)
windows = {
    "Right Auditory": (0.08, 0.10, "left"),
    "Left visual": (0.11, 0.13, "right"),
    "Right visual": (0.08, 0.11, "left"),
}
fractions = np.geomspace(0.9, 0.1, 10)

# %%
# One problem per condition. Alpha is chosen for each method by itself; what converged is proved by
# a duality gap, and the amplitudes are debiased in a step of their own.

figure, axes = plt.subplots(3, 2, figsize=(9, 8), layout="constrained", sharex="row")
for row, (condition, (tmin, tmax, side)) in zip(axes, windows.items(), strict=True):
    evoked = subject.evoked(condition, tmin, tmax)
    problem = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0)
    n_left = len(problem.labels.vertices[0])
    methods = {"MxNE": ej.inference.MAP(), "irMxNE": ej.inference.Reweighted(10)}
    for ax, (name, method) in zip(row, methods.items(), strict=True):
        penalty = ej.inference.select.by_cross_validation(
            problem, ej.models.L21(ej.relative(0.4)), method, fractions=fractions
        )
        estimate = ej.inference.debias(ej.solve(problem, penalty, method))
        proof = estimate.verdict()
        courses = 1e9 * np.asarray(estimate.mean[:, 0])
        strength = np.abs(courses).max(axis=1)
        active = np.flatnonzero(strength)
        for k in active:
            color = "C0" if k < n_left else "C3"
            ax.plot(1e3 * problem.times, courses[k], color=color, lw=1)
        found = "left" if np.argmax(strength) < n_left else "right"
        share = proof["alpha"] / proof["alpha_max"]
        ax.set(
            title=f"{condition}, {name}: {len(active)} active, strongest {found}",
            xlabel="time (ms)",
            ylabel="nA m",
        )
        ax.text(0.02, 0.02, f"alpha = {share:.2f} alpha_max", transform=ax.transAxes, fontsize=8)
        gap = proof["relative_gap"]
        print(f"{condition}, {name}: expected {side}, found {found}; relative gap {gap:.1e}")
figure.suptitle("Active sources by cross-validated alpha: left hemisphere blue, right red")
plt.show()

# %%
# Blue courses are in the left hemisphere, red ones in the right. irMxNE has fewer and larger
# courses than MxNE; the strongest is on the side that is named in each condition.
