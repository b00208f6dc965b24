"""
Noise in time: what a baseline says of the window
=================================================

Samples of low-pass filtered data go together, and subtracting the mean of a baseline raises the
noise of what follows. A model that takes every sample as independent is too sure of its answers.
The baseline tells both beforehand, without a look at the window.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# The data: MNE's sample subject, or its simulated stand-in. ``noise_time`` takes what
# ``apply_baseline`` left on record; `crop` and `binned` carry it.

subject = ej.io.sample_subject()
print(subject.about)
evoked = subject.evoked("Right visual").pick("meg")
problem = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0, noise_time="auto")
print(*problem.labels.notes[-2:], sep="\n")
omega = np.asarray(problem.noise_time.cov)

# %%
# The same window twice: with Omega, and with independent samples of the same variance. Two
# numbers tell them apart: the evidence, and how wide the band of a course is.

window = problem.crop(0.05, 0.15)
level = float(np.mean(np.diag(window.noise_time.cov)))
models = {
    "independent samples": window.with_noise_time(level * np.eye(window.n_times)),
    "Omega from the baseline": window,
}
prior, method = ej.models.MinimumNorm(), ej.inference.Linear()
estimates = {name: ej.solve(p, prior, method) for name, p in models.items()}
mean = np.asarray(estimates["Omega from the baseline"].mean)[:, 0]
peak = np.unravel_index(np.abs(mean).argmax(), mean.shape)[0]

# %%
# Means over 50 ms: of independent samples the band shrinks with the square root of their number.

n_bin = 30
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
lag = 1e3 * (problem.times - problem.times[250])
axes[0].plot(lag, omega[250], color="k", lw=1)
axes[0].set(title="Omega of one sample", xlabel="lag (ms)", xlim=(-60, 60))
axes[1].plot(1e3 * problem.times, np.diag(omega), color="k", lw=1)
axes[1].set(title="variance of the noise", xlabel="time (ms)")
axes[1].set_ylim(0, 1.1 * float(np.max(np.diag(omega))))
for name, estimate in estimates.items():
    draws = np.asarray(estimate.sample(0, 400, at=([peak], None)))[:, 0, 0]
    bins = 1e9 * draws[:, : 2 * n_bin].reshape(400, 2, n_bin).mean(axis=-1)
    nats = float(estimate.log_evidence) - float(estimates["independent samples"].log_evidence)
    label = f"{name}: {bins[:, 0].std():.2f} nA m, {nats:+.0f} nats"
    axes[2].hist(bins[:, 0] - bins[:, 0].mean(), bins=30, histtype="step", label=label)
axes[2].set(title="mean of 50 ms at the peak", xlabel="about its mean (nA m)", yticks=[])
axes[2].legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.25))
plt.show()

# %%
# Left: samples near each other share their noise. Middle: the baseline correction makes the noise
# larger after the baseline. Right: with Omega the mean of 50 ms is less certain than independent
# samples claim, and its evidence is higher.
