"""
A bad channel that nobody marked: robust data terms
===================================================

Least squares believe every channel as much as the noise covariance says. One magnetometer whose
signal jumps (a SQUID that loses lock) then outvotes the brain. Huber's and Student's noise take
large residuals for what they are; `esijax.models.noise` has them for `MAP` with any penalty.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej
from esijax.viz.cortex import Map, plot_maps
from esijax.viz.problem_cortex import cortex_of

jax.config.update("jax_enable_x64", True)

# %%
# The response of MNE's sample subject (or of its simulated stand-in) to a flash in the right
# visual field, as it is and with a jump of fifty standard deviations on one channel.

subject = ej.io.sample_subject()
print(subject.about)
evoked = subject.evoked("Right visual", 0.08, 0.11)
clean = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0)

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
maps, weights = {}, {}
for name, (problem, noise) in cases.items():
    estimate = ej.solve(problem, penalty, method, noise=noise)
    strength = 1e9 * np.abs(np.asarray(estimate.mean)[:, 0]).max(axis=1)
    on, (x, y, z) = strength > 0, places[strength.argmax()]
    maps[name.replace(", ", ",\n")] = Map(strength, "nA m", 0.02 * strength.max(), "viridis")
    print(f"{name}: {on.sum()} active, strongest at ({x:.0f}, {y:.0f}, {z:.0f}) mm")
    if noise is not None:
        noise = noise.prepare(problem)
        left = noise.axes @ (problem.data - estimate.posterior.prediction)
        weights[name] = np.mean(np.asarray(noise.influence(left)) / np.asarray(left), axis=1)
views = ("left lateral", "left posterior", "right posterior")
plot_maps(cortex_of(clean), maps, views=views, title="MxNE, largest amplitude of the window")

# %%
# How much a channel was believed: the influence of its residuals over the residuals. The channel
# that jumps sorts itself out, and nobody had to find it.

figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
scaled = np.asarray(spoilt.recording) / deviation[:, None]
axes[0].plot(1e3 * clean.times, scaled.T, color="0.6", lw=0.4)
axes[0].plot(1e3 * clean.times, scaled[channel], color="C3", label="MEG 0342")
axes[0].set(title="recording with the jump", xlabel="time (ms)", ylabel="standard deviations")
axes[0].legend(loc="lower right")
for name, weight in weights.items():
    order = np.argsort(weight)
    place = int(np.flatnonzero(order == channel)[0])
    axes[1].plot(weight[order], label=name)
    axes[1].plot(place, weight[channel], "o", color="C3")
    print(f"{name}: MEG 0342 counts {weight[channel]:.2f}, the median {np.median(weight):.2f}")
axes[1].set(title="weight of a channel (dot: MEG 0342)", xlabel="channels, sorted", ylim=(0, None))
axes[1].legend()
plt.show()

# %%
# On the left the channel that jumps, on the right what became of it: the red dots are among the
# channels that count least. On the cortex above, the Gaussian map of the spoilt data has its
# strongest place in the frontal lobe; the robust ones have it where the clean data do.
