"""Boundary elements: against MNE-Python, analytic spheres, finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_slopes, floats
from round_heads import RADII, SIGMA, icosphere, three

import esijax as ej
from esijax.forward import BEMModel, Sensors, SphereModel, Surface
from esijax.forward._collocation import coefficients
from esijax.forward.surface import nearest


@pytest.fixture(scope="module")
def small():
    """Three spheres of 80 triangles."""
    return BEMModel(three(), SIGMA)


@pytest.fixture(scope="module")
def cap():
    """Six electrodes above the scalp, three magnetometers."""
    rng = np.random.default_rng(0)
    v = rng.standard_normal((9, 3))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    eeg = Sensors.eeg(0.093 * v[:6])
    return Sensors.joined(eeg, Sensors.opm(0.11 * v[6:], v[:3]))


PLACES = np.array([[0.0, 0.0, 0.03], [0.02, -0.01, 0.05], [-0.03, 0.02, -0.01]])


# ------------------------------------------------------------------ against MNE-Python
@pytest.fixture(
    scope="module",
    params=["three-layer-320", pytest.param("one-layer-1280", marks=pytest.mark.slow)],
)
def by_mne(request, data_dir, evokeds, forward):
    """MNE-Python's solution in double precision, its forward, and our model of the same head."""
    import mne

    bem = mne.read_bem_solution(data_dir / f"{request.param}-bem-sol.fif", verbose="ERROR")
    trans = mne.read_trans(data_dir / "head-mri-trans.fif")
    bem = mne.make_bem_solution([dict(s) for s in bem["surfs"]], verbose="ERROR")
    info = evokeds["Right visual"].info
    src = forward["src"].copy()
    for s in src:  # every 16th source
        keep = s["vertno"][::16]
        s["inuse"] = np.zeros_like(s["inuse"])
        s["inuse"][keep], s["vertno"], s["nuse"] = 1, keep, len(keep)
    three_layers = len(bem["surfs"]) == 3
    made = mne.make_forward_solution(info, trans, src, bem, eeg=three_layers, verbose="ERROR")
    return bem, trans, info, made


def test_solution_and_gain_equal_mne(by_mne):
    """Asked: 1e-6 of the solution, 1e-5 of the gain, EEG and MEG."""
    bem, trans, info, made = by_mne
    model = ej.io.head_model(bem, trans, assemble=True)
    solution = model.solved().solution
    np.testing.assert_allclose(solution, bem["solution"], atol=1e-12 * np.abs(solution).max())
    names = made["sol"]["row_names"]
    sensors = ej.io.sensors(info, reference="info", picks=names)
    want = made["sol"]["data"].reshape(len(names), -1, 3)
    # from one factorisation, from the inverse, and from MNE-Python's own solution
    for head in (model, model.solved(), ej.io.head_model(bem, trans)):
        field = head.leadfield(made["source_rr"], None, sensors)
        assert field.ch_names == tuple(names)
        for kind in set(field.ch_types):
            rows = np.array(field.ch_types) == kind
            size = np.abs(want[rows]).max()
            np.testing.assert_allclose(field.gain[rows], want[rows], atol=1e-6 * size)


# ------------------------------------------------------------------ against the analytic sphere
def error_of(level, sensors, places):
    model = BEMModel(three(level), SIGMA)
    exact = SphereModel(np.zeros(3), RADII, SIGMA).leadfield(places, None, sensors)
    gain = model.leadfield(places, None, sensors).gain
    eeg = np.array(exact.ch_types) == "eeg"
    return [
        float(jnp.linalg.norm(gain[rows] - exact.gain[rows]) / jnp.linalg.norm(exact.gain[rows]))
        for rows in (eeg, ~eeg)
    ]


@pytest.mark.slow
def test_convergence_to_the_sphere(cap):
    errors = np.array([error_of(level, cap, PLACES) for level in (1, 2, 3)])
    assert (errors[1:] < 0.5 * errors[:-1]).all()  # second order would be a quarter
    assert (errors[2] < 0.04).all()  # 1280 triangles a layer: 3.5 % in EEG and MEG


@pytest.mark.slow
def test_homogeneous_layers_are_one(cap):
    """Without a contrast the outermost surface is all there is."""
    alike = BEMModel(three(), [0.3, 0.3, 0.3])
    assert not alike.isolated
    one = BEMModel([three()[2]], [0.3])
    got, want = (m.leadfield(PLACES, None, cap).gain for m in (alike, one))
    size = np.abs(want).max(axis=(1, 2), keepdims=True)
    # deflation shifts all potentials alike, which EEG is blind to; coils see a little of it, as
    # their integrals over the surface are inexact
    got, want, size = (g[:6] for g in (got, want, size))
    assert np.abs((got - got.mean(axis=0) - want + want.mean(axis=0)) / size).max() < 1e-10


@pytest.mark.slow
def test_the_isolated_problem_is_nearer(cap):
    sphere = SphereModel(np.zeros(3), RADII, SIGMA).leadfield(PLACES, None, cap).gain[:6]
    error = {}
    for isolated in (True, False):
        gain = BEMModel(three(2), SIGMA, isolated=isolated).leadfield(PLACES, None, cap).gain[:6]
        error[isolated] = np.linalg.norm(gain - sphere) / np.linalg.norm(sphere)
    assert error[True] < 0.5 * error[False]


def test_integrals_by_quadrature():
    """Linear potentials over one triangle, by brute force on a fine grid."""
    corners = np.array([[0.0, 0.0, 0.0], [0.03, 0.0, 0.01], [0.0, 0.02, 0.0]])
    surface = Surface(corners, [[0, 1, 2]])
    points = np.array([[0.01, 0.01, 0.02], [0.0, -0.01, -0.03], [0.05, 0.0, 0.001]])
    got = np.asarray(coefficients(jnp.asarray(points), surface))
    n = 700
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    up, down = i + j < n, i + j < n - 1
    weights = (
        np.concatenate(
            [
                np.stack([(i + 1 / 3)[up], (j + 1 / 3)[up]], 1),
                np.stack([(i + 2 / 3)[down], (j + 2 / 3)[down]], 1),
            ]
        )
        / n
    )
    weights = np.concatenate([1 - weights.sum(1, keepdims=True), weights], axis=1)
    y = weights @ corners
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0]) / 2
    for p, row in zip(points, got, strict=True):
        kernel = (y - p) @ (normal / n**2) / np.linalg.norm(y - p, axis=1) ** 3
        np.testing.assert_allclose(row, kernel @ weights, rtol=2e-5, atol=1e-9)


def test_electrodes_find_their_triangle():
    """Against all triangles at once, and the foot inside is the point nearest to it."""
    surface = icosphere(0.09)
    rng = np.random.default_rng(1)
    v = rng.standard_normal((20, 3))
    points = 0.091 * v / np.linalg.norm(v, axis=1, keepdims=True)
    weights, index, distance = (np.asarray(a) for a in nearest(surface, jnp.asarray(points)))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    rr, tris = np.asarray(surface.vertices), np.asarray(surface.triangles)
    grid = rng.dirichlet([1, 1, 1], 4000)
    for p, w, i, d in zip(points, weights, index, distance, strict=True):
        brute = np.linalg.norm(np.einsum("gc,tcd->gtd", grid, rr[tris]) - p, axis=2).min(axis=0)
        assert brute[i] < brute.min() + 1e-4
        assert d <= brute.min() + 1e-12
        if (w >= 0).all():
            np.testing.assert_allclose(d, np.linalg.norm(w @ rr[tris[i]] - p), rtol=1e-9)


# ------------------------------------------------------------------ a head without an MRI
def test_a_template_finds_its_place():
    """A sphere scaled and moved by known amounts, from points on it."""
    template = icosphere(0.092, 2, (0.0, 0.0, 0.03))
    rng = np.random.default_rng(4)
    v = rng.standard_normal((80, 3))
    v = v[v[:, 2] > -0.5] / np.linalg.norm(v[v[:, 2] > -0.5], axis=1, keepdims=True)
    scale, shift = np.array([0.95, 1.06, 1.0]), np.array([0.0, 0.004, -0.003])
    points = (0.0915 * v + [0, 0, 0.03]) * scale + shift
    placed = ej.forward.fit_points(template, points)
    assert float(placed.distance) < 1e-3
    np.testing.assert_allclose(placed.scale, scale, atol=0.02)
    moved = ej.forward.fit_points(template, points, scale=False)
    np.testing.assert_array_equal(moved.scale, 1.0)
    assert float(moved.distance) > 2 * float(placed.distance)
    normals = placed.normals([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)
    head = placed.head(BEMModel(three(), SIGMA))
    np.testing.assert_allclose(head.in_head[0].vertices, placed.points(three()[0].vertices))
    assert head.contains([[0.0, 0.0, 0.0], [0.0, 0.0, 0.09]]).tolist() == [True, False]
    for bad, message in ((points[:5], "nine points"), (1e3 * points, "metres")):
        with pytest.raises(ej.InputError, match=message):
            ej.forward.fit_points(template, bad)


# ------------------------------------------------------------------ derivatives
def test_gradients(small, cap):
    """In conductivities, positions, orientations, sensors and the six of a co-registration."""
    rng = np.random.default_rng(2)
    weight = jnp.asarray(
        rng.standard_normal((9, 3)) * np.where(np.arange(9) < 6, 1e-2, 1e5)[:, None]
    )
    moments = jnp.asarray(rng.standard_normal((3, 3)))

    def value(drift, move, spin, pose, shift):
        model = small.with_conductivities(SIGMA * jnp.exp(drift)).moved(0.01 * shift)
        field = model.leadfield(PLACES + 0.01 * move, moments + spin, cap.moved(0.01 * pose))
        return jnp.sum(jnp.sin(weight * field.gain[..., 0]))

    zero = [jnp.zeros(s) for s in ((3,), (3, 3), (3, 3), (6,), (6,))]
    check_slopes(value, zero, order=1, step=1e-3, rtol=1e-5)


def test_moving_the_head_is_moving_everything_else(small, cap):
    pose = np.array([0.003, -0.002, 0.004, 0.1, -0.05, 0.08])
    motion = np.asarray(ej.forward.rigid(pose))
    back = np.linalg.inv(motion)
    a = small.moved(pose).leadfield(PLACES, None, cap)
    turned = np.broadcast_to(back[:3, :3].T, (3, 3, 3))
    axes = PLACES @ back[:3, :3].T + back[:3, 3]
    inverse = np.r_[back[:3, 3], -pose[3:]]
    b = small.leadfield(axes, turned, cap.moved(inverse))
    size = np.abs(a.gain).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(a.gain / size, b.gain / size, atol=1e-10)


def test_jit_vmap_single_precision_and_chunks(small, cap):
    want = small.leadfield(PLACES, None, cap).gain
    size = np.abs(want).max(axis=(1, 2), keepdims=True)
    run = jax.jit(lambda m, p, s: m.leadfield(p, None, s).gain)
    np.testing.assert_allclose(run(small, jnp.asarray(PLACES), cap) / size, want / size, atol=1e-11)
    batch = jax.vmap(lambda s: small.with_conductivities(s).leadfield(PLACES, None, cap).gain)
    both = batch(jnp.stack([SIGMA, SIGMA * 2]))
    np.testing.assert_allclose(both[0] / size, want / size, atol=1e-10)
    np.testing.assert_allclose(both[1][:6], want[:6] / 2, rtol=1e-9, atol=1e-9)
    rng = np.random.default_rng(3)
    many = rng.uniform(-0.03, 0.03, (300, 3))
    whole = small.prepared(cap)(many).gain
    np.testing.assert_allclose(
        whole[:, 127:131], small.prepared(cap)(many[127:131]).gain, rtol=1e-9
    )
    with jax.enable_x64(False):
        single = BEMModel(three(), SIGMA).leadfield(PLACES, None, floats(cap)).gain
    assert single.dtype == jnp.float32
    assert np.abs((single - want) / size).max() < 2e-3
