"""The download-free head: nothing lost, everything in its place, gains that make sense."""

import mne
import numpy as np
import pytest
from scipy.spatial import ConvexHull, Delaunay, cKDTree

from esijax._types import InputError
from esijax.io.template_head import _electrode_positions, template


@pytest.fixture(scope="session")
def template_oct5():
    """EEG and MEG on fsaverage5, 2052 locations."""
    return template("biosemi64", meg=True, spacing="oct5")


def head_surface(head):
    """Vertices and triangles of MNE's head surface, in head coordinates."""
    path = head.subjects_dir / "fsaverage" / "bem" / "fsaverage-head.fif"
    surface = mne.read_bem_surfaces(path, verbose="ERROR")[0]
    to_head = mne.transforms.invert_transform(head.trans)
    return mne.transforms.apply_trans(to_head, surface["rr"]), surface["tris"]


def electrodes(info):
    return np.array([info["chs"][i]["loc"][:3] for i in mne.pick_types(info, eeg=True)])


def coils(info):
    loc = np.array([info["chs"][i]["loc"][:3] for i in mne.pick_types(info, meg=True)])
    return mne.transforms.apply_trans(info["dev_head_t"], loc)


def gain(head, **kinds):
    """Lead field (channels, locations, 3)."""
    rows = head.forward["sol"]["data"][mne.pick_types(head.info, **kinds)]
    return rows.reshape(len(rows), -1, 3)


def test_shapes_and_no_dropped_source(template_oct5):
    head = template_oct5
    assert head.forward["nsource"] == sum(s["nuse"] for s in head.src) == 2 * 1026
    assert head.forward["sol"]["data"].shape == (370, 3 * 2052)
    assert head.forward["info"]["ch_names"] == head.info["ch_names"]
    assert np.isfinite(head.forward["sol"]["data"]).all()
    assert {s["subject_his_id"] for s in head.src} == {"fsaverage"}
    assert [s["use_tris"].max() < 10242 for s in head.src] == [True, True]


def test_sensors(template_oct5):
    info = template_oct5.info
    assert [len(mne.pick_types(info, meg=kind)) for kind in ("mag", "grad")] == [102, 204]
    assert len(mne.pick_types(info, eeg=True)) == 64
    assert info["sfreq"] == 600.0
    assert [p["desc"] for p in info["projs"]] == ["Average EEG reference"]
    assert {"Fp1", "Cz", "Iz"} <= set(info["ch_names"])


def test_electrodes_lie_on_the_head(template_oct5):
    rr, tris = head_surface(template_oct5)
    dense = np.concatenate([rr, rr[tris].mean(axis=1)])
    away, _ = cKDTree(dense).query(electrodes(template_oct5.info))
    assert away.max() < 0.010
    names = [c for c in template_oct5.info["ch_names"] if not c.startswith("MEG")]
    at = dict(zip(names, electrodes(template_oct5.info), strict=True))
    assert at["C3"][0] < -0.04 < 0.04 < at["C4"][0]
    assert at["Oz"][1] < -0.04 < 0.04 < at["Fpz"][1]


def test_coils_lie_outside_and_near(template_oct5):
    rr, _ = head_surface(template_oct5)
    points = coils(template_oct5.info)
    assert (Delaunay(rr[ConvexHull(rr).vertices]).find_simplex(points) == -1).all()
    away, _ = cKDTree(rr).query(points)
    assert 0.005 < away.min() < 0.03
    assert away.max() < 0.08


def test_radial_dipole_peaks_at_the_nearest_electrode(template_oct5):
    at = electrodes(template_oct5.info)
    src = template_oct5.forward["source_rr"]
    distance, nearest = cKDTree(at).query(src)
    top = np.argsort(distance)[:20]  # superficial, right below an electrode
    radial = at[nearest[top]] - src[top]
    radial /= np.linalg.norm(radial, axis=1, keepdims=True)
    topographies = np.einsum("clx,lx->cl", gain(template_oct5, eeg=True)[:, top], radial)
    topographies -= topographies.mean(axis=0)
    assert (topographies.argmax(axis=0) == nearest[top]).all()


def test_gains_are_physical(template_oct5):
    """A cortical dipole of 10 nA m gives some 100 fT, 50 fT/cm and 1 µV."""
    for kinds, low, high in (
        ({"meg": "mag"}, 20e-15, 1e-12),
        ({"meg": "grad"}, 1e-12, 50e-12),
        ({"eeg": True}, 0.5e-6, 20e-6),
    ):
        strongest = 1e-8 * np.abs(gain(template_oct5, **kinds)).max(axis=(0, 2))
        assert low < np.median(strongest) < high, kinds


def test_meg_is_nearly_blind_to_radial_dipoles(template_oct5):
    src = template_oct5.forward["source_rr"]
    top = np.argsort(src[:, 2])[-50:]  # the vertex, where the head is round
    radial = src[top] - np.array([0.0, 0.0, 0.05])
    radial /= np.linalg.norm(radial, axis=1, keepdims=True)
    g = gain(template_oct5, meg="mag")[:, top]
    seen = np.linalg.norm(np.einsum("clx,lx->cl", g, radial), axis=0)
    strongest = np.linalg.svd(np.moveaxis(g, 1, 0), compute_uv=False)[:, 0]
    assert (seen / strongest).max() < 0.25


def test_electrodes_without_a_known_position_are_moved_onto_the_head(template_oct5):
    rr, tris = head_surface(template_oct5)
    dense = np.concatenate([rr, rr[tris].mean(axis=1)])
    positions = _electrode_positions("biosemi128")
    assert len(positions) == 128
    assert cKDTree(dense).query(np.array(list(positions.values())))[0].max() < 0.010


@pytest.mark.parametrize("montage", ["biosemi64", "biosemi128", "biosemi256", "easycap-M1"])
def test_a_name_is_looked_up_only_where_the_montage_has_it_too(montage):
    dig = mne.channels.make_standard_montage(montage)
    to_head = mne.channels.compute_native_head_t(dig)
    positions = _electrode_positions(montage)
    for name, where in dig.get_positions()["ch_pos"].items():
        a, b = mne.transforms.apply_trans(to_head, where), positions[name]
        assert a @ b > np.cos(0.6) * np.linalg.norm(a) * np.linalg.norm(b), name


@pytest.mark.parametrize(
    ("montage", "message"),
    [(None, "no sensors"), ("biosemi65", "biosemi65"), (["Cz", "C33"], "C33")],
)
def test_impossible_sensors(montage, message):
    with pytest.raises(InputError, match=message):
        template(montage, meg=False)


def test_a_foreign_fsaverage_is_left_alone(tmp_path):
    (tmp_path / "fsaverage" / "surf").mkdir(parents=True)
    with pytest.raises(InputError, match="another fsaverage"):
        template(None, subjects_dir=tmp_path)
    assert not list((tmp_path / "fsaverage" / "surf").iterdir())


def test_one_kind_of_sensor_a_shared_bem_and_a_given_folder(tmp_path, template_oct5):
    names, bem = ["Fz", "Cz", "Pz"], template_oct5.bem
    for _ in range(2):  # the second finds what the first wrote
        head = template(names, False, spacing="ico3", bem=bem, subjects_dir=tmp_path)
    assert head.info["ch_names"] == names
    assert head.forward["sol"]["data"].shape == (3, 3 * 1284)
    assert head.bem is bem
    assert head.subjects_dir == tmp_path
    assert (tmp_path / "fsaverage" / "surf" / "lh.inflated").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["fsaverage"]
