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
# Truth, data, what the map makes of them, and the errors.

figure, axes = plt.subplots(2, 2, figsize=(9.6, 7), layout="constrained")
times = 1e3 * problem.times
axes[0, 0].plot(times, 1e9 * np.asarray(one.truth.wave).T)
axes[0, 0].set(title="waves of the two patches", xlabel="ms", ylabel="nA m")
axes[0, 1].plot(times, 1e6 * np.asarray(one.draws.recording).T, color="0.7", lw=0.5)
axes[0, 1].plot(times, 1e6 * np.asarray(one.draws.clean).T, color="C3", lw=0.5)
axes[0, 1].set(title="64 channels (red: without noise), 10 dB", xlabel="ms", ylabel="µV")
where = 1e3 * np.asarray(problem.geometry.positions)[:, :2]
power = np.sqrt(np.mean(np.sum(np.asarray(estimate.mean) ** 2, axis=1), axis=1))
order = power.argsort()
dots = axes[1, 0].scatter(*where[order].T, c=power[order], s=9, cmap="viridis")
member = np.asarray(one.truth.member)
patch = 1e3 * np.asarray(one.truth.positions)[member][:, :2]
axes[1, 0].plot(*patch.T, "o", color="C3", mfc="none", ms=5, label="true patches")
axes[1, 0].set(title="dSPM from above, rms over time", xlabel="mm", aspect="equal")
axes[1, 0].legend(loc="upper right", fontsize=8)
figure.colorbar(dots, ax=axes[1, 0], shrink=0.8)
edges = np.linspace(-10, 20, 7)
for colour, (name, (snr, error)) in zip(("C0", "C3"), errors.items(), strict=True):
    axes[1, 1].plot(snr, error, ".", color=colour, ms=3, alpha=0.5)
    inside = [error[(snr >= a) & (snr < b)] for a, b in pairwise(edges)]
    median = [np.median(e) for e in inside]
    axes[1, 1].plot((edges[:-1] + edges[1:]) / 2, median, color=colour, label=f"{name}, median")
axes[1, 1].set(title="sLORETA: peak to dipole", xlabel="dB", ylabel="mm", ylim=(0, 80))
axes[1, 1].legend(fontsize=8)
plt.show()
