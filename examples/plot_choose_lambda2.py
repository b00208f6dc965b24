"""
How strong a prior? Evidence, cross-validation and the L-curve
==============================================================

The strength of a minimum norm prior, lambda2 = 1 / SNR^2, decides how much of the data is
believed. Three rules find it from the data; simulated data say which comes closest to the best.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# Data from the prior itself: with a true lambda2 of 0.05 for 40 sensors and 200 sources whose
# lead fields overlap as those of neighbouring sources do.

rng = np.random.default_rng(1)
apart = np.linspace(0, 1, 40)[:, None] - np.linspace(0, 1, 200)[None]
gain = np.exp(-0.5 * (apart / 0.08) ** 2) + 0.05 * rng.standard_normal((40, 200))
truth_lambda2 = 0.05
scale = np.sqrt(40 / np.sum(gain**2) / truth_lambda2)
sources = scale * rng.standard_normal((200, 50))
data = gain @ sources + rng.standard_normal((40, 50))
problem = ej.from_arrays(gain, data, noise_cov=1.0)

# %%
# Each rule gives a number; a curve of error and evidence over lambda2 shows where it lies.

grid = np.logspace(-4, 2, 61)


def quality(lambda2):
    """Squared error against the truth and log-evidence at one lambda2."""
    estimate = ej.solve(problem, ej.models.MinimumNorm(lambda2), ej.inference.Linear())
    error = jnp.mean((estimate.mean[:, 0] - sources) ** 2) / np.mean(sources**2)
    return error, estimate.log_evidence


errors, evidence = jax.lax.map(quality, jnp.asarray(grid))
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained", sharex=True)
axes[0].loglog(grid, errors, color="k")
axes[0].set(title="error against the truth", xlabel="lambda2", ylabel="relative squared error")
axes[1].semilogx(grid, evidence - evidence.max(), color="k")
axes[1].set(title="log-evidence", xlabel="lambda2", ylim=(-300, 20))
for i, rule in enumerate(("evidence", "gcv", "lcurve")):
    estimate = ej.solve(problem, ej.models.MinimumNorm(rule), ej.inference.Linear())
    found = float(estimate.hyper["lambda2"])
    print(f"{rule}: {found:.3g}, truth {truth_lambda2}")
    for ax in axes:
        ax.axvline(found, color=f"C{i}", ls="--", label=f"{rule}: {found:.2g}")
for ax in axes:
    ax.axvline(truth_lambda2, color="0.6", lw=3, alpha=0.5, zorder=0, label="truth")
axes[1].legend(frameon=False, fontsize=8)
plt.show()

# %%
# The grey line is the truth. Evidence and cross-validation fall near it, where the error is
# smallest; the L-curve asks for a stronger prior, at little cost here.
