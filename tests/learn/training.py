"""A small task, and its training in a process of its own.

    python training.py FOLDER STEPS

stops after STEPS updates (0: not before the end) and prints a digest of the weights.
"""

import hashlib
import sys


def task(**schedule):
    """Two heads of 60 locations on a sheet, 8 and 10 channels; a few steps."""
    import jax.numpy as jnp
    import numpy as np
    import scipy.spatial

    import esijax as ej
    from esijax import simulate

    rng = np.random.default_rng(0)
    flat = rng.uniform(-0.05, 0.05, (60, 2))
    triangles = scipy.spatial.Delaunay(flat).simplices
    edges = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    places = np.column_stack([flat, 0.08 - 5 * (flat**2).sum(axis=1)])
    scenarios = []
    for n_channels, n_sources in ((8, 1), (10, 2)):
        sensors = 0.12 * rng.standard_normal((n_channels, 3))
        sensors[:, 2] = 0.12
        far = np.linalg.norm(places[None] - sensors[:, None], axis=-1)
        gain = 1e-3 / far**2
        geometry = ej.Geometry(positions=jnp.asarray(places), edges=jnp.asarray(edges))
        problem = ej.from_arrays(
            gain, rng.standard_normal((n_channels, 20)), noise_cov=1.0, positions=places,
            edges=edges, sfreq=100.0,
        )  # fmt: skip
        head = simulate.Head(gain[..., None], geometry)
        scenarios.append(
            simulate.Scenario(
                head,
                problem,
                simulate.Dipoles(n_sources),
                simulate.Gabors(),
                simulate.FromCov(),
                (0.0, 10.0),
            )
        )
    few = {"steps": 60, "batch": 8, "held_out": 8, "score_every": 20}
    return ej.learn.Task(scenarios, "mesh", **(few | schedule))


def digest(network):
    """SHA-256 of all weights."""
    import jax
    import numpy as np

    h = hashlib.sha256()
    for leaf in jax.tree.leaves(network):
        h.update(np.ascontiguousarray(leaf).tobytes())
    return h.hexdigest()


def main(folder, stop):
    import jax

    jax.config.update("jax_enable_x64", True)
    import esijax as ej

    learner = sys.modules[ej.learn.train.__module__]
    if stop:
        made = []
        step = learner._step

        def counted(*args):
            if len(made) == stop:
                raise KeyboardInterrupt
            made.append(1)
            return step(*args)

        learner._step = counted
    try:
        trained = ej.learn.train(
            task(steps=8, score_every=2), key=0, checkpoint=folder, progress=False
        )
    except KeyboardInterrupt:
        print("stopped")
        return
    print(digest(trained.network))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
