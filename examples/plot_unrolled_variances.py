"""
Where, and how sure: learned variances beside EM and eLORETA
============================================================

Six updates of the variances of all locations, trained on simulated heads, end in a Gaussian
posterior. Its lead field is an input, so that it serves a head that it has never seen. Here patches
of cortex are active on MNE's sample subject; the data come from a finer grid than the one inverted.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej
from esijax import simulate

jax.config.update("jax_enable_x64", True)

# %%
# EEG of the sample subject (or of its stand-in), its noise covariance; ten data sets of one patch
# each, 6 to 10 cm2, at 5 dB.

subject = ej.io.sample_subject()
print(subject.about)
finer = ej.io.sample_subject(spacing="oct6").forward
evoked = subject.evoked("Right visual", 0.0, 0.2)
problem = ej.from_mne(evoked, subject.forward, subject.noise_cov, picks="eeg")
patches = simulate.patch_table(ej.io.geometry(finer), 10e-4)
scenario = simulate.Scenario(
    ej.io.simulation_head(finer, problem, fixed=True), problem,
    simulate.Patches(patches, 1, (6e-4, 10e-4)), simulate.Gabors(), simulate.FromCov(), 5.0,
)  # fmt: skip
made = [scenario.draw(key) for key in jax.random.split(jax.random.key(1), 10)]

# %%
# Three answers at the sample of most activity: amplitude along the normal, and the share of the
# truly active locations whose amplitude lies in its own 90 % interval.

answers = {
    "eLORETA": (ej.models.ELORETA(), ej.inference.Linear()),
    "EM": (ej.models.ARD(), ej.inference.EM()),
    "learned variances": (ej.models.ARD(), ej.inference.Unrolled()),
}
places = 1e3 * np.asarray(problem.geometry.positions)
figure, axes = plt.subplots(2, 4, figsize=(13, 6), layout="constrained")


def draw(ax, strength, title):
    """Look at all locations from above."""
    order = np.argsort(strength)
    dots = ax.scatter(
        places[order, 0], places[order, 1], c=strength[order] / max(strength.max(), 1e-12),
        s=7, cmap="magma_r", vmin=0, vmax=1, linewidths=0,
    )  # fmt: skip
    ax.set(title=title, aspect="equal", xticks=[], yticks=[])
    return dots


def at_peak(one):
    """True amplitudes along the normal at the sample of most activity, nA m, and that sample."""
    sources = 1e9 * np.asarray(one.truth.sources_on(problem))[:, -1]
    peak = int(np.argmax(np.abs(sources).sum(axis=0)))
    return sources[:, peak], peak


draw(axes[0, 0], np.abs(at_peak(made[0])[0]), "truth of the first data set")
axes[1, 0].axis("off")
for column, (name, (model, method)) in enumerate(answers.items(), 1):
    truths, means, stds = [], [], []
    for one in made:
        truth, peak = at_peak(one)
        estimate = ej.solve(problem.with_data(one.recording), model, method)
        mean = 1e9 * np.asarray(estimate.mean)[:, -1, peak]
        std = 1e9 * np.broadcast_to(np.asarray(estimate.std), estimate.mean.shape)[:, -1, peak]
        if one is made[0]:
            dots = draw(axes[0, column], np.abs(mean), name)
        active = np.flatnonzero(truth)
        truths, means, stds = [
            [*all_, *new[active]] for all_, new in ((truths, truth), (means, mean), (stds, std))
        ]
    truth, mean, std = map(np.array, (truths, means, stds))
    held = np.abs(truth - mean) <= 1.645 * std
    order = np.argsort(truth)
    ax = axes[1, column]
    ax.errorbar(
        np.arange(len(truth)), mean[order], 1.645 * std[order], fmt=".", ms=3, lw=0.7, color="C0"
    )
    ax.plot(truth[order], "k_", ms=4)
    ax.set(xlabel="active location, all ten", title=f"90 % intervals hold {held.mean():.0%}")
    print(f"{name}: 90 % intervals hold {held.mean():.0%} of {len(truth)} active locations")
axes[1, 1].set_ylabel("amplitude, nA m (truth: dashes)")
figure.colorbar(dots, ax=axes[0], label="share of the largest")
figure.suptitle("Patches on a head that training never saw")
plt.show()

# %%
# Above, one data set: which map has the patch and little else. Below, all ten: dashes are true
# amplitudes, and a method is honest where bars reach them. The titles count it.
