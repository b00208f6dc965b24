"""
Sources that come and go: mixed norms of time-frequency atoms
=============================================================

A mixed norm over time (MxNE) switches a location on for the whole window: noise before the
stimulus leaks into its course. TF-MxNE writes each course as a few Gabor atoms, short oscillations
of a tight frame, and asks for few locations with few atoms each. Courses are then smooth, silent
where nothing happens, and sources may come and go. Its reweighted form (irTF-MxNE) needs fewer of
both, with less bias.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# The response of MNE's sample subject (or of its simulated stand-in) to a flash in the right
# visual field, from the baseline to a quarter of a second.

subject = ej.io.sample_subject()
print(subject.about)
evoked = subject.evoked("Right visual", -0.1, 0.25)
problem = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0)
n_left = len(problem.labels.vertices[0])

# %%
# Four sparse answers; alpha is such that each has about twenty sources. Windows of 32 samples are
# 53 ms long; an eighth of the penalty is on single atoms. Each answer is proved by a duality gap,
# and its amplitudes are debiased in a step of their own. What is left before the stimulus is noise:
# the atoms leave most of it out, and the slow late response keeps its shape.

mixed = ej.models.L21(ej.relative(0.45))
atoms = ej.models.TimeFrequency(ej.relative(0.3), l1_ratio=0.125, wsize=32, tstep=4)
answers = {
    "MxNE": (mixed, ej.inference.MAP()),
    "irMxNE": (mixed, ej.inference.Reweighted(10)),
    "TF-MxNE": (atoms, ej.inference.MAP()),
    "irTF-MxNE": (atoms, ej.inference.Reweighted(10)),
}
times = 1e3 * problem.times
figure, axes = plt.subplots(2, 4, figsize=(14, 6), layout="constrained")
places = 1e3 * np.asarray(problem.geometry.positions)
for name, (above, below) in zip(answers, axes.T, strict=True):
    estimate = ej.inference.debias(ej.solve(problem, *answers[name]))
    courses = 1e9 * np.asarray(estimate.mean[:, 0])
    strength = np.abs(courses).max(axis=1)
    active = np.flatnonzero(strength)
    for k in active:
        above.plot(times, courses[k], color="C0" if k < n_left else "C3", lw=1)
    above.axvline(0, color="0.7", lw=0.8, zorder=0)
    above.set(title=f"{name}: {len(active)} active", xlabel="time (ms)", ylim=(-40, 40))
    below.scatter(places[:, 0], places[:, 1], s=1, color="0.85")
    size = 200 * strength[active] / strength.max()
    colors = ["C0" if k < n_left else "C3" for k in active]
    below.scatter(places[active, 0], places[active, 1], s=size, c=colors, alpha=0.7)
    below.set(aspect="equal", xlabel="left - right (mm)")
    before = np.sqrt(np.mean(courses[active][:, times < 0] ** 2))
    proof = estimate.verdict()
    print(
        f"{name}: {len(active)} active, {before:.2f} nA m before the stimulus, peak "
        f"{strength.max():.1f}, explained {100 * proof['explained_variance']:.0f} %, relative gap "
        f"{proof['relative_gap']:.1e}"
    )
axes[0, 0].set_ylabel("nA m")
axes[1, 0].set_ylabel("back - front (mm)")
figure.suptitle("Right visual field: courses and places (from above); left blue, right red")
plt.show()

# %%
# Before the stimulus (grey line) the courses of MxNE carry noise; those of TF-MxNE are nearly
# silent there and smooth after it. The places below are much the same.
