"""from_mne with a head and sensors of our own, and the derivatives that they are kept for."""

import jax
import jax.numpy as jnp
import mne
import numpy as np
import pytest
from derivatives import check_slopes

import esijax as ej


@pytest.fixture(scope="module")
def head(data_dir):
    return ej.io.head_model(
        data_dir / "three-layer-320-bem-sol.fif", data_dir / "head-mri-trans.fif"
    )


@pytest.fixture(scope="module")
def few(forward):
    """Forty sources of the subject's forward."""
    keep = [s["vertno"][::50] for s in forward["src"]]
    stc = mne.SourceEstimate(np.zeros((sum(map(len, keep)), 1)), keep, 0.0, 1.0)
    return mne.forward.restrict_forward_to_stc(forward, stc)


@pytest.fixture(scope="module")
def problem(evoked, few, noise_cov, head):
    return ej.from_mne(evoked, few, noise_cov, head=head)


@pytest.mark.parametrize("options", [{}, {"loose": 0.0}, {"loose": 1.0, "depth": None}])
def test_the_lead_field_is_computed_in_the_head(evoked, few, noise_cov, head, options):
    """As if the forward had been made with it: gain, depth weighting and frames."""
    sensors = ej.io.sensors(evoked.info, reference="info")
    field = head.leadfield(few["source_rr"], None, sensors)
    made = ej.io.to_forward(field, evoked.info, few["src"], few["mri_head_t"])
    want = ej.from_mne(evoked, made, noise_cov, **options)
    got = ej.from_mne(evoked, few, noise_cov, head=head, **options)
    assert got.labels == want.labels
    np.testing.assert_allclose(got.prior_scale, want.prior_scale, rtol=1e-9)
    np.testing.assert_allclose(got.gain, want.gain, atol=1e-9 * np.abs(want.gain).max())
    # the file's lead field is MNE-Python's, of the same head, in single precision
    by_mne = ej.from_mne(evoked, few, noise_cov, **options)
    np.testing.assert_allclose(got.gain, by_mne.gain, atol=1e-5 * np.abs(by_mne.gain).max())
    assert (got.gain != by_mne.gain).all()


def test_orientations_of_the_forward_are_kept(evoked, few, noise_cov, head):
    """A forward with fixed orientations gives the lead field along them."""
    fixed = mne.convert_forward_solution(few, surf_ori=True, force_fixed=True, verbose="ERROR")
    got = ej.from_mne(evoked, fixed, noise_cov, loose=0.0, depth=None, head=head)
    want = ej.from_mne(evoked, few, noise_cov, loose=0.0, depth=None, head=head)
    np.testing.assert_allclose(got.gain, want.gain, atol=1e-6 * np.abs(want.gain).max())


def test_the_same_head_again_is_the_same_problem(problem):
    """In three frames, EEG under the average reference that is part of the whitener."""
    again = problem.in_head(problem.head)
    np.testing.assert_allclose(again.gain, problem.gain, atol=1e-9 * np.abs(problem.gain).max())
    assert again.head is problem.head
    np.testing.assert_array_equal(again.prior_scale, problem.prior_scale)


def test_derivatives_of_a_problem(evoked, few, noise_cov):
    """Of what the data think of one dipole: in conductivities, radii and where the sensors are."""
    sphere = ej.forward.SphereModel((0, 0, 0.04), (0.085, 0.088, 0.092), (0.3, 0.006, 0.3))
    inside = np.linalg.norm(few["source_rr"] - [0, 0, 0.04], axis=1) < 0.08
    left, right = (s["vertno"] for s in few["src"])
    keep = [left[inside[: len(left)]], right[inside[len(left) :]]]
    stc = mne.SourceEstimate(np.zeros((inside.sum(), 1)), keep, 0.0, 1.0)
    some = mne.forward.restrict_forward_to_stc(few, stc)
    eeg = ej.from_mne(evoked, some, noise_cov, head=sphere, picks="eeg")
    assert set(eeg.labels.ch_types) == {"eeg"} == set(eeg.sensors.ch_types)
    moment = jnp.asarray(np.random.default_rng(0).standard_normal(3))

    def misfit(drift, swell, pose):
        head = ej.forward.SphereModel(
            sphere.centre,
            sphere.radii * jnp.exp(0.01 * swell),
            sphere.conductivities * jnp.exp(drift),
            n_terms=24,
        )
        other = eeg.in_head(head, eeg.sensors.moved(0.02 * pose))
        return jnp.sin(0.1 * jnp.sum((other.gain[:, 7] @ moment) ** 2))

    check_slopes(misfit, [jnp.zeros(3), jnp.zeros(3), jnp.zeros(6)], order=1)


def test_sensors_alone_are_kept(evoked, few, noise_cov, head):
    sensors = ej.io.sensors(evoked.info)
    kept = ej.from_mne(evoked, few, noise_cov, sensors=sensors)
    plain = ej.from_mne(evoked, few, noise_cov)
    np.testing.assert_array_equal(kept.gain, plain.gain)
    assert kept.head is None
    other = kept.in_head(head)
    assert other.head is head
    assert other.sensors is sensors
    with pytest.raises(ej.InputError, match="no sensors"):
        plain.in_head(head)
    with pytest.raises(ej.InputError, match="no positions"):
        ej.from_arrays(np.eye(3), np.ones((3, 4)), noise_cov=np.eye(3)).in_head(head, sensors)


def test_sensors_that_sat_elsewhere(evoked, few, noise_cov, head):
    """Sensors given with the head are the ones that see."""
    sensors = ej.io.sensors(evoked.info, reference="info")
    near = sensors.moved([0.0, 0.0, 0.002, 0.0, 0.0, 0.0])
    got = ej.from_mne(evoked, few, noise_cov, head=head, sensors=near)
    want = ej.from_mne(evoked, few, noise_cov, head=head).in_head(head, near)
    size = np.abs(want.gain).max()
    np.testing.assert_allclose(got.gain, want.gain, atol=1e-9 * size)


def test_a_problem_with_a_head_is_solved_and_saved(problem, tmp_path):
    answer = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    assert ej.io.to_mne(answer).data.shape == (problem.n_locations, 3, problem.n_times)
    ej.save(answer, tmp_path / "answer.npz")
    again = ej.load(tmp_path / "answer.npz")
    np.testing.assert_array_equal(again.mean, answer.mean)
    np.testing.assert_allclose(
        again.problem.in_head(again.problem.head).gain, problem.in_head(problem.head).gain
    )
    shapes = jax.tree.map(jnp.shape, again.problem.head)
    assert shapes == jax.tree.map(jnp.shape, problem.head)


def test_what_does_not_fit(evoked, few, noise_cov, head, data_dir):
    bem = mne.read_bem_solution(data_dir / "three-layer-320-bem-sol.fif", verbose="ERROR")
    with pytest.raises(TypeError, match="head_model"):
        ej.from_mne(evoked, few, noise_cov, head=bem)
    with pytest.raises(TypeError, match="Sensors"):
        ej.from_mne(evoked, few, noise_cov, head=head, sensors=evoked.info)
    cap = ej.forward.Sensors.eeg([[0, 0, 0.1], [0, 0.1, 0]], ch_names=["MEG 0111", "nose"])
    with pytest.raises(ej.InputError, match="sensors MEG 0111, nose are no channels"):
        ej.from_mne(evoked, few, noise_cov, head=head, sensors=cap)
    with pytest.raises(ej.InputError, match="inside the innermost sphere"):
        ej.from_mne(
            evoked,
            few,
            noise_cov,
            head=ej.forward.SphereModel(radii=[0.05, 0.09], conductivities=[0.3, 0.3]),
        )
