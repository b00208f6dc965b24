"""
A source map from nothing: the template head
============================================

A head model of the average brain, a simulated visual response in 64 EEG channels, and the
posterior over its sources. No file and no download is needed.
"""

import jax
import matplotlib.pyplot as plt
import mne
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# The head: sensors, source space and lead field as MNE-Python objects.

head = ej.io.template("biosemi64", meg=False, spacing="ico3")
fixed = mne.convert_forward_solution(head.forward, force_fixed=True, verbose="ERROR")

# %%
# The truth: a patch of 6 cm2 in the left occipital lobe answers after 100 ms.

geometry = ej.io.geometry(fixed)
positions = np.asarray(geometry.positions)
seed = int(np.argmin(np.linalg.norm(positions - [-0.02, -0.075, 0.05], axis=1)))
profile = ej.simulate.patch(geometry, seed, area=6e-4)
times = np.arange(-0.1, 0.3, 1 / head.info["sfreq"])
wave = 50e-9 * ej.simulate.erp(times, latency=0.1, width=0.03)
clean = fixed["sol"]["data"] @ np.outer(profile / profile.sum(), wave)
noise = 3e-6 * ej.simulate.pink_noise(jax.random.key(0), clean.shape, head.info["sfreq"])
evoked = mne.EvokedArray(
    clean + np.asarray(noise) / 10, head.info, tmin=times[0], nave=100, comment="simulated"
)
noise_cov = mne.make_ad_hoc_cov(head.info, std=dict(eeg=3e-6), verbose="ERROR")

# %%
# The posterior: minimum norm, its strength found by maximising the evidence.

problem = ej.from_mne(evoked, head.forward, noise_cov)
estimate = ej.solve(problem, ej.models.MinimumNorm("evidence"), ej.inference.Linear("dSPM"))
amplitude = np.linalg.norm(np.asarray(estimate.mean), axis=1).max(axis=1)
peak = np.asarray(problem.geometry.positions)[amplitude.argmax()]
error = 1e3 * np.linalg.norm(peak - positions[seed])
print(f"lambda2 {float(estimate.hyper['lambda2']):.3g}, peak {error:.0f} mm from the patch")

estimate.plot()
plt.show()

# %%
# Mean, standard deviation and probability, a row each. The probability asks whether the amplitude
# exceeds half of the largest one, and is more cautious than the mean: what it leaves grey the
# data do not settle.
