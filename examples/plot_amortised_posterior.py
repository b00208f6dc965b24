"""
A posterior that was learned beforehand, beside NUTS
====================================================

Three regions and the level of the noise: four variances, whose posterior NUTS explores anew for
each recording. `ej.learn.amortise` learns it once for all recordings of one problem; then a new
recording takes a fraction of a second, with weights that say whether to believe the answer.
"""

import time
import warnings

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# Sixteen sensors in a row see thirty places below them, in three regions.

rng = np.random.default_rng(0)
apart = np.linspace(0, 1, 16)[:, None] - np.linspace(0, 1, 30)[None]
gain = np.exp(-0.5 * (apart / 0.08) ** 2)
regions = [np.arange(0, 10), np.arange(10, 20), np.arange(20, 30)]
spread = np.repeat([0.5, 1.5, 0.1], 10)[:, None]


def recording():
    """Forty samples, the middle region active."""
    sources = spread * rng.standard_normal((30, 40))
    return gain @ sources + 0.8 * rng.standard_normal((16, 40))


problem = ej.from_arrays(gain, recording(), noise_cov=0.5)
prior = ej.models.Components(regions, dist.LogNormal(0.0, 1.5))
noise = ej.models.noise.Scalar(dist.LogNormal(0.0, 0.5))

# %%
# Training needs the problem, prior and noise, no data. It says how far its networks lower the
# losses on simulations that were held out.

q = ej.learn.amortise(problem, prior, noise, key=0, simulations=3000, steps=800, progress=False)
print(q.about)

# %%
# The same recording by both, then a recording with an artefact: its verdict says so.

times = {}
for name, method in (
    ("amortised", ej.inference.Amortised(q)),
    ("NUTS", ej.inference.NUTS(300, 500, 2)),
):
    ej.solve(problem.with_data(recording()), prior, method, noise=noise, key=0)  # compiled here
    start = time.perf_counter()
    times[name] = (
        ej.solve(problem, prior, method, noise=noise, key=0),
        time.perf_counter() - start,
    )
    print(f"{name}: {times[name][1]:.2f} s", *times[name][0].notes)
spoilt = recording() + 5 * rng.standard_normal((16, 1)) * rng.standard_normal((1, 40))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ej.EsijaxWarning)
    doubted = ej.solve(
        problem.with_data(spoilt), prior, ej.inference.Amortised(q), noise=noise, key=0
    )
print("artefact:", *doubted.notes)

# %%
# The two agree in each hyper-parameter.

figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
for name, (estimate, seconds) in times.items():
    draws = np.log10(np.hstack([estimate.hyper["gamma"], estimate.hyper["noise_var"]]))
    for ax, column, title in zip(axes, draws.T, ("left", "middle", "right", "noise"), strict=True):
        label = f"{name}, {seconds:.1f} s"
        ax.hist(column, 30, density=True, histtype="step", label=label)
        ax.set(title=title, xlabel="log10 of the variance", yticks=[])
figure.legend(
    *axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False
)
plt.show()

# %%
# The two histograms of each hyper-parameter lie on each other; the legend has the seconds that
# each took. Where they part on data of yours, the weights of the amortised draws say so.
