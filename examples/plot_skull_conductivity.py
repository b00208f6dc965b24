"""
What the skull does to EEG: a derivative of the head
====================================================

Nobody knows the conductivity of a living skull within a factor of two. How much would each place
of the cortex be louder or quieter in EEG and MEG if it were another? With a head that can be
differentiated that is one forward-mode pass, not a second head.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej
from esijax.viz.cortex import Map, cortex, plot_maps

jax.config.update("jax_enable_x64", True)

# %%
# The template head: three layers, 64 electrodes and 306 MEG channels. `head_model` gives its
# boundary elements as JAX arrays, `sensors` the electrodes and coils.

head = ej.io.template("biosemi64", spacing="ico3")
model = ej.io.head_model(head.bem, head.trans, assemble=True)
geometry = ej.io.geometry(head.forward)
sensors = ej.io.sensors(head.info)
eeg = np.array([kind == "eeg" for kind in sensors.ch_types])
mag = np.array([kind == "mag" for kind in sensors.ch_types])

# %%
# Sensitivity: the rms over channels of what a dipole along the normal of the cortex gives, EEG
# against its average reference; in decibels.


@jax.jit
def sensitivity(skull, model, geometry, sensors):
    """EEG and MEG, (2, locations)."""
    conductivities = model.conductivities.at[1].set(skull)
    field = model.with_conductivities(conductivities).leadfield(
        geometry.positions, geometry.normals, sensors
    )
    gain = field.gain[..., 0]
    potential = gain[eeg] - gain[eeg].mean(axis=0)
    power = jnp.stack([jnp.mean(potential**2, axis=0), jnp.mean(gain[mag] ** 2, axis=0)])
    return 10 * jnp.log10(power)


skull = jnp.asarray(0.006)
value, slope = jax.jvp(
    lambda s: sensitivity(s, model, geometry, sensors), (skull,), (skull * np.log(2),)
)
difference = sensitivity(skull * 1.001, model, geometry, sensors) - value
worst = float(jnp.abs(difference / np.log2(1.001) - slope).max())
print(f"dB per doubling, EEG: median {jnp.median(slope[0]):.2f}; MEG: {jnp.median(slope[1]):.3f}")
print(f"finite differences agree within {worst:.1g} dB")

# %%
# The picture: sensitivity, and what it gains per doubling of the skull's conductivity.

vertno = [s["vertno"] for s in head.src]
surfaces = cortex(
    np.asarray(geometry.positions),
    np.asarray(geometry.triangles),
    np.concatenate(vertno),
    "fsaverage",
    np.repeat([0, 1], [len(v) for v in vertno]),
)
loudest = value.max(axis=1, keepdims=True)
maps = {}
for row, name in enumerate(("EEG", "MEG")):
    maps[name] = Map(np.asarray(value - loudest)[row], "dB", cmap="viridis", limits=(-30, 0))
    maps[f"{name}, per doubling of the skull"] = Map(np.asarray(slope)[row], "dB")
plot_maps(surfaces, maps, views=("left lateral", "left medial", "right lateral"))
plt.show()

# %%
# With a skull twice as conductive EEG is louder everywhere, by 2 to 3 dB over most of the cortex
# and least at its base; MEG changes by a fraction of a decibel, save at a few places that it
# hardly sees.
