"""
Waves that sources share
========================

An evoked response has many active places and few courses. ``Waves(k, time)`` learns k courses that
all sources are mixtures of, smooth in time, together with the map of each. How many there are is
read from a bound of the evidence.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# The data: MNE's sample subject, or its simulated stand-in. The noise of neighbouring samples
# goes together; the baseline says how. Means of two samples, 0 to 300 ms.

subject = ej.io.sample_subject()
print(subject.about)
evoked = subject.evoked("Right visual").pick("meg")
problem = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0, noise_time="auto")
window = problem.crop(0.0, 0.3).binned(2)

# %%
# 100 patches of cortex, each with a weight in each wave. `by_bound` solves for several numbers of
# waves; all of them share the variances of the patches, so that one too many lowers the bound.

time = ej.models.time.SquaredExponential()
patches = ej.models.Components(ej.models.components.Patches(100))
model = ej.models.TemporalBasis(patches, ej.models.Waves(1, time))
counts = ej.inference.select.by_bound(window, model, (1, 2, 4, 6, 8))
estimate = counts.estimate
print({k: round(v - counts.bounds[counts.k], 1) for k, v in counts.bounds.items()})
print(estimate.model, estimate.verdict()["iterations"], "rounds")
print("length:", round(1e3 * float(estimate.hyper["time/length"]), 1), "ms")

# %%
# The waves are determined up to a rotation: here they are independent of each other, the
# strongest first. Courses of places have bands that hold the doubt about both factors.

waves, std = np.asarray(estimate.hyper["waves"]), np.asarray(estimate.hyper["waves_std"])
times = 1e3 * window.times
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
ks = sorted(counts.bounds)
axes[0].plot(ks, [counts.bounds[k] for k in ks], "o-", color="k", ms=4)
axes[0].set(title="bound of the log evidence", xlabel="waves", ylabel="nats")
for i, (mean, band) in enumerate(zip(waves[:3], std[:3], strict=False)):
    axes[1].fill_between(times, mean - 1.64 * band, mean + 1.64 * band, color=f"C{i}", alpha=0.3)
    axes[1].plot(times, mean, color=f"C{i}", lw=1)
axes[1].set(title="strongest waves, 90 % bands", xlabel="time (ms)")
peaks = np.argsort(-np.abs(np.asarray(estimate.mean)[:, 0]).max(axis=1))[:1]
course = estimate.label(peaks)
axes[2].fill_between(times, 1e9 * course.lower, 1e9 * course.upper, color="C3", alpha=0.3)
axes[2].plot(times, 1e9 * course.mean, color="C3", lw=1)
axes[2].set(title="strongest location", xlabel="time (ms)", ylabel="nA m")
plt.show()

# %%
# Left: the bound says how many waves the data can tell apart. Middle: they are distinct in time.
# Right: the course of one place has a band that knows of both factors.
