"""
Arrays only: a researcher's own gain
====================================

No MNE object in sight: a lead field, data and a noise level as arrays. A ring of sensors looks at
a disc of sources; three priors answer, each with its uncertainty.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# A simple lead field: potential of radial dipoles in a disc of 8 cm radius, 32 sensors on its rim.

rng = np.random.default_rng(0)
grid = np.stack(np.meshgrid(*[np.linspace(-0.07, 0.07, 41)] * 2), -1).reshape(-1, 2)
grid = grid[np.linalg.norm(grid, axis=1) < 0.07]
positions = np.c_[grid, np.full(len(grid), 0.04)]
angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
sensors = np.c_[0.09 * np.cos(angle), 0.09 * np.sin(angle), np.full(32, 0.06)]
apart = sensors[:, None] - positions[None]
gain = apart[..., 2] / np.linalg.norm(apart, axis=-1) ** 3

# %%
# Two sources with different waves, and noise of known variance.

times = np.arange(100) / 200
left, right = (int(np.argmin(np.linalg.norm(grid - c, axis=1))) for c in [(-0.04, 0), (0.03, 0.03)])
sources = np.zeros((len(grid), len(times)))
sources[left], sources[right] = np.sin(20 * times), np.cos(35 * times)
clean = gain @ sources
sigma = 0.1 * clean.std()
data = clean + sigma * rng.standard_normal(clean.shape)
problem = ej.from_arrays(gain, data, noise_cov=sigma**2, positions=positions, sfreq=200)

# %%
# The evidence tells the priors apart, and how strong each should be.

models = {
    "minimum norm": ej.models.MinimumNorm("evidence"),
    "LORETA": ej.models.LORETA("evidence"),
    "eLORETA": ej.models.ELORETA("evidence"),
}
figure, axes = plt.subplots(2, 3, figsize=(12, 6.8), layout="constrained")
for column, (name, model) in zip(axes.T, models.items(), strict=True):
    estimate = ej.solve(problem, model, ej.inference.Linear())
    power = np.sqrt(np.mean(np.asarray(estimate.mean)[:, 0] ** 2, axis=-1))
    spread = np.asarray(estimate.std)[:, 0, 0]
    column[0].set_title(name)
    for ax, values, what in zip(column, (power, spread), ("rms of the mean", "SD"), strict=True):
        dots = ax.scatter(*(100 * grid.T), c=values, s=14, cmap="viridis")
        ax.plot(*(100 * grid[[left, right]].T), "rx", ms=9)
        ax.set(aspect="equal", xlabel="cm")
        figure.colorbar(dots, ax=ax, shrink=0.8, label=f"{what} (unit of the sources)")
    print(f"{name}: log-evidence {float(estimate.log_evidence):.0f}")
plt.show()

# %%
# Minimum norm and LORETA pull both sources to the rim, where sensors are loud; eLORETA has its
# peaks at the crosses. Below: where the standard deviation is large, the data say little.
