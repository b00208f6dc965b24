"""Spheres: against independent formulas, MNE-Python, symmetries and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_slopes, floats
from scipy.special import eval_legendre, lpmv

import esijax as ej
from esijax.forward import Sensors, SphereModel

AXES = np.eye(3)


def naive_weight(n, radii, sigma):
    """h_n from the dense linear system of all interface conditions, radii in units of the last."""
    s, k_last = radii / radii[-1], len(radii) - 1
    matrix = np.zeros((2 * k_last + 1, 2 * k_last + 1))
    rhs = np.zeros(2 * k_last + 1)

    def put(row, k, r, grow, fall):
        """Add u_k = A_k r^n + B_k r^-(n+1), with factors, to a row; B_0 is the dipole's own 1."""
        matrix[row, k] += grow * r**n
        if k == 0:
            rhs[row] -= fall * r ** -(n + 1.0)
        else:
            matrix[row, k_last + k] += fall * r ** -(n + 1.0)

    for k in range(k_last):
        put(2 * k, k, s[k], 1, 1)
        put(2 * k, k + 1, s[k], -1, -1)
        put(2 * k + 1, k, s[k], sigma[k] * n, -sigma[k] * (n + 1))
        put(2 * k + 1, k + 1, s[k], -sigma[k + 1] * n, sigma[k + 1] * (n + 1))
    put(2 * k_last, k_last, 1.0, n, -(n + 1))
    x = np.linalg.solve(matrix, rhs)
    return x[k_last] + (x[2 * k_last] if k_last else 1.0)


def naive_potential(moment, place, direction, radii, sigma):
    """The textbook series, term by term, with SciPy's Legendre functions."""
    outer, depth = radii[-1], np.linalg.norm(place)
    radial = place / depth
    cosine = direction @ radial
    across = direction - cosine * radial
    total = 0.0
    for n in range(1, 3000):
        h = naive_weight(n, radii, sigma) if n < 250 else naive_limit(n, sigma)
        size = h * (depth / outer) ** (n - 1)
        slope = -lpmv(1, n, cosine) / np.sqrt(1 - cosine**2)
        total += size * (moment @ radial * n * eval_legendre(n, cosine) + moment @ across * slope)
        if n > 20 and abs(size) * n**2 < 1e-15 * abs(total):
            break
    return total / (4 * np.pi * sigma[0] * outer**2)


def naive_limit(n, sigma):
    """h_n where the powers of the radii have died out (below 1e-17 from n = 250 on)."""
    s = sigma[1:] / sigma[:-1]
    return (2 * n + 1) / n * np.prod((2 * n + 1) / (n + s * (n + 1)))


@pytest.mark.parametrize(
    "n_shells", [1, 3, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4))]
)
def test_eeg_is_the_naive_series(n_shells):
    """Deep, middle and shallow (0.97 of the radius), above, beside and below the dipole."""
    radii = np.array([0.08, 0.0826, 0.086, 0.0925, 0.1])[:n_shells]
    sigma = np.array([0.33, 1.0, 0.02, 0.006, 0.4])[:n_shells]
    rng = np.random.default_rng(n_shells)
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    places = np.array([0.02, 0.06, 0.97 * 0.08])[:, None] * axis
    around = axis + np.array([0.05, 0.7, 5.0])[:, None] * rng.standard_normal((3, 3))
    around = np.concatenate([around, [-axis + 0.1 * rng.standard_normal(3)]])
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    sphere = SphereModel(np.zeros(3), radii, sigma)
    got = sphere.leadfield(places, None, Sensors.eeg(radii[-1] * around)).gain
    for i, e in enumerate(around):
        for j, p in enumerate(places):
            want = [naive_potential(q, p, e, radii, sigma) for q in AXES]
            np.testing.assert_allclose(got[i, j], want, rtol=0, atol=1e-10 * np.abs(want).max())


def test_one_sphere_is_the_closed_form():
    """Potential of a homogeneous sphere as Mosher et al. 1999 write it, and shells alike."""
    rng = np.random.default_rng(0)
    outer, sigma = 0.09, 0.3
    e = rng.standard_normal(3)
    r = outer * e / np.linalg.norm(e)
    p = rng.standard_normal((4, 3))
    p *= np.array([1e-3, 0.03, 0.07, 0.089])[:, None] / np.linalg.norm(p, axis=1, keepdims=True)
    d = r - p
    dist = np.linalg.norm(d, axis=1, keepdims=True)
    big = outer * dist * (outer * dist + outer**2 - p @ r[:, None])
    want = 2 * d / dist**3 + (d * outer + r * dist) / big * 1.0
    want = (
        2 * d / dist**3
        + (outer * d + dist * r) / (dist * outer * (outer**2 + outer * dist - p @ r[:, None]))
    ) / (4 * np.pi * sigma)
    sensors = Sensors.eeg(r[None])
    one = SphereModel(np.zeros(3), [outer], [sigma]).leadfield(p, None, sensors).gain[0]
    np.testing.assert_allclose(one, want, rtol=1e-11)
    many = SphereModel(np.zeros(3), [0.0895, 0.0898, outer], [sigma] * 3)
    np.testing.assert_allclose(many.leadfield(p, None, sensors).gain[0], want, rtol=1e-11)


def test_meg_is_sarvas_by_hand(shells, places, both):
    """B from a dipole in a sphere, the gradient of F by autodiff of its definition."""
    centre, radii, sigma = shells
    field = SphereModel(centre, radii, sigma).leadfield(places, None, both)
    coils = both.coils

    def big_f(r, p):
        a = jnp.linalg.norm(r - p)
        return a * (jnp.linalg.norm(r) * a + r @ r - p @ r)

    meg = [i for i, kind in enumerate(both.ch_types) if kind == "grad"]
    for c, row in enumerate(meg):
        for j, p in enumerate(places - centre):
            want = 0.0
            for k in range(2):
                r = coils.points[c, k] - centre
                f, slope = big_f(r, p), jax.grad(big_f)(r, p)
                b = (f * np.cross(AXES, p) - (np.cross(AXES, p) @ r)[:, None] * slope) / f**2
                want = want + 1e-7 * coils.weights[c, k] * b @ coils.normals[c, k]
            np.testing.assert_allclose(field.gain[row, j], want, rtol=1e-11, atol=1e-25)


def test_radial_dipoles_are_silent_in_meg(shells, places, both):
    sphere = SphereModel(*shells)
    radial = places[1:] - shells[0]
    gain = np.asarray(sphere.leadfield(places[1:], radial, both).gain[..., 0])
    free = np.asarray(sphere.leadfield(places[1:], None, both).gain)
    meg = np.array(both.ch_types) == "grad"
    assert np.abs(gain[meg]).max() < 1e-15 * np.abs(free[meg]).max()
    assert (np.abs(gain[~meg]) > 0).all()


def test_reciprocity(shells, places, both):
    """EEG: the gradient of a harmonic function. MEG: of the field that the coil induces."""
    sphere = SphereModel(*shells)

    def lead(place):
        return sphere.leadfield(place[None], None, both).gain[:, 0]

    slope = np.asarray(jax.vmap(jax.jacfwd(lead))(jnp.asarray(places)))
    size = np.abs(slope).max(axis=(0, 2, 3))[None]
    eeg = np.array(both.ch_types) == "eeg"
    curl = slope - slope.swapaxes(2, 3)
    assert (np.abs(curl).max(axis=(2, 3)) / size)[:, eeg].max() < 1e-13
    assert (np.abs(np.trace(slope, axis1=2, axis2=3)) / size).max() < 1e-13
    # curl of the induced field: the field of the coil's own current, which no conductor changes
    points, vectors = both.coils.in_head
    d = places[:, None, None] - points
    dist = np.linalg.norm(d, axis=-1, keepdims=True)
    dot = np.sum(d * vectors, axis=-1, keepdims=True)
    coil = 1e-7 * np.sum(3 * d * dot / dist**5 - vectors / dist**3, axis=2)
    curl = np.stack([curl[:, :, 2, 1], curl[:, :, 0, 2], curl[:, :, 1, 0]], axis=-1)[:, ~eeg]
    np.testing.assert_allclose(curl, coil, rtol=1e-10, atol=1e-12 * np.abs(coil).max())


def test_rotation_and_translation(shells, places, both):
    centre, radii, sigma = shells
    motion = ej.forward.rigid([0.01, -0.02, 0.03, 0.4, -1.1, 0.7])
    turn, shift = np.asarray(motion[:3, :3]), np.asarray(motion[:3, 3])
    before = SphereModel(centre, radii, sigma).leadfield(places, None, both)
    moved = SphereModel(turn @ centre + shift, radii, sigma).leadfield(
        places @ turn.T + shift,
        np.broadcast_to(turn.T, (5, 3, 3)),
        both.moved([0.01, -0.02, 0.03, 0.4, -1.1, 0.7]),
    )
    size = np.abs(before.gain).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(moved.gain / size, before.gain / size, atol=1e-12)


def smooth(centre, radii, sigma, places, moments, sensors):
    """A number of order one from every part of a lead field."""
    gain = SphereModel(centre, radii, sigma, n_terms=24).leadfield(places, moments, sensors).gain
    weight = np.where(np.array(sensors.ch_types) == "eeg", 1e-2, 1e5)
    return jnp.sum(jnp.sin(gain * weight[:, None, None]))


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_gradients(shells, places, both, order):
    """In position, orientation, radii, conductivities, sensors and centre, against differences."""
    centre, radii, sigma = (jnp.asarray(a) for a in shells)
    moments = jnp.asarray(np.random.default_rng(3).standard_normal((3, 3)))
    shallow = jnp.asarray(places[np.array([0, 2, 4])])

    def value(move, spin, swell, drift, pose, shift):  # each of order one
        return smooth(
            centre + 0.01 * shift,
            radii * jnp.exp(0.01 * swell),
            sigma * jnp.exp(drift),
            shallow + 1e-2 * move,
            moments + spin,
            both.moved(0.02 * pose),
        )

    zero = [jnp.zeros(s) for s in ((3, 3), (3, 3), (4,), (4,), (6,), (3,))]
    # 24 terms: the same function on both sides, and the asymptotic part is in it
    check_slopes(value, zero, order=order)


def test_jit_vmap_and_single_precision(shells, places, both):
    sphere = SphereModel(*shells, n_terms=128)
    want = sphere.leadfield(places, None, both).gain
    run = jax.jit(lambda s, p, b: s.leadfield(p, None, b).gain)
    np.testing.assert_allclose(run(sphere, jnp.asarray(places), both), want, rtol=1e-9, atol=1e-20)
    batch = jax.vmap(
        lambda s: (
            SphereModel(shells[0], shells[1], s, n_terms=128).leadfield(places, None, both).gain
        )
    )(jnp.stack([shells[2], 2 * shells[2]]))
    np.testing.assert_allclose(batch[0], want, rtol=1e-9, atol=1e-20)
    eeg = np.array(both.ch_types) == "eeg"
    np.testing.assert_allclose(batch[1][eeg], want[eeg] / 2, rtol=1e-9)
    with jax.enable_x64(False):
        single = SphereModel(*shells).leadfield(places, None, floats(both)).gain
    assert single.dtype == jnp.float32
    size = np.abs(want).max(axis=(1, 2), keepdims=True)
    assert np.abs((single - want) / size).max() < 1e-4


def test_chunks_do_not_show(shells, both):
    """More sources than one chunk, and not a multiple of it."""
    rng = np.random.default_rng(5)
    many = shells[0] + rng.uniform(-0.03, 0.03, (301, 3))
    moments = rng.standard_normal((301, 2, 3))
    sphere = SphereModel(*shells)
    whole = sphere.leadfield(many, moments, both).gain
    some = sphere.leadfield(many[130:133], moments[130:133], both).gain
    np.testing.assert_allclose(whole[:, 130:133], some, rtol=1e-9, atol=1e-20)
    along = sphere.leadfield(many, None, both).along(moments)
    np.testing.assert_allclose(along.gain, whole, rtol=1e-9, atol=1e-19)
