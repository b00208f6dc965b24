"""Sensors: references, OPM cells, rigid motions, and those of an mne.Info."""

import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_slopes
from scipy.spatial.transform import Rotation

import esijax as ej
from esijax.forward import Sensors, SphereModel, rigid


@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-3, 0.5, 3.0])
def test_rigid_is_scipys(size):
    rng = np.random.default_rng(0)
    omega = rng.standard_normal(3)
    omega *= size / np.linalg.norm(omega)
    got = rigid(np.r_[1.0, 2.0, 3.0, omega])
    want = np.eye(4)
    want[:3, :3], want[:3, 3] = Rotation.from_rotvec(omega).as_matrix(), [1, 2, 3]
    np.testing.assert_allclose(got, want, atol=1e-15)
    weight = jnp.asarray(rng.standard_normal((4, 4)))
    check_slopes(lambda p: jnp.sum(weight * rigid(p)), [jnp.asarray(np.r_[0.1, 0.2, 0.3, omega])])
    with pytest.raises(ej.InputError, match="six"):
        rigid(np.zeros(5))


def test_references(shells, places):
    rng = np.random.default_rng(4)
    centre, radii, _ = shells
    v = rng.standard_normal((5, 3))
    at = centre + radii[-1] * v / np.linalg.norm(v, axis=1, keepdims=True)
    sphere = SphereModel(*shells)
    none = np.asarray(sphere.leadfield(places, None, Sensors.eeg(at)).gain)
    average = sphere.leadfield(places, None, Sensors.eeg(at, "average")).gain
    np.testing.assert_allclose(average, none - none.mean(axis=0), rtol=1e-10, atol=1e-10)
    single = sphere.leadfield(places, None, Sensors.eeg(at[:3], at[3])).gain
    np.testing.assert_allclose(single, none[:3] - none[3], rtol=1e-10, atol=1e-10)
    linked = sphere.leadfield(places, None, Sensors.eeg(at[:3], at[3:])).gain
    np.testing.assert_allclose(linked, none[:3] - none[3:].mean(axis=0), rtol=1e-10, atol=1e-10)
    with pytest.raises(ej.InputError, match="'average' or positions"):
        Sensors.eeg(at, "mastoids")


def test_opm_cell_averages_the_field(shells, places):
    at, axis = shells[0] + [[0.0, 0.03, 0.11]], [[0.3, 0.1, 2.0]]
    sphere = SphereModel(*shells)
    point = np.asarray(sphere.leadfield(places[1:], None, Sensors.opm(at, axis)).gain)
    cell = np.asarray(sphere.leadfield(places[1:], None, Sensors.opm(at, axis, size=3e-3)).gain)
    difference = np.abs(cell - point).max() / np.abs(point).max()
    assert 0 < difference < 1e-2
    half = sphere.leadfield(places[1:], None, Sensors.opm(at, axis, size=1.5e-3)).gain
    # the field is harmonic: the second order averages out over a cube
    np.testing.assert_allclose((half - point) / (cell - point), 1 / 16, rtol=0.02)
    with pytest.raises(ej.InputError, match="axis of length zero"):
        Sensors.opm(at, [[0.0, 0.0, 0.0]])


def test_what_does_not_fit(both):
    with pytest.raises(ej.InputError, match="do not fit"):
        Sensors(both.electrodes, None, both.ch_names, both.ch_types)
    with pytest.raises(ej.InputError, match="twice"):
        Sensors.eeg(np.eye(3), ch_names=["a", "b", "a"])
    with pytest.raises(ej.InputError, match="electrodes 1 are NaN"):
        Sensors.eeg([[0, 0, 0.1], [np.nan, 0, 0]])
    with pytest.raises(ej.InputError, match="both have electrodes"):
        Sensors.joined(Sensors.eeg(np.eye(3)), both)
    with pytest.raises(ej.InputError, match="no channel x"):
        SphereModel().leadfield([[0, 0, 0.05]], None, both).pick(["c1", "x"])


# ------------------------------------------------------------------ of an mne.Info
@pytest.fixture(scope="module")
def head(evokeds, forward):
    """Info, and sources of the subject that a sphere holds."""
    places = forward["source_rr"][::9]
    inside = np.linalg.norm(places - [0, 0, 0.04], axis=1) < 0.079
    return evokeds["Right visual"].info, places[inside]


@pytest.fixture(scope="module")
def by_mne(head):
    """MNE-Python's lead fields of a four-shell sphere: sources x 3, all channels."""
    import mne

    info, places = head
    sphere = mne.make_sphere_model((0.0, 0.0, 0.04), 0.09, verbose="ERROR")
    src = mne.setup_volume_source_space(
        pos=dict(rr=places, nn=np.tile([0, 0, 1.0], (len(places), 1))), sphere=None, verbose="ERROR"
    )
    src[0]["coord_frame"] = np.array(4, np.int32)
    return mne.make_forward_solution(info, None, src, sphere, verbose="ERROR")


def test_meg_equals_mne(head, by_mne):
    """All 306 channels, accurate coils: 1e-8 was asked."""
    info, places = head
    got = SphereModel().leadfield(places, None, ej.io.sensors(info)).gain
    want = by_mne["sol"]["data"].reshape(366, -1, 3)
    sensors = ej.io.sensors(info)
    assert list(sensors.ch_names) == by_mne["sol"]["row_names"]
    for kind in ("mag", "grad"):
        rows = np.array(sensors.ch_types) == kind
        np.testing.assert_allclose(got[rows], want[rows], atol=1e-12 * np.abs(want[rows]).max())


def test_eeg_is_near_mne(head):
    """MNE-Python's EEG sphere is an approximation (three equivalent dipoles): 0.05 to 0.2 %.

    And it reads electrodes where they are, which only means something on the sphere.
    """
    import mne

    info, places = head
    info = mne.pick_types(info, eeg=True)
    info = mne.pick_info(head[0], info)
    centre = np.array([0, 0, 0.04])
    for ch in info["chs"]:
        away = ch["loc"][:3] - centre
        ch["loc"][:3], ch["loc"][3:6] = centre + 0.09 * away / np.linalg.norm(away), 0
    sphere = mne.make_sphere_model((0.0, 0.0, 0.04), 0.09, verbose="ERROR")
    src = mne.setup_volume_source_space(
        pos=dict(rr=places, nn=np.tile([0, 0, 1.0], (len(places), 1))), sphere=None, verbose="ERROR"
    )
    src[0]["coord_frame"] = np.array(4, np.int32)
    want = mne.make_forward_solution(info, None, src, sphere, meg=False, verbose="ERROR")
    got = SphereModel().leadfield(places, None, ej.io.sensors(info)).gain
    want = want["sol"]["data"]
    got = np.asarray(got).reshape(want.shape)
    error = np.linalg.norm(got - want) / np.linalg.norm(want)
    assert 1e-4 < error < 3e-3


def test_references_of_an_info(head, shells):
    info, places = head
    sphere = SphereModel()
    names = [
        n for n, k in zip(info["ch_names"], info.get_channel_types(), strict=True) if k == "eeg"
    ][:4]

    def gain(reference):
        sensors = ej.io.sensors(info, reference=reference, picks=names)
        return np.asarray(sphere.leadfield(places[:3], None, sensors).gain)

    none = gain(None)
    np.testing.assert_allclose(gain("average"), none - none.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(gain(names[1]), none - none[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(gain(names[:2]), none - none[:2].mean(0), rtol=1e-9, atol=1e-9)
    difference = gain("info") - none  # one common electrode, which is not among the channels
    np.testing.assert_allclose(difference, difference[:1].repeat(4, 0), rtol=1e-9, atol=1e-9)
    assert np.abs(difference).min() > 0
    with pytest.raises(ej.InputError, match="reference electrodes Cz are not"):
        gain(["Cz"])
    with pytest.raises(ej.InputError, match="'info' or names"):
        gain("nose")


def test_normal_and_accurate_coils(head):
    info, places = head
    names = [
        n for n, k in zip(info["ch_names"], info.get_channel_types(), strict=True) if k != "eeg"
    ][:30]
    gains = []
    for accuracy in ("normal", "accurate"):
        sensors = ej.io.sensors(info, accuracy, picks=names)
        gains.append(np.asarray(SphereModel().leadfield(places, None, sensors).gain))
    error = np.linalg.norm(gains[0] - gains[1]) / np.linalg.norm(gains[1])
    assert 0 < error < 1e-2
    with pytest.raises(ej.InputError, match="accuracy must be"):
        ej.io.sensors(info, "best")


def test_opm_of_an_info(head):
    """Coil type 8002, in the device frame."""
    import mne

    info = mne.create_info(["a", "b"], 100.0, "mag")
    for ch, x in zip(info["chs"], (0.0, 0.03), strict=True):
        ch["loc"][:3], ch["loc"][3:] = [x, 0.0, 0.15], np.eye(3).ravel()
        ch["coil_type"], ch["coord_frame"] = 8002, 1
    with info._unlock():
        info["dev_head_t"] = None
    with pytest.raises(ej.InputError, match="dev_head_t"):
        ej.io.sensors(info)
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", np.eye(4))
    got = SphereModel().leadfield(head[1][:9], None, ej.io.sensors(info)).gain
    point = Sensors.opm([[0, 0, 0.15], [0.03, 0, 0.15]], [[0, 0, 1.0]] * 2)
    want = SphereModel().leadfield(head[1][:9], None, point).gain
    np.testing.assert_allclose(got, want, atol=0.05 * np.abs(want).max())


def test_what_an_info_lacks(head):
    import mne

    info = head[0].copy()
    info["chs"][3]["coil_type"] = int(info["chs"][3]["coil_type"]) + (3 << 16)
    with pytest.raises(ej.InputError, match=f"{info['ch_names'][3]} are gradient-compensated"):
        ej.io.sensors(info)
    bare = mne.create_info(["Fz", "Cz"], 100.0, "eeg")
    with pytest.raises(ej.InputError, match="no position for Fz, Cz"):
        ej.io.sensors(bare)
    with pytest.raises(ej.InputError, match="no MEG or EEG channels of"):
        ej.io.sensors(head[0], picks=["nose"])


def test_sensor_positions_can_be_differentiated(head):
    info, places = head
    names = [
        n for n, k in zip(info["ch_names"], info.get_channel_types(), strict=True) if k != "eeg"
    ][:4]
    sensors = ej.io.sensors(info, "normal", picks=names)

    weight = np.random.default_rng(0).standard_normal((4, 4, 3))

    def value(pose):
        gain = SphereModel().leadfield(places[:4], None, sensors.moved(0.02 * pose)).gain
        return jnp.sum(weight * 1e6 * gain)

    check_slopes(value, [jnp.zeros(6)], order=1)
