"""
Extended sources: patches with borders, by total variation and SISSY
====================================================================

A mixed norm sees a patch of cortex as a few points, a minimum norm map as a cloud. Total variation
charges for borders (VB-SCCD), SISSY for borders and for every active location: their maps are
patches. The certificate is a duality gap, as for the mixed norm.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej
from esijax.viz.cortex import Map, plot_maps
from esijax.viz.problem_cortex import cortex_of

jax.config.update("jax_enable_x64", True)

# %%
# The head and the noise of MNE's sample subject, or of its simulated stand-in. On the left
# hemisphere a patch of 15 mm radius is active with one course; then the measured response to a
# flash in the right visual field.

subject = ej.io.sample_subject()
print(subject.about)
evoked = subject.evoked("Right visual", 0.08, 0.11)
measured = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0)
places = 1e3 * np.asarray(measured.geometry.positions)
n_left = len(measured.labels.vertices[0])

seed = int(np.argmin(np.linalg.norm(places[:n_left] - [-55, 0, 60], axis=1)))
patch = np.linalg.norm(places - places[seed], axis=1) < 15
patch[n_left:] = False
moment = 10.0 * patch[:, None] * np.hanning(measured.n_times)  # nA m at each location
noise = np.random.default_rng(0).standard_normal(measured.data.shape)
white = np.asarray(measured.gain[..., 0]) @ moment + noise
simulated = measured.with_data(np.asarray(measured.whitener.colorer) @ white)

# %%
# Four maps of each. Alpha of SISSY and TV is a share of a generous bound on alpha_max; to look at a
# map a gap of a thousandth of the objective is plenty.

answers = {
    "minimum norm": (ej.models.MinimumNorm("evidence"), ej.inference.Linear()),
    "MxNE": (ej.models.L21(ej.relative(0.3)), ej.inference.MAP()),
    "SISSY": (ej.models.SISSY(ej.relative(0.003), ratio=0.3), ej.inference.MAP(tol=1e-3)),
    "TV": (ej.models.TV(ej.relative(0.01)), ej.inference.MAP(tol=1e-3)),
}
maps: dict[str, dict] = {"simulated": {}, "measured": {}}
maps["simulated"]["truth"] = Map(moment.max(axis=1), "nA m", threshold=5.0, cmap="viridis")
for name, problem in {"simulated": simulated, "measured": measured}.items():
    for how, (model, method) in answers.items():
        estimate = ej.solve(problem, model, method)
        strength = 1e9 * np.abs(np.asarray(estimate.mean)[:, 0]).max(axis=1)
        strong = strength > 0.5 * strength.max()
        said = f"{name}, {how}: {strong.sum()} above half, {(strong & patch).sum()} in the patch"
        side = "left" if strength[:n_left].max() > strength[n_left:].max() else "right"
        gap = estimate.verdict().get("relative_gap")
        print(f"{said}; strongest {side}" + ("" if gap is None else f", gap {gap:.0e}"))
        maps[name][how] = Map(strength, "nA m", 0.2 * strength.max(), "viridis")
brain = cortex_of(measured)
views = ("left lateral", "left ventral", "left posterior")
plot_maps(brain, maps["simulated"], views=views, title="A simulated patch, largest amplitudes")

# %%
# Total variation and SISSY find a patch with a border where minimum norm has a cloud and MxNE one
# point. Amplitudes say the same: one point has to carry what the whole patch does.

views = ("left posterior", "left medial", "right posterior")
plot_maps(brain, maps["measured"], views=views, title="A flash in the right visual field")
plt.show()

# %%
# All four maps of the measured response are strongest in the left occipital lobe, opposite the
# flash. SISSY and TV see a weaker patch on the right as well, which the mixed norm leaves out.
