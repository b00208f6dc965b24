"""
One prior, five inferences
==========================

A sparse prior on simulated data whose answer is known: three of sixty places are active. The same
prior object is handed to expectation maximisation, evidence maximisation, the Laplace
approximation, variational inference and NUTS. The two optimisers give one number per place, the
other three a distribution: where the data decide they agree, where the data are silent only the
distributions say so.
"""

import warnings

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# Twenty-four sensors in a row see forty sources below them, whose fields overlap.

rng = np.random.default_rng(3)
apart = np.linspace(0, 1, 24)[:, None] - np.linspace(0, 1, 40)[None]
gain = np.exp(-0.5 * (apart / 0.08) ** 2)
active = {8: 1.5, 20: 0.8, 31: 2.0}
sources = np.zeros((40, 25))
for place, size in active.items():
    sources[place] = size * rng.standard_normal(25)
data = gain @ sources + 0.3 * rng.standard_normal((24, 25))
problem = ej.from_arrays(gain, data, noise_cov=0.09)

# %%
# One prior, five inferences. Each starts from the minimum norm solution. Laplace and the
# variational family judge themselves by their k-hat (above 0.7 they miss part of the posterior),
# NUTS by R-hat.

prior = ej.models.ARD(dist.InverseGamma(1.0, 0.05))
key = jax.random.key(0)
methods = {
    "EM": ej.inference.EM("mm"),
    "evidence": ej.inference.Evidence(),
    "Laplace": ej.inference.Laplace(),
    "variational": ej.inference.SVI("full"),
    "NUTS": ej.inference.NUTS(400, 600, 2),
}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ej.EsijaxWarning)
    estimates = {name: ej.solve(problem, prior, how, key=key) for name, how in methods.items()}
for name, estimate in estimates.items():
    told = {k: v for k, v in estimate.verdict().items() if k in ("log_evidence", "k_hat", "rhat")}
    print(name, told, *estimate.notes)

# %%
# Above: the variance of each place, with 90 % intervals of those that have a distribution.
# Below: the posterior standard deviation of the sources, against the error that was made.

figure, axes = plt.subplots(2, 1, figsize=(10, 6.5), layout="constrained", sharex=True)
for i, (name, estimate) in enumerate(estimates.items()):
    gamma = np.asarray(estimate.hyper["gamma"])
    at = np.arange(40) + 0.15 * (i - 2)
    if gamma.ndim == 1:
        axes[0].semilogy(at, gamma, "_" if i else "|", color=f"C{i}", ms=7, label=name)
    else:
        low, middle, high = np.quantile(gamma, (0.05, 0.5, 0.95), axis=0)
        bars = np.stack([middle - low, high - middle])
        axes[0].errorbar(at, middle, bars, fmt=".", color=f"C{i}", ms=4, lw=0.8, label=name)
    spread = np.sqrt(np.mean(np.asarray(estimate.std)[:, 0] ** 2, axis=-1))
    axes[1].plot(np.arange(40), spread, color=f"C{i}", lw=1, label=name)
error = np.sqrt(np.mean((np.asarray(estimates["NUTS"].mean)[:, 0] - sources) ** 2, axis=1))
axes[1].plot(np.arange(40), error, "k.", label="error of NUTS's mean")
for ax in axes:
    for place in active:
        ax.axvline(place, color="0.85", lw=6, zorder=0)
axes[0].set(ylabel="variance $\\gamma$", title="one prior, five inferences (grey: truly active)")
axes[1].set(xlabel="place", ylabel="source amplitude", title="posterior standard deviation")
for ax in axes:
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %%
# At the grey places all five agree. Between them EM and the evidence give one small variance; the
# three others have intervals of a decade and more there, and standard deviations twice as large.
