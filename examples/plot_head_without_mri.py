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

jax.config.update("jax_enable_x64", True)
folder = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"

# %%
# The subject: sensors, digitised points, boundary elements from the MRI, places on the cortex.

info = ej.io.read_evoked(folder / "audvis-ave.fif.gz", "Left visual").info
own = ej.io.head_model(folder / "three-layer-320-bem-sol.fif", folder / "head-mri-trans.fif")
forward = ej.io.read_forward(folder / "audvis-oct5-fwd.fif")
eeg = [
    n for n, kind in zip(info["ch_names"], info.get_channel_types(), strict=True) if kind == "eeg"
]
sensors = ej.io.sensors(info, reference="average", picks=eeg)
points = np.array([d["r"] for d in info["dig"] if int(d["kind"]) in (3, 4)])  # electrodes, extra
points = points[points[:, 2] > 0]  # above the plane of the fiducials: no nose, no neck

# %%
# The template: as it is, moved, and scaled and moved to the points.

head = ej.io.template("biosemi32", meg=False, spacing="ico3")
template = ej.io.head_model(head.bem, head.trans, assemble=True)
scalp = template.in_head[-1]
moved = ej.forward.fit_points(scalp, points, scale=False)
scaled = ej.forward.fit_points(scalp, points)
for name, placed in (("moved", moved), ("scaled", scaled)):
    print(f"{name}: points {1e3 * placed.distance:.1f} mm from the skin (rms)")
heads = {"template, moved": moved.head(template), "template, scaled": scaled.head(template)}

# %%
# Lead fields at the subject's own places, where all heads have brain: how the topographies differ
# (RDM: 0 the same, 1 opposite) and how loud they are. This head is near the template in size: the
# scales bring the skin nearer by half a millimetre and the lead field no nearer. What is left is
# the skull, whose thickness no point on the skin can tell; the template's lets more through.

places = np.asarray(ej.io.geometry(forward).positions)[::3]
inside = np.all([m.contains(places) for m in heads.values()], axis=0)
places = places[inside]
normals = np.asarray(ej.io.geometry(forward).normals)[::3][inside]
true = np.asarray(own.leadfield(places, normals, sensors).gain[..., 0])
figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
for at, (name, model) in zip(axes, heads.items(), strict=False):
    gain = np.asarray(model.leadfield(places, normals, sensors).gain[..., 0])
    unit = [g / np.linalg.norm(g, axis=0) for g in (gain, true)]
    rdm = np.linalg.norm(unit[0] - unit[1], axis=0) / 2
    louder = np.linalg.norm(gain, axis=0) / np.linalg.norm(true, axis=0)
    print(f"{name}: median RDM {np.median(rdm):.3f}, amplitude {np.median(louder):.2f}")
    drawn = at.scatter(*1e3 * places[:, 1:].T, c=rdm, s=6, vmin=0, vmax=0.3)
    at.set(title=f"{name}: RDM {np.median(rdm):.2f}", xlabel="y (mm)", ylabel="z (mm)")
    at.set_aspect("equal")
    axes[2].hist(louder, np.linspace(0.4, 1.8, 40), histtype="step", label=name)
figure.colorbar(drawn, ax=axes[:2], label="difference of topographies (RDM)")
axes[2].axvline(1, color="k", lw=0.5)
axes[2].set(xlabel="amplitude over that of the own head", ylabel="places")
axes[2].legend()
plt.show()
