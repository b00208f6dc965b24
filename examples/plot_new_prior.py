"""
A prior of your own in a dozen lines
====================================

How strongly should deep sources be favoured? MNE-Python's ``depth=0.8`` is a convention; here the
exponent is a hyper-parameter, learned from one response together with the strength of the sources.
A prior is one class with two methods; every inference takes it.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist

import esijax as ej
from esijax.models.source_cov import Diagonal, SourceCov

jax.config.update("jax_enable_x64", True)

# %%
# The prior. ``hyper`` draws with NumPyro, ``source_cov`` says what it means: here independent
# sources whose variance grows with the depth exponent, scaled so that ``gamma`` is the power at
# the sensors relative to the noise.


class LearnedDepth(ej.models.Prior):
    """Minimum norm with an unknown depth exponent and an unknown strength."""

    def hyper(self, sizes):
        """Strength and exponent."""
        gamma = numpyro.sample("gamma", dist.LogNormal(0.0, 2.0))
        depth = numpyro.sample("depth", dist.Normal(0.8, 0.5))
        return {"gamma": gamma, "depth": depth}

    def source_cov(self, hyper, problem) -> SourceCov:
        """Variance: the power of each lead field to the minus depth."""
        power = jnp.sum(problem.gain**2, axis=(0, 2))
        variance = (power / power.max())[:, None] ** -hyper["depth"] * problem.orient_scale**2
        total = jnp.sum(jnp.sum(problem.gain**2, axis=0) * variance)
        return Diagonal(hyper["gamma"] * variance * problem.rank / total)


# %%
# The data: EEG and MEG of one subject, a fixed orientation, and three conditions.

subject = ej.io.sample_subject()
print(subject.about)
peaks = {"Right Auditory": 0.09, "Left visual": 0.12, "Right visual": 0.10}  # s

laplace = ej.inference.Laplace(num_samples=300, num_maps=10)
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
for condition, peak in peaks.items():
    evoked = subject.evoked(condition, peak - 0.01, peak + 0.01)
    problem = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0)
    estimate = ej.solve(problem, LearnedDepth(), laplace, key=jax.random.key(0))
    depth, gamma = (np.asarray(estimate.hyper[name]) for name in ("depth", "gamma"))
    print(f"{condition}: depth {depth.mean():.2f} +- {depth.std():.2f}, gamma {gamma.mean():.1f}")
    axes[0].hist(depth, bins=np.linspace(0, 1, 41), density=True, histtype="step", label=condition)
    axes[1].plot(depth, gamma, ".", ms=3, label=condition)
axes[0].axvline(0.8, color="0.7", ls="--", label="MNE's default")
axes[0].set(xlabel="depth exponent", ylabel="posterior density")
axes[1].set(xlabel="depth exponent", ylabel="power at the sensors / noise", yscale="log")
axes[0].legend(frameon=False, fontsize=8)
plt.show()

# %%
# Left: the exponent that each condition asks for, with its width, against MNE-Python's 0.8.
# Right: exponent and strength go together, which one number for each would hide.
