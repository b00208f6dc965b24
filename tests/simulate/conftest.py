"""A small cortex of two crumpled sheets, seen by twelve sensors."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej

SIDE = 12


def sheet(offset):
    """Positions, normals and edges of a crumpled sheet with uneven spacing."""
    rng = np.random.default_rng(2)
    x, y = np.meshgrid(np.arange(float(SIDE)), np.arange(float(SIDE)), indexing="ij")
    positions = 0.006 * np.stack([x, y, np.sin(x) * np.cos(y)], axis=-1).reshape(-1, 3)
    positions += 5e-4 * rng.standard_normal(positions.shape)
    index = np.arange(SIDE**2).reshape(SIDE, SIDE)
    squares = [index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]]
    a, b, c, d = (s.ravel() for s in squares)
    pairs = np.concatenate([np.stack(p, 1) for p in ((a, b), (b, c), (a, c), (c, d), (a, d))])
    normals = rng.standard_normal((SIDE**2, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return positions + offset, normals, np.unique(np.sort(pairs, axis=1), axis=0)


def frames_of(normals):
    """Right-handed frames with the normal last."""
    out = []
    for n in normals:
        basis = np.linalg.svd(n[None])[2]
        out.append(np.stack([basis[1], np.cross(n, basis[1]), n]))
    return np.array(out)


@pytest.fixture(scope="session")
def cortex():
    """288 locations, two pieces."""
    parts = [sheet(np.array([x, -0.03, 0.0])) for x in (-0.1, 0.03)]
    positions, normals = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    edges = np.concatenate([parts[0][2], parts[1][2] + SIDE**2])
    areas = 3e-5 * np.random.default_rng(3).uniform(0.5, 1.5, len(positions))
    return ej.Geometry(
        positions=jnp.asarray(positions),
        normals=jnp.asarray(normals),
        frames=jnp.asarray(frames_of(normals)),
        areas=jnp.asarray(areas),
        edges=jnp.asarray(edges),
    )


@pytest.fixture(scope="session")
def head(cortex):
    """Three orients, twelve channels."""
    rng = np.random.default_rng(4)
    return ej.simulate.Head(rng.standard_normal((12, len(cortex.positions), 3)), cortex)


@pytest.fixture(scope="session")
def fixed_head(head):
    """The same along the normals."""
    gain = jnp.einsum("clo,lo->cl", head.gain, jnp.eye(3)[2] * jnp.ones((head.n_locations, 1)))
    geometry = eqx.tree_at(lambda g: g.frames, head.geometry, head.geometry.frames[:, 2:])
    return ej.simulate.Head(gain[..., None], geometry)


@pytest.fixture(scope="session")
def problem(head):
    """Every third location of the head is inverted; correlated noise; 40 samples at 250 Hz."""
    rng = np.random.default_rng(5)
    some = np.arange(0, head.n_locations, 3)
    half = rng.standard_normal((12, 12))
    problem = ej.from_arrays(
        np.asarray(head.gain)[:, some],
        rng.standard_normal((12, 40)),
        noise_cov=0.3 * np.eye(12) + half @ half.T / 12,
        positions=np.asarray(head.positions)[some],
        normals=np.asarray(head.geometry.normals)[some],
        sfreq=250.0,
        tmin=-0.02,
        ch_types=("eeg",) * 8 + ("mag",) * 4,
    )
    frames = head.geometry.frames[some]
    return eqx.tree_at(lambda p: p.geometry.frames, problem, frames)
