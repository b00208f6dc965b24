"""
Simulated truth: one head makes the data, another inverts them
==============================================================

Two patches of cortex, a stated signal-to-noise ratio, and noise that the brain makes itself. The
data come from a finer source grid, through a lead field with a co-registration error and shifted
electrodes. Then three hundred such data sets at once: how far is the peak of the map from the
truth, and how much of that do the errors of the head cost?
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import mne
import numpy as np

import esijax as ej
from esijax.viz.cortex import Map, plot_maps
from esijax.viz.problem_cortex import cortex_of

jax.config.update("jax_enable_x64", True)
simulate = ej.simulate
key = jax.random.key(0)

# %%
# What is inverted: the template head with 1,284 locations. A problem knows sensors, noise
# covariance, grid and times; the data that it was made with do not count here.

assumed = ej.io.template("biosemi64", meg=False, spacing="ico3")
info, n_times = assumed.info, 180
blank = 1e-6 * np.random.default_rng(0).standard_normal((len(info["ch_names"]), n_times))
evoked = mne.EvokedArray(blank, info, tmin=-0.05)
noise_cov = mne.make_ad_hoc_cov(info, std=dict(eeg=1e-6), verbose="ERROR")
problem = ej.from_mne(evoked, assumed.forward, noise_cov)

# %%
# What makes the data: 2,052 other locations, the head 4 mm and 3 degrees from where it is thought
# to be, each electrode shifted by 4 mm.

fine = ej.io.template("biosemi64", meg=False, spacing="oct5", bem=assumed.bem)
wrong = ej.io.perturbed_forward(
    fine.forward, fine.bem, key=key, shift_mm=4.0, rotation_deg=3.0, electrode_mm=4.0
)
head = ej.io.simulation_head(wrong, problem)

# %%
# Two patches of 6 to 10 cm2 with correlated waves, and pink noise of all of the cortex.

table = simulate.patch_table(head.geometry, max_area=10e-4)
patches = simulate.Patches(table, 2, area=(6e-4, 10e-4), min_distance=0.06)
waves = simulate.Gabors(correlation=0.5)
noise = simulate.BrainBackground.of(head, share=0.8)
one = simulate.simulate(jax.random.key(5), head, problem, patches, waves, noise, snr_db=10.0)
estimate = ej.solve(one.problem, ej.models.MinimumNorm(), ej.inference.Linear("dSPM"))
print(f"stated 10 dB, found {float(simulate.snr_db(problem, one.draws.clean)):.6f} dB")

# %%
# Three hundred data sets of one dipole each, from -10 to 20 dB, once through the wrong lead field
# and once through the right one. `map` fits and scores each; they share one lead field in memory.


def peak_error(data):
    """Distance from the peak of the map to the dipole, m."""
    found = ej.solve(data.problem, ej.models.MinimumNorm(), ej.inference.Linear("sLORETA"))
    amplitude = jnp.sum(found.mean**2, axis=(1, 2))
    peak = data.problem.geometry.positions[jnp.argmax(amplitude)]
    return jnp.linalg.norm(peak - data.truth.centres[0])


heads = {"right head": ej.io.simulation_head(fine.forward, problem), "wrong head": head}
errors = {}
for name, source in heads.items():
    parts = simulate.Dipoles(1), simulate.Gabors(), simulate.FromCov()
    keys = jax.random.split(key, 300)
    many = simulate.simulate(keys, source, problem, *parts, snr_db=(-10.0, 20.0))
    errors[name] = np.asarray(many.snr_db), 1e3 * np.asarray(many.map(peak_error))

# %%
# The two patches, and what the map makes of them: its rms over time.

power = np.sqrt(np.mean(np.sum(np.asarray(estimate.mean) ** 2, axis=1), axis=1))
true = 1e9 * np.asarray(jnp.linalg.norm(one.truth.sources_on(problem), axis=1)).max(axis=1)
maps = {
    "truth": Map(true, "nA m, largest", threshold=0.05 * true.max(), cmap="viridis"),
    "dSPM": Map(power, "dSPM, rms (no unit)", threshold=0.5 * power.max(), cmap="viridis"),
}
plot_maps(cortex_of(problem), maps)

# %%
# Waves, data, and the errors of the three hundred.

figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
times = 1e3 * problem.times
axes[0].plot(times, 1e9 * np.asarray(one.truth.wave).T)
axes[0].set(title="waves of the two patches", xlabel="time (ms)", ylabel="nA m")
axes[1].plot(times, 1e6 * np.asarray(one.draws.recording).T, color="0.7", lw=0.5)
axes[1].plot(times, 1e6 * np.asarray(one.draws.clean).T, color="C3", lw=0.5)
axes[1].set(title="64 channels (red: without noise)", xlabel="time (ms)", ylabel="µV")
edges = np.linspace(-10, 20, 7)
for colour, (name, (snr, error)) in zip(("C0", "C3"), errors.items(), strict=True):
    axes[2].plot(snr, error, ".", color=colour, ms=3, alpha=0.5)
    inside = [error[(snr >= a) & (snr < b)] for a, b in pairwise(edges)]
    median = [np.median(e) for e in inside]
    axes[2].plot((edges[:-1] + edges[1:]) / 2, median, color=colour, label=f"{name}, median")
axes[2].set(title="sLORETA: from peak to dipole", xlabel="SNR (dB)", ylabel="mm", ylim=(0, 80))
axes[2].legend(fontsize=8)
plt.show()

# %%
# dSPM joins the two patches to one place between them, deep and on both sides. On the right:
# below 0 dB noise decides, above it the grid and the wrong head do.
