"""
A bad channel that nobody marked: robust data terms
===================================================

Least squares believe every channel as much as the noise covariance says. One magnetometer whose
signal jumps (a SQUID that loses lock) then outvotes the brain. Huber's and Student's noise take
large residuals for what they are; `esijax.models.noise` has them for `MAP` with any penalty.
"""

import os
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# The response of MNE's sample subject to a flash in the right visual field (the folder ``sample``
# where ESIJAX_DATA points), as it is and with a jump of fifty standard deviations on one channel.

data = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
forward = ej.io.read_forward(data / "audvis-oct5-fwd.fif")
noise_cov = ej.io.read_noise_cov(data / "audvis-cov.fif")
evoked = ej.io.read_evoked(data / "audvis-ave.fif.gz", "Right visual")
evoked.info["bads"] = ["MEG 2443", "EEG 053"]
evoked.apply_baseline((None, 0)).crop(0.08, 0.11)
clean = ej.from_mne(evoked, forward, noise_cov, loose=0.0)

channel = clean.labels.ch_names.index("MEG 0342")
deviation = np.linalg.norm(np.asarray(clean.whitener.colorer), axis=1)
recording = np.asarray(clean.recording)
jump = np.zeros_like(recording)
jump[channel, recording.shape[1] // 3 :] = 50 * deviation[channel]
spoilt = clean.with_data(recording + jump)

# %%
# The same penalty, four times. Shares of alpha_max are those of what the noise model lets through:
# robust ones are smaller, and more locations are active.

white, huber, student = None, ej.models.noise.Huber(), ej.models.noise.StudentTNoise()
cases = {
    "as it is, Gaussian": (clean, white),
    "jump, Gaussian": (spoilt, white),
    "jump, Huber": (spoilt, huber),
    "jump, Student-t": (spoilt, student),
}
penalty, method = ej.models.L21(ej.relative(0.5)), ej.inference.MAP()
places = 1e3 * np.asarray(clean.geometry.positions)
figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")

scaled = np.asarray(spoilt.recording) / deviation[:, None]
axes[0, 0].plot(1e3 * clean.times, scaled.T, color="0.6", lw=0.4)
axes[0, 0].plot(1e3 * clean.times, scaled[channel], color="C3", label="MEG 0342")
axes[0, 0].set(title="recording, in standard deviations", xlabel="time (ms)")
axes[0, 0].legend(loc="lower right")

weights = {}
for ax, (name, (problem, noise)) in zip(axes.flat[1:5], cases.items(), strict=True):
    estimate = ej.solve(problem, penalty, method, noise=noise)
    strength = np.abs(np.asarray(estimate.mean)[:, 0]).max(axis=1)
    best, on = int(strength.argmax()), strength > 0
    ax.scatter(places[:, 1], places[:, 2], s=2, color="0.85")
    ax.scatter(
        places[on, 1], places[on, 2], c=1e9 * strength[on], s=40, cmap="magma_r", edgecolors="0.3"
    )
    ax.scatter(*places[best, 1:], marker="+", s=200, color="C0")
    ax.set(title=f"{name}: {on.sum()} active", aspect="equal", xlabel="y (mm)", ylabel="z (mm)")
    x, y, z = places[best]
    print(f"{name}: {on.sum()} active, strongest at ({x:.0f}, {y:.0f}, {z:.0f}) mm")
    if noise is not None:
        noise = noise.prepare(problem)
        left = noise.axes @ (problem.data - estimate.posterior.prediction)
        weights[name] = np.mean(np.asarray(noise.influence(left)) / np.asarray(left), axis=1)

# %%
# How much a channel was believed: the influence of its residuals over the residuals. The channel
# that jumps sorts itself out, and nobody had to find it.

for name, weight in weights.items():
    order = np.argsort(weight)
    place = int(np.flatnonzero(order == channel)[0])
    axes[1, 2].plot(weight[order], label=name)
    axes[1, 2].plot(place, weight[channel], "o", color="C3")
    print(f"{name}: MEG 0342 counts {weight[channel]:.2f}, the median {np.median(weight):.2f}")
axes[1, 2].set(
    title="weight of channels (dot: MEG 0342)", xlabel="channels, sorted", ylim=(0, None)
)
axes[1, 2].legend()
figure.suptitle("MxNE with one bad channel; + is the strongest location")
plt.show()
