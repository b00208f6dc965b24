"""MNE's side of simulated data: heads, wrong lead fields, the way back to MNE objects."""

import jax
import mne
import numpy as np
import pytest
from mne.minimum_norm import apply_inverse, make_inverse_operator

import esijax as ej
from esijax import simulate as sim

KEY = jax.random.key(4)


@pytest.fixture(scope="module")
def bem(data_dir):
    return mne.read_bem_solution(data_dir / "three-layer-320-bem-sol.fif", verbose="ERROR")


@pytest.fixture(scope="module")
def small(forward):
    """29 electrodes and 4 magnetometers, every fortieth source."""
    names = [f"EEG {i:03d}" for i in range(1, 59, 2)]
    names += ["MEG 0111", "MEG 0121", "MEG 1711", "MEG 2621"]
    vertices = [s["vertno"][::40] for s in forward["src"]]
    n = sum(map(len, vertices))
    stc = mne.SourceEstimate(np.zeros((n, 1)), vertices, 0, 1, subject="sample")
    some = mne.forward.restrict_forward_to_stc(forward, stc)
    return mne.pick_channels_forward(some, names, ordered=True)


@pytest.fixture(scope="module")
def eeg_problem(evoked, forward, noise_cov):
    return ej.from_mne(evoked.copy().pick("eeg", exclude=()), forward, noise_cov)


def fields(forward):
    """(channels, locations, 3), EEG with average reference, in float64."""
    gain = forward["sol"]["data"].astype(float).reshape(len(forward["sol"]["row_names"]), -1, 3)
    eeg = np.array([n.startswith("EEG") for n in forward["sol"]["row_names"]])
    gain[eeg] -= gain[eeg].mean(axis=0)
    return gain[eeg], gain[~eeg]


def gap(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(a)


# ------------------------------------------------------------------ heads
@pytest.mark.parametrize("fixed", [False, True])
def test_head_is_the_problem_before_whitening(forward, noise_cov, evoked, fixed):
    """On the same forward the head, whitened, is the gain that is inverted."""
    data = evoked.copy().pick("eeg", exclude=())
    problem = ej.from_mne(data, forward, noise_cov, loose=0.0 if fixed else 0.2)
    head = ej.io.simulation_head(forward, problem, fixed=fixed)
    white = np.einsum("rc,clo->rlo", problem.whitener.matrix, head.gain) * 1e-9
    np.testing.assert_allclose(white, problem.gain, rtol=1e-5, atol=1e-6 * abs(white).max())
    np.testing.assert_allclose(head.geometry.normals, problem.geometry.normals, atol=1e-6)
    assert head.n_orients == (1 if fixed else 3)


def test_head_from_any_orientation(forward, eeg_problem):
    """Surface orientation, fixed orientation and head axes: one and the same head."""
    eeg = mne.pick_channels_forward(forward, list(eeg_problem.labels.ch_names))
    plain = ej.io.simulation_head(eeg, eeg_problem)
    surface = mne.convert_forward_solution(eeg, surf_ori=True, use_cps=True, verbose="ERROR")
    turned = ej.io.simulation_head(surface, eeg_problem)
    # MNE-Python rounds to float32
    close = {"rtol": 1e-4, "atol": 1e-5 * float(abs(plain.gain).max())}
    np.testing.assert_allclose(turned.geometry.normals, plain.geometry.normals, atol=1e-6)
    np.testing.assert_allclose(turned.gain[..., 2], plain.gain[..., 2], **close)
    along = mne.convert_forward_solution(
        eeg, surf_ori=True, force_fixed=True, use_cps=True, verbose="ERROR"
    )
    one = ej.io.simulation_head(along, eeg_problem)
    np.testing.assert_allclose(one.gain[..., 0], plain.gain[..., 2], **close)
    # the other two axes span the same plane
    power = [np.linalg.norm(np.asarray(h.gain)[..., :2], axis=2) for h in (turned, plain)]
    np.testing.assert_allclose(*power, **close)


def test_head_needs_the_channels(forward, eeg_problem):
    meg = mne.pick_channels_forward(forward, [n for n in forward["sol"]["row_names"] if "MEG" in n])
    with pytest.raises(ej.InputError, match="EEG 001"):
        ej.io.simulation_head(meg, eeg_problem)


# ------------------------------------------------------------------ wrong lead fields
def test_nothing_wrong_is_the_same_lead_field(small, bem):
    before = small["sol"]["data"].copy()
    again = ej.io.perturbed_forward(small, bem)
    for ours, theirs in zip(fields(again), fields(small), strict=True):
        assert gap(theirs, ours) < 1e-5
    np.testing.assert_array_equal(small["sol"]["data"], before)
    np.testing.assert_array_equal(again["source_rr"], small["source_rr"])


def test_coregistration_error(small, bem):
    """Small errors act linearly; the same key errs in the same direction."""
    eeg, meg = fields(small)

    for what in ("shift_mm", "rotation_deg"):
        one, two, half = (
            fields(ej.io.perturbed_forward(small, bem, key=KEY, **{what: size}))
            for size in (1.0, 1.0, 0.5)
        )
        for exact, a, b, c in zip((eeg, meg), one, two, half, strict=True):
            np.testing.assert_array_equal(a, b)
            assert 0.001 < gap(exact, c) < gap(exact, a) < 0.1
        # electrodes sit on the triangles of a coarse scalp, which is not smooth: MEG tells
        assert gap(meg, half[1]) / gap(meg, one[1]) == pytest.approx(0.5, rel=0.05)


def test_whole_head_and_sensors_turned_together(small, bem):
    """A co-registration error of everything is none: by hand, with MNE alone."""
    wrong = ej.io.perturbed_forward(small, bem, key=KEY, shift_mm=5.0, rotation_deg=4.0)
    rigid = ej.io.simulated._random_motion(
        jax.random.split(KEY)[0], 5e-3, np.radians(4.0), small["source_rr"].mean(axis=0)
    )
    np.testing.assert_allclose(rigid[:3, :3] @ rigid[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rigid[:3, :3]) == pytest.approx(1.0)
    angle = np.degrees(np.arccos((np.trace(rigid[:3, :3]) - 1) / 2))
    assert angle == pytest.approx(4.0)
    centre = small["source_rr"].mean(axis=0)
    moved = rigid[:3, :3] @ centre + rigid[:3, 3] - centre
    assert np.linalg.norm(moved) == pytest.approx(5e-3)
    # the other way round: electrodes and device move by the inverse, the head stays
    back = np.linalg.inv(rigid)
    info = mne.pick_info(small["info"], range(len(small["info"]["ch_names"])))
    with info._unlock():
        info["comps"] = []
        info["dev_head_t"] = mne.transforms.Transform(
            "meg", "head", back @ info["dev_head_t"]["trans"]
        )
    for ch, kind in zip(info["chs"], info.get_channel_types(), strict=True):
        if kind == "eeg":
            ch["loc"][:3] = mne.transforms.apply_trans(back, ch["loc"][:3])
    theirs = mne.make_forward_solution(
        info, small["mri_head_t"], small["src"], bem, mindist=0.0, verbose="ERROR"
    )
    theirs = mne.pick_channels_forward(theirs, wrong["sol"]["row_names"], ordered=True)
    for ours, want in zip(fields(wrong), fields(theirs), strict=True):
        assert gap(want, ours) < 1e-5


def test_electrodes_move_and_meg_does_not(small, bem):
    eeg, meg = fields(small)
    some = [fields(ej.io.perturbed_forward(small, bem, key=KEY, electrode_mm=s)) for s in (2, 8)]
    for _, still in some:
        assert gap(meg, still) < 1e-5
    assert 0.005 < gap(eeg, some[0][0]) < gap(eeg, some[1][0]) < 0.5


def test_other_conductivity(small, bem):
    """Potentials go as one over all conductivities, fields as their ratios alone."""
    eeg, meg = fields(small)
    double = fields(ej.io.perturbed_forward(small, bem, conductivity=(0.6, 0.012, 0.6)))
    assert gap(eeg / 2, double[0]) < 1e-5
    assert gap(meg, double[1]) < 1e-5
    # from the brain outwards: MNE's own names for the layers
    other = ej.io.perturbed_forward(small, bem, conductivity=(0.4, 0.003, 0.2))
    surfs = [surf.copy() for surf in bem["surfs"]]
    for surf in surfs:
        surf["sigma"] = {1: 0.4, 3: 0.003, 4: 0.2}[int(surf["id"])]
        surf["tris"] = surf["tris"].astype(np.int32)
    by_hand = mne.make_bem_solution(surfs, verbose="ERROR")
    for ours, theirs in zip(
        fields(other), fields(ej.io.perturbed_forward(small, by_hand)), strict=True
    ):
        assert gap(theirs, ours) < 1e-10
    assert gap(eeg, fields(other)[0]) > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift_mm": 5.0}, "give key"),
        ({"shift_mm": -1.0, "key": KEY}, ">= 0"),
        ({"electrode_mm": np.nan, "key": KEY}, ">= 0"),
        ({"conductivity": (0.3, 0.3)}, "3 layers"),
        ({"conductivity": (0.3, -1.0, 0.3)}, "positive"),
    ],
)
def test_perturbation_refuses(small, bem, options, message):
    with pytest.raises(ej.InputError, match=message):
        ej.io.perturbed_forward(small, bem, **options)


def test_perturbation_refuses_fixed(small, bem):
    along = mne.convert_forward_solution(small, force_fixed=True, use_cps=True, verbose="ERROR")
    with pytest.raises(ej.InputError, match="free orientation"):
        ej.io.perturbed_forward(along, bem)


# ------------------------------------------------------------------ the way back
def test_peers_see_the_same_data(forward, eeg_problem, evoked):
    """dSPM of MNE on the exported objects is ours on the simulation."""
    head = ej.io.simulation_head(forward, eeg_problem)
    one = sim.simulate(
        KEY, head, eeg_problem, sim.Dipoles(2), sim.Oscillation(), sim.FromCov(), 8.0
    )
    data = ej.io.to_evoked(one.problem, evoked.info)
    cov = ej.io.to_noise_cov(one.problem, evoked.info)
    assert data.ch_names == list(eeg_problem.labels.ch_names)
    assert data.nave == evoked.nave
    np.testing.assert_allclose(data.times, eeg_problem.times, atol=1e-9)
    np.testing.assert_array_equal(data.data, one.draws.recording)
    operator = make_inverse_operator(
        data.info, forward, cov, loose=0.2, rank={"eeg": eeg_problem.rank}, verbose="ERROR"
    )
    theirs = apply_inverse(data, operator, 1 / 9, "dSPM", pick_ori="vector", verbose="ERROR")
    estimate = ej.solve(one.problem, ej.models.MinimumNorm(1 / 9), ej.inference.Linear("dSPM"))
    ours = ej.to_mne(estimate)
    np.testing.assert_allclose(ours.data, theirs.data, atol=1e-5 * abs(theirs.data).max())


def test_way_back_refuses(forward, eeg_problem, evoked):
    head = ej.io.simulation_head(forward, eeg_problem)
    parts = head, eeg_problem, sim.Dipoles(2), sim.Oscillation(), sim.FromCov()
    two = sim.simulate(jax.random.split(KEY), *parts)
    with pytest.raises(ej.InputError, match="2 data sets"):
        ej.io.to_evoked(two.problem, evoked.info)
    meg = evoked.copy().pick("mag").info
    with pytest.raises(ej.InputError, match="EEG 001"):
        ej.io.to_noise_cov(eeg_problem, meg)
