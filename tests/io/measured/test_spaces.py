"""Source spaces: orientations of each kind, one hemisphere, surfaces without triangles."""

import warnings

import jax
import mne
import numpy as np
import pytest
from mne.minimum_norm import apply_inverse, make_inverse_operator
from worlds import (
    CENTRE,
    SUBJECT,
    _forward,
    cortex,
    covariance_of,
    forward_of,
    info_of,
    samples_of,
    subjects_dir,
)

import esijax as ej
from esijax.io.measured.geometry import geometry
from esijax.io.measured.mesh import cells, triangle_areas
from esijax.io.measured.spaces import spaces_of

LAMBDA2 = 1e-3  # weak: differences of the lead field show


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    before = mne.set_log_level("ERROR", return_old_level=True)
    yield
    mne.set_log_level(before)


def measured(forward, array="eeg32"):
    """Evoked and covariance for a forward."""
    info, rng = info_of(array), np.random.default_rng(0)
    evoked = mne.EvokedArray(samples_of(info, forward, rng, 4), info)
    if "eeg" in info.get_channel_types():
        evoked.set_eeg_reference(projection=True)
    return evoked, mne.Covariance(covariance_of(info, rng), info["ch_names"], [], [], 10_000)


def difference(forward, array="eeg32", **options):
    """From MNE's map of the minimum norm, as a share of its largest value."""
    evoked, cov = measured(forward, array)
    operator = make_inverse_operator(evoked.info, forward, cov, **options)
    theirs = apply_inverse(evoked, operator, LAMBDA2, "MNE").data
    ours = minimum_norm(ej.from_mne(evoked, forward, cov, **options))
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def minimum_norm(problem):
    """The textbook's map: signed where there is one orient, else the norm."""
    scale = np.asarray(problem.prior_scale).ravel()
    gain = np.asarray(problem.gain).reshape(problem.rank, -1) * scale
    square = gain @ gain.T + LAMBDA2 * np.eye(problem.rank)
    map_ = scale[:, None] * (gain.T @ np.linalg.solve(square, np.asarray(problem.data)))
    map_ = map_.reshape(problem.n_locations, problem.n_orients, -1) * float(problem.source_unit)
    return map_[:, 0] if problem.n_orients == 1 else np.linalg.norm(map_, axis=1)


# ------------------------------------------------------------------ fixed orientations
def fewer(forward):
    """Every second source, as `restrict_forward_to_stc` leaves them."""
    vertices = [s["vertno"][::2] for s in forward["src"]]
    data = np.ones((sum(map(len, vertices)), 1))
    return mne.forward.restrict_forward_to_stc(forward, mne.SourceEstimate(data, vertices, 0, 1))


def reordered(forward):
    names = forward["sol"]["row_names"]
    return mne.pick_channels_forward(forward, names[::-1], ordered=True)


@pytest.mark.parametrize("change", [None, fewer, reordered], ids=["whole", "fewer", "reordered"])
@pytest.mark.parametrize("form", ["head", "surf_ori", "fixed"])
@pytest.mark.parametrize(
    ("array", "space"),
    [("kit", "cortex"), pytest.param("eeg32", "patches", marks=pytest.mark.slow)],
)
def test_fixed_orientations(array, space, form, change):
    """MNE starts from the lead field as computed: 4e-6 from one that was turned before."""
    forward = forward_of(array, space, form)
    forward = forward if change is None else change(forward)
    depth = None if form == "fixed" else 0.8
    assert difference(forward, array=array, loose=0.0, depth=depth) < 1e-9


def test_a_lead_field_changed_by_the_caller_is_kept():
    """What the forward was computed as is used only while it is still that."""
    forward = forward_of("eeg32", "cortex", "surf_ori")
    evoked, cov = measured(forward)
    before = ej.from_mne(evoked, forward, cov, loose=0.0, depth=None).gain
    forward["sol"]["data"] = forward["sol"]["data"][:, ::-1].copy()[:, ::-1] * 2.0
    after = ej.from_mne(evoked, forward, cov, loose=0.0, depth=None).gain
    assert np.abs(after - 2 * before).max() < 1e-5 * np.abs(after).max()


@pytest.mark.parametrize("form", ["head", "surf_ori", "fixed"])
def test_allow_fixed_depth(form):
    """Depth seen along the normals alone; MNE adds it up in single precision."""
    depth = {"exp": 0.8, "allow_fixed_depth": True}
    assert difference(forward_of("eeg32", "cortex", form), loose=0.0, depth=depth) < 1e-6


# ------------------------------------------------------------------ fixed here, free there
MIXES = [
    ("mixed", {"surface": 0.0, "volume": 1.0}),
    ("mixed discrete", {"surface": 0.0, "discrete": 1.0}),
    ("mixed discrete", {"surface": 0.3, "discrete": 0.0}),
    ("mixed discrete", {"surface": 0.0, "discrete": 0.0}),
]


@pytest.mark.parametrize("form", ["head", "surf_ori"])
@pytest.mark.parametrize(("space", "loose"), MIXES, ids=str)
def test_loose_by_kind(space, loose, form):
    assert difference(forward_of("eeg32", space, form), loose=loose) < 1e-9


def test_fixed_cortex_and_free_volume():
    """Three orients; on the cortex the tangential ones have no variance."""
    forward = forward_of("eeg32", "mixed")
    evoked, cov = measured(forward)
    problem = ej.from_mne(evoked, forward, cov, loose={"surface": 0.0, "volume": 1.0})
    n = len(problem.labels.vertices[0]) + len(problem.labels.vertices[1])
    assert problem.n_orients == 3
    assert not np.asarray(problem.prior_scale)[:n, :2].any()
    assert (np.asarray(problem.prior_scale)[:n, 2] > 0).all()
    assert (np.asarray(problem.prior_scale)[n:] > 0).all()


TAKES_ZEROS = {
    "dSPM": (ej.models.MinimumNorm(), ej.inference.Linear("dSPM")),
    "eLORETA": (ej.models.ELORETA(), ej.inference.Linear()),
    "ARD": (ej.models.ARD(), ej.inference.EM(max_iter=5)),
    "MxNE": (ej.models.L21(ej.relative(0.4)), ej.inference.MAP()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKES_ZEROS)
def test_methods_bear_orients_without_variance(name):
    forward = forward_of("eeg32", "mixed")
    evoked, cov = measured(forward)
    problem = ej.from_mne(evoked, forward, cov, loose={"surface": 0.0, "volume": 1.0})
    model, method = TAKES_ZEROS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ej.EsijaxWarning)
        estimate = ej.solve(problem, model, method)
    assert np.isfinite(estimate.mean).all()
    n = len(problem.labels.vertices[0]) + len(problem.labels.vertices[1])
    assert not np.asarray(estimate.mean)[:n, :2].any()
    assert np.asarray(estimate.mean).any()


@pytest.mark.slow
def test_gradient_where_orients_have_no_variance():
    forward = forward_of("eeg32", "mixed")
    evoked, cov = measured(forward)
    problem = ej.from_mne(evoked, forward, cov, loose={"surface": 0.0, "volume": 1.0})

    def power(data, model, method):
        return (ej.solve(problem.with_data(data), model, method).mean ** 2).sum() * 1e18

    for name in ("dSPM", "MxNE"):
        model, method = TAKES_ZEROS[name]
        model = ej.models.L21(5.0) if name == "MxNE" else model
        gradient = jax.grad(lambda d, m=model, h=method: power(d, m, h))(problem.recording)
        assert np.isfinite(gradient).all()


# ------------------------------------------------------------------ hemispheres
@pytest.mark.parametrize("side", [0, 1])
def test_one_hemisphere(side):
    """The other one is there without vertices: nothing is taken for the wrong side."""
    forward = forward_of("eeg32", ("left", "right")[side])
    evoked, cov = measured(forward)
    labels = ej.from_mne(evoked, forward, cov).labels
    assert labels.kinds == ("surface", "surface")
    assert [len(v) for v in labels.vertices][1 - side] == 0
    np.testing.assert_array_equal(labels.vertices[side], forward["src"][0]["vertno"])
    assert all(v.dtype.kind == "i" for v in labels.vertices)


def fake(*spaces):
    """What `spaces_of` reads of source spaces; MNE refuses to make some of them."""
    return [{"type": kind, "id": side, "vertno": np.arange(3)} for kind, side in spaces]


SPACES = [
    ([("surf", 101), ("surf", 102)], (3, 3), ("surface",) * 2),
    ([("surf", 101), ("vol", 0)], (3, 0, 3), ("surface", "surface", "volume")),
    ([("surf", 102), ("discrete", 0)], (0, 3, 3), ("surface", "surface", "discrete")),
    ([("surf", 101), ("surf", 102), ("vol", 0), ("vol", 0)], (3,) * 4, None),
    ([("vol", 0), ("vol", 0)], (3, 3), ("volume", "volume")),
]


@pytest.mark.parametrize(("spaces", "sizes", "kinds"), SPACES, ids=str)
def test_left_right_then_volumes(spaces, sizes, kinds):
    vertices, got = spaces_of(fake(*spaces))
    assert tuple(len(v) for v in vertices) == sizes
    assert got == (kinds or ("surface", "surface", "volume", "volume"))


WRONG = [
    ([("surf", 102), ("surf", 101)], "right, left: they must be left, right"),
    ([("surf", 101), ("surf", 101)], "left, left"),
    ([("surf", 0)], "of unknown side"),
    ([("surf", 101), ("surf", 102), ("surf", 101)], "left, right, left"),
    ([("vol", 0), ("surf", 101)], "volume, surface: surfaces come first"),
]


@pytest.mark.parametrize(("spaces", "says"), WRONG, ids=str)
def test_sides_that_cannot_be_told(spaces, says):
    with pytest.raises(ej.InputError, match=says):
        spaces_of(fake(*spaces))


def test_hemispheres_in_the_wrong_order():
    forward = forward_of("eeg32", "cortex")
    evoked, cov = measured(forward)
    forward["src"][0]["id"], forward["src"][1]["id"] = 102, 101
    with pytest.raises(ej.InputError, match=r"right, left.*src\[i\]\['id'\] \(101 left"):
        ej.from_mne(evoked, forward, cov)


# ------------------------------------------------------------------ surfaces without triangles
@pytest.fixture(scope="module")
def decimated():
    """A source space by spacing in mm: no triangles of the used vertices."""
    src = mne.setup_source_space(
        SUBJECT, 20, subjects_dir=subjects_dir(), surface="white", add_dist=False
    )
    assert src[0]["use_tris"] is None
    return src


def test_cells_of_a_decimated_surface(decimated):
    """They cover the surface, and their mesh is closed: Euler's formula of a sphere."""
    for s in decimated:
        rr = np.asarray(s["rr"], dtype=float)
        mesh, areas = cells(rr, s["tris"], s["vertno"])
        whole = triangle_areas(rr, s["tris"]).sum()
        assert abs(areas.sum() - whole) < 1e-3 * whole
        assert (areas > 0).all()
        edges = np.unique(
            np.sort(np.concatenate([mesh[:, [0, 1]], mesh[:, [1, 2]], mesh[:, [0, 2]]]))
        )
        assert len(edges) == s["nuse"]
        assert len(mesh) == 2 * s["nuse"] - 4


def test_cells_are_turned_as_the_surface(decimated):
    """Normals of the triangles point outwards, as those of the vertices do on average."""
    s = decimated[0]
    rr = np.asarray(s["rr"], dtype=float)
    mesh, _ = cells(rr, s["tris"], s["vertno"])
    a, b, c = (rr[s["vertno"][mesh[:, i]]] for i in range(3))
    volume = np.einsum("ti,ti->", a, np.cross(b, c)) / 6
    assert volume > 0


def test_known_mesh_is_found_again():
    """Areas of cells against those of the triangles that came with the source space."""
    s = cortex("ico3")[0]
    rr = np.asarray(s["rr"], dtype=float)
    mesh, areas = cells(rr, s["tris"], s["vertno"])
    assert len(mesh) == len(s["use_tris"]) == 1280
    place = np.full(s["np"], -1)
    place[s["vertno"]] = np.arange(s["nuse"])
    known = {tuple(sorted(t)) for t in place[s["use_tris"]]}
    found = {tuple(sorted(t)) for t in mesh}
    assert len(known & found) > 0.8 * len(known)
    assert abs(areas.sum() - triangle_areas(rr, s["tris"]).sum()) < 1e-9


def test_a_label_owns_its_own_cortex():
    """Restricted to a label: the areas are those of the label, not of the hemisphere."""
    s = cortex("ico3")[0]
    rr = np.asarray(s["rr"], dtype=float)
    _, whole = cells(rr, s["tris"], s["vertno"])
    inside = np.linalg.norm(rr[s["vertno"]] - rr[s["vertno"][50]], axis=1) < 0.03
    _, part = cells(rr, s["tris"], s["vertno"][inside])
    assert whole[inside].sum() < part.sum() < 1.8 * whole[inside].sum()


def test_patch_on_a_decimated_surface(decimated):
    info = info_of("eeg32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        forward = mne.make_forward_solution(
            info,
            forward_of("eeg32", "cortex")["mri_head_t"],
            decimated,
            mne.make_sphere_model(CENTRE, 0.105),
            mindist=0.0,
            on_inside="ignore",
        )
    geo = geometry(forward)
    assert 0.09 < float(np.sum(geo.areas)) < 0.14  # m2
    profile = ej.simulate.patch(geo, seed=5, area=8e-4)
    active = profile > 0
    assert np.isfinite(profile).all()
    assert 8e-4 <= float(np.sum(geo.areas[active])) < 12e-4
    assert np.linalg.norm(geo.positions[active] - geo.positions[5], axis=1).max() < 0.04


def test_no_patch_without_a_mesh():
    forward = forward_of("eeg32", "mixed")
    geo = geometry(forward)
    with pytest.raises(ej.InputError, match="location 30 has no area"):
        ej.simulate.patch(geo, seed=30, area=1e-4)
    for bare in (geometry(forward_of("eeg32", "volume")), without_mesh("eeg32")):
        assert bare.areas is None
        assert bare.triangles is None
        with pytest.raises(ej.InputError, match="no mesh"):
            ej.simulate.patch(bare, seed=5, area=1e-4)


def without_mesh(array):
    """A surface of which the triangles were lost altogether."""
    forward = _forward(array, "cortex").copy()
    for s in forward["src"]:
        s["tris"] = s["use_tris"] = np.zeros((0, 3), dtype=int)
    return geometry(forward)
