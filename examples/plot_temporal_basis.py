"""
A basis in time: how many cosines, and a latency with its interval
==================================================================

Evoked responses are slow against the sampling rate: a few cosines hold them. Sources get one
coefficient for each instead of one for each sample, and all that lies outside is noise.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# The data: MNE's sample subject, or its simulated stand-in. How samples of the noise go together
# is foretold from the baseline.

subject = ej.io.sample_subject()
print(subject.about)
evoked = subject.evoked("Right visual").pick("meg")
problem = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0, noise_time="auto")
problem = problem.crop(0.05, 0.2)

# %%
# How many cosines? The evidence says, as all of them are models of the same data.

patches = ej.models.Components(ej.models.components.Patches(100))
models = {f"{k}": ej.models.TemporalBasis(patches, f"dct:{k}", rest=None) for k in (4, 8, 16, 32)}
models["all samples"] = patches
method, noise = ej.inference.EM(), ej.models.noise.PerType()
estimates = {name: ej.solve(problem, model, method, noise=noise) for name, model in models.items()}
print(ej.compare(estimates))
nats = np.array([float(e.log_evidence) for e in estimates.values()])
best = list(estimates)[int(nats.argmax())]

# %%
# The strongest place, its course with and without the basis, and when it peaks.

place = int(np.abs(np.asarray(estimates[best].mean)).max(axis=(1, 2)).argmax())
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
axes[0].bar(list(estimates), nats - nats.min(), color="0.6")
axes[0].set(title="evidence (nats)", xlabel="cosines")
for name, colour in (("all samples", "C1"), (best, "C0")):
    course = estimates[name].label([place], mode="mean")
    ms, low, high = 1e3 * course.times, 1e9 * course.lower, 1e9 * course.upper
    axes[1].fill_between(ms, low, high, color=colour, alpha=0.3, lw=0)
    axes[1].plot(ms, 1e9 * course.mean, color=colour, lw=1, label=name)
    peak = estimates[name].latency([place], (0.06, 0.16), mode="mean")
    text = f"{name}: {1e3 * peak.lower:.0f} to {1e3 * peak.upper:.0f} ms"
    axes[2].step(1e3 * peak.times, peak.probability, color=colour, where="mid", label=text)
    mean = estimates[name].label([place], mode="mean", window=(0.08, 0.12))
    print(f"{name}: mean over 80-120 ms {1e9 * mean.mean:.2f} +- {1e9 * mean.std:.2f} nA m")
axes[1].set(title="strongest place (nA m)", xlabel="time (ms)")
axes[2].set(title="when it peaks", xlabel="time (ms)", yticks=[])
for ax in axes[1:]:
    ax.legend(frameon=False, fontsize=7)
plt.show()

# %%
# The evidence has its maximum at few cosines. With them the course is smooth and the latency of
# its peak is told to fewer milliseconds; without them every sample is a peak that might be.
