"""
How strong a penalty: six ways to choose alpha, and what each is worth
======================================================================

The weight of a penalty decides how many sources a map has. `esijax.inference.select` has rules
that read it off the data; here the truth is simulated, so that they can be told what they should
have chosen.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej
from esijax.inference import MAP, select

jax.config.update("jax_enable_x64", True)

# %%
# Three sources in the lead field of MNE's sample subject (or of its stand-in), in noise as the
# noise covariance has it: one in five parts of the data's power.

subject = ej.io.sample_subject()
print(subject.about)
evoked = subject.evoked("Right visual", 0.08, 0.13)
real = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0)

rng = np.random.default_rng(1)
truth = np.zeros((real.n_locations, 1, real.n_times))
places = rng.choice(real.n_locations, 3, replace=False)
for k, place in enumerate(places):
    truth[place, 0] = np.hanning(real.n_times) * np.cos(2 * k * np.linspace(0, np.pi, real.n_times))
clean = np.tensordot(np.asarray(real.gain), truth, axes=2)
whitened = rng.standard_normal(clean.shape)
whitened += clean * np.sqrt(4 * clean.size / np.sum(clean**2))
problem = real.with_data(np.asarray(real.whitener.colorer @ whitened))
scale = np.sqrt(4 * clean.size / np.sum(clean**2)) * real.source_unit

# %%
# The rules. Cross-validation leaves sensors or samples out; SURE and the evidence believe the
# noise covariance, which is right here; a hypergradient follows the derivative of a criterion, by
# default the error at sensors that were left out.

penalty, shares = ej.models.L21(ej.relative(0.3)), np.geomspace(0.95, 0.02, 18)
rules = {
    "SURE": select.by_sure(problem, penalty, fractions=shares),
    "GCV": select.by_gcv(problem, penalty, fractions=shares),
    "L-curve": select.by_lcurve(problem, penalty, fractions=shares),
    "sensors left out": select.by_cross_validation(problem, penalty, fractions=shares),
    "evidence": select.by_evidence(problem, penalty),
    "hypergradient": select.by_hypergradient(problem, penalty, max_iter=10),
}
largest = float(select.alpha_max(problem, ej.models.L21(1.0)))

# %%
# What they should have chosen: the error of the debiased sources along the path, and how many
# there are. All rules ask for good predictions, and a mixed norm predicts best with more sources
# than there are, since it shrinks those that are there. The right number is found over a wide range
# of larger weights; `Reweighted`, `MCP` and `LogSum`, which shrink less, have less to make up for.

path = select.path(problem, penalty, shares)
errors, counts, left = [], [], []
for estimate in path:
    found = np.asarray(ej.inference.debias(estimate).mean)
    errors.append(np.linalg.norm(found - scale * truth) / np.linalg.norm(scale * truth))
    counts.append(int(estimate.diagnostics.n_active))
    left.append(float(jnp.mean((problem.data - estimate.posterior.prediction) ** 2)))

figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
axes[0].semilogx(shares, errors, "k.-")
axes[0].set(title="error of the debiased sources", ylabel="relative to the truth")
axes[1].loglog(shares, counts, "k.-")
axes[1].axhline(3, color="0.7", lw=1)
axes[1].set(title="active locations (line: three)")
axes[2].semilogx(shares, left, "k.-")
axes[2].axhline(1, color="0.7", lw=1)
axes[2].set(title="mean square of the residual (line: the noise)")
for k, (name, chosen) in enumerate(rules.items()):
    share = float(chosen.alpha) / largest
    final = ej.solve(problem, chosen, MAP())
    print(f"{name}: alpha = {share:.2f} alpha_max, {int(final.diagnostics.n_active)} active")
    for ax in axes:
        ax.axvline(share, color=f"C{k}", lw=1.5, ls=(0, (3 + k, 2)), label=name)
for ax in axes:
    ax.set(xlabel="alpha / alpha_max")
axes[2].legend(fontsize=8)
plt.show()

# %%
# Each vertical line is a rule. The error is flat to the left of its minimum, so that most rules
# do well there; the number of active locations is not: read it at the line of the rule that you
# would trust.
