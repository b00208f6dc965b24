"""
A head without an MRI, beside the subject's own
===============================================

Most EEG comes without an MRI. The template head is scaled until it fits the points that were
digitised on the skin, and its lead field compared with that of the subject's own boundary elements.
"""

import os
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej
from esijax.viz.cortex import Map, plot_maps
from esijax.viz.problem_cortex import cortex_of

jax.config.update("jax_enable_x64", True)

# %%
# The subject: sensors, digitised points, boundary elements from the MRI, places on the cortex.
# Where MNE's sample subject is not found, the template stretched by a few per cent stands in.

subject = ej.io.sample_subject()
print(subject.about)
head = ej.io.template("biosemi32", meg=False, spacing="ico3")
template = ej.io.head_model(head.bem, head.trans, assemble=True)
evoked = subject.evoked("Left visual", 0.1, 0.11)
info = evoked.info
if subject.simulated:
    stretch = ej.forward.Placement(np.array([1.05, 0.96, 1.03]), np.eye(4), np.array(0.0))
    own = stretch.head(template)
    points = np.asarray(own.in_head[-1].vertices)[::20]
else:
    folder = Path(os.environ.get("ESIJAX_DATA", "../shared/data"))
    folder = folder if (folder / "head-mri-trans.fif").exists() else folder / "sample"
    own = ej.io.head_model(folder / "three-layer-320-bem-sol.fif", folder / "head-mri-trans.fif")
    points = np.array([d["r"] for d in info["dig"] if int(d["kind"]) in (3, 4)])  # and electrodes
points = points[points[:, 2] > 0]  # above the plane of the fiducials: no nose, no neck
sensors = ej.io.sensors(info, reference="average", picks=evoked.copy().pick("eeg").ch_names)

# %%
# The template: as it is, moved, and scaled and moved to the points.

scalp = template.in_head[-1]
moved = ej.forward.fit_points(scalp, points, scale=False)
scaled = ej.forward.fit_points(scalp, points)
for name, placed in (("moved", moved), ("scaled", scaled)):
    print(f"{name}: points {1e3 * placed.distance:.1f} mm from the skin (rms)")
heads = {"template,\nmoved": moved.head(template), "template,\nscaled": scaled.head(template)}

# %%
# Lead fields at the subject's own places, where all heads have brain: how the topographies differ
# (RDM: 0 the same, 1 opposite) and how loud they are. What no point on the skin can tell is the
# thickness of the skull.

problem = ej.from_mne(evoked, subject.forward, subject.noise_cov, picks="eeg")
geometry = problem.geometry
places, normals = np.asarray(geometry.positions), np.asarray(geometry.normals)
inside = np.all([m.contains(places) for m in (own, *heads.values())], axis=0)
true = np.asarray(own.leadfield(places[inside], normals[inside], sensors).gain[..., 0])
maps = {}
for name, model in heads.items():
    gain = np.asarray(model.leadfield(places[inside], normals[inside], sensors).gain[..., 0])
    unit = [g / np.linalg.norm(g, axis=0) for g in (gain, true)]
    rdm, ratio = np.full((2, len(places)), np.nan)
    rdm[inside] = np.linalg.norm(unit[0] - unit[1], axis=0) / 2
    ratio[inside] = np.linalg.norm(gain, axis=0) / np.linalg.norm(true, axis=0)
    said = name.replace("\n", " ")
    print(f"{said}: median RDM {np.nanmedian(rdm):.3f}, amplitude {np.nanmedian(ratio):.2f}")
    maps[name] = Map(rdm, "RDM (no unit)", cmap="viridis", limits=(0, 0.3))
    maps[f"{name},\namplitude"] = Map(ratio, "ratio to the own", cmap="RdBu_r", limits=(0.4, 1.6))
plot_maps(cortex_of(problem), maps)
plt.show()

# %%
# Yellow places are those whose topography the template gets wrong: crowns of gyri near the skull,
# hardly any on the medial side. Red is louder in the template than in the subject's own head, at
# the back most of all. Scaling to the points changes little of either.
