"""Lead fields to and from MNE-Python, and into a problem."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej


def test_there_and_back(forward):
    import mne

    field = ej.io.leadfield(forward)
    assert field.ch_names == tuple(forward["sol"]["row_names"])
    back = ej.io.to_forward(field, forward["info"], forward["src"], forward["mri_head_t"])
    np.testing.assert_array_equal(back["sol"]["data"], forward["sol"]["data"])
    for fixed in (False, True):
        a, b = (
            mne.convert_forward_solution(f, surf_ori=True, force_fixed=fixed, verbose="ERROR")
            for f in (back, forward)
        )
        np.testing.assert_array_equal(a["sol"]["data"], b["sol"]["data"])
        one = ej.io.leadfield(a)
        assert one.gain.shape[2] == (1 if fixed else 3)
        size = np.abs(one.gain).max(axis=(1, 2), keepdims=True)
        turned = field.along(one.orientations).gain
        # MNE-Python rounds a fixed lead field to single precision
        np.testing.assert_allclose(one.gain / size, turned / size, atol=1e-6)


@pytest.mark.slow
def test_mnes_own_solver_takes_it(forward, evoked, noise_cov, tmp_path):
    """The same map, after a file too; a discrete source space where none is given."""
    import mne
    from mne.minimum_norm import apply_inverse, make_inverse_operator

    field = ej.io.leadfield(forward)
    info = evoked.info

    def estimate(forward, **options):
        operator = make_inverse_operator(info, forward, noise_cov, verbose="ERROR", **options)
        return apply_inverse(evoked, operator, 1 / 9, "dSPM", verbose="ERROR").data

    made = ej.io.to_forward(field, info, forward["src"], forward["mri_head_t"])
    np.testing.assert_allclose(estimate(made), estimate(forward), rtol=1e-10)
    made.save(tmp_path / "made-fwd.fif")
    again = mne.read_forward_solution(tmp_path / "made-fwd.fif", verbose="ERROR")
    np.testing.assert_allclose(again["sol"]["data"], made["sol"]["data"], rtol=1e-6)
    some = field.pick(field.ch_names[::-1])
    discrete = ej.io.to_forward(some, info)
    got, want = estimate(discrete, loose=1.0, depth=None), estimate(forward, loose=1, depth=None)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_what_does_not_fit(forward):
    field = ej.io.leadfield(forward)
    info, src = forward["info"], forward["src"]
    import mne

    with pytest.raises(ej.InputError, match=r"info lacks"):
        ej.io.to_forward(field, mne.pick_info(info, range(300)), src)
    moved = ej.forward.LeadField(
        field.gain, field.positions + 0.01, field.orientations, field.ch_names, field.ch_types
    )
    with pytest.raises(ej.InputError, match=r"17.3 mm from its place"):
        ej.io.to_forward(moved, info, src)
    with pytest.raises(ej.InputError, match="axes of the head"):
        ej.io.to_forward(field.along(np.roll(np.eye(3), 1, axis=0)[None].repeat(1996, 0)), info)
    with pytest.raises(TypeError, match="Forward"):
        ej.io.leadfield({"sol": 1})


def test_a_problem_in_another_head(forward, evoked, noise_cov):
    """The gain of from_mne, from the lead field alone; another head keeps the prior."""
    problem = ej.from_mne(evoked, forward, noise_cov)
    field = ej.io.leadfield(forward)
    same = problem.with_leadfield(field)
    np.testing.assert_allclose(same.gain, problem.gain, rtol=1e-8, atol=1e-9)
    pattern = np.random.default_rng(0).standard_normal(field.gain.shape)
    positions, names, types = field.positions, field.ch_names, field.ch_types

    def in_head(t):
        gain = field.gain * (1 + 0.1 * jnp.sin(t * pattern))
        head = ej.forward.LeadField(gain, positions, field.orientations, names, types)
        return problem.with_leadfield(head)

    other = in_head(1.0)
    np.testing.assert_array_equal(other.prior_scale, problem.prior_scale)
    assert other.labels == problem.labels
    assert np.abs(other.gain - problem.gain).max() > 0.01 * np.abs(problem.gain).max()
    loss = jax.jit(lambda t: jnp.sum(in_head(t).gain ** 2))
    want = (loss(1 + 1e-5) - loss(1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.jit(jax.jacfwd(loss))(1.0), want, rtol=1e-6)
    few = ej.forward.LeadField(
        field.gain[:, :9], positions[:9], field.orientations[:9], names, types
    )
    with pytest.raises(ej.InputError, match="9 locations"):
        problem.with_leadfield(few)
    with pytest.raises(ej.InputError, match="no channel"):
        problem.with_leadfield(field.pick(names[:20]))
    fixed = ej.from_mne(evoked, forward, noise_cov, loose=0.0)
    np.testing.assert_allclose(fixed.with_leadfield(field).gain, fixed.gain, rtol=1e-3, atol=1e-4)
    with pytest.raises(ej.InputError, match="points elsewhere"):
        fixed.with_leadfield(field.along(-fixed.geometry.frames))
