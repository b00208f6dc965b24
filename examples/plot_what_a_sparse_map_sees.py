"""
What a sparse map sees: point spread, cross-talk and leverage through the Jacobian
==================================================================================

Resolution matrices belong to linear inverses. A mixed norm is not linear, but near a measurement it
has a derivative, and that says the same: where a source's change is seen (point spread), whose
changes are mistaken for it (cross-talk), and which sensors the fit depends on (leverage).
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej
from esijax.inference import MAP, Linear
from esijax.inference.sensitivity import local

jax.config.update("jax_enable_x64", True)

# %%
# The response of MNE's sample subject (or of its simulated stand-in) to a flash in the right
# visual field.

subject = ej.io.sample_subject()
print(subject.about)
evoked = subject.evoked("Right visual", 0.08, 0.11)
problem = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0)

largest = float(ej.inference.select.alpha_max(problem, ej.models.L21(1.0)))
pairs = {
    "minimum norm": (ej.models.MinimumNorm(), Linear()),
    "mixed norm": (ej.models.L21(0.4 * largest), MAP(tol=1e-10)),
}

# %%
# The strongest active location of the mixed norm, and what happens around it. A location that is
# not active is not seen by it at all: small changes there go to those that are.

sparse = ej.solve(problem, *pairs["mixed norm"])
strength = np.abs(np.asarray(sparse.mean)[:, 0]).max(axis=1)
seed = int(strength.argmax())
places = 1e3 * np.asarray(problem.geometry.positions)
near = np.linalg.norm(places - places[seed], axis=1)
figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
for row, (name, (model, method)) in zip(axes, pairs.items(), strict=True):
    spread = np.asarray(local.point_spread(problem, model, method, seed))
    spread = np.linalg.norm(spread.reshape(len(places), -1), axis=1)
    talk = np.abs(np.asarray(local.cross_talk(problem, model, method, seed))[:, 0])
    for ax, what, values in ((row[0], "point spread", spread), (row[1], "cross-talk", talk)):
        order = np.argsort(values)
        dots = ax.scatter(
            places[order, 1],
            places[order, 2],
            c=values[order] / values.max(),
            s=10 + 40 * values[order] / values.max(),
            cmap="magma_r",
            vmin=0,
        )
        ax.scatter(*places[seed, 1:], marker="+", s=150, color="C0")
        ax.set(title=f"{name}: {what}", aspect="equal", xlabel="y (mm)", ylabel="z (mm)")
    share = np.sum(values[near < 20]) / np.sum(values)
    print(f"{name}: {share:.0%} of the cross-talk comes from within 2 cm")

# %%
# The leverage of a sensor is the share of what it says that the map repeats; its sum is the degrees
# of freedom. Beside it, what the few active locations do.

leverage = np.asarray(local.leverage(sparse, *pairs["mixed norm"]))
kinds = np.array(problem.labels.ch_types)
for kind in ("mag", "grad", "eeg"):
    some = np.sort(leverage[kinds == kind])[::-1]
    axes[0, 2].plot(some, ".-", ms=3, label=f"{kind}: sum {some.sum():.1f}")
axes[0, 2].set(title="mixed norm: leverage", xlabel="sensors of a type, sorted")
axes[0, 2].legend()
for k in np.flatnonzero(strength):
    color, width = ("C0", 2) if k == seed else ("0.6", 0.8)
    axes[1, 2].plot(1e3 * problem.times, 1e9 * np.asarray(sparse.mean)[k, 0], color, lw=width)
axes[1, 2].set(title="courses (blue: the strongest)", xlabel="time (ms)", ylabel="nA m")
figure.colorbar(dots, ax=axes[:, 1], label="share of the largest")
figure.suptitle("Around the strongest location (+), Right visual")
plt.show()

# %%
# Minimum norm spreads a source over its neighbours, and takes theirs for its own. The mixed norm
# leaves the strongest source in its place, but takes for it what many silent places around it do,
# since these cannot be active themselves. Few channels carry what it says.
