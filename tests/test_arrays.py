"""The door for arrays: what is refused, and what data of later are refused for as well."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej

RNG = np.random.default_rng(0)
GAIN, DATA = RNG.standard_normal((12, 20)), RNG.standard_normal((12, 5))
COV = np.eye(12)
LOW_RANK = RNG.standard_normal((12, 4))
WILD = GAIN * np.where(np.arange(12) == 2, 1e9, 1.0)[:, None]
MASKED = np.ma.masked_array(DATA, mask=np.abs(DATA) > 1)


def made(gain=GAIN, data=DATA, cov=COV, **more):
    return ej.from_arrays(gain, data, cov, sfreq=100.0, **more)


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda: made(ch_types=["eeg"] * 3), ej.InputError, "3 ch_types for 12"),
        (lambda: made(ch_types="eeg"), TypeError, "ch_types must be a list of texts"),
        (lambda: made(ch_types=[1] * 12), TypeError, "must hold texts, got 1"),
        (lambda: made(ch_names="abcdefghijkl"), TypeError, "ch_names must be a list of texts"),
        (lambda: made(ch_names=["a"] * 12), ej.InputError, "holds a more than once"),
        (lambda: made(data=MASKED), ej.InputError, "masked in .* of 60 entries"),
        (lambda: made(cov=np.ma.masked_array(COV, mask=COV > 0)), ej.InputError, "masked in 12"),
        (lambda: made(data=DATA[None][:0]), ej.InputError, "no trials"),
        (lambda: made(data=DATA[:, :0]), ej.InputError, "no times"),
        (lambda: made(cov=LOW_RANK @ LOW_RANK.T), ej.EsijaxWarning, "rank 4 of 12"),
        (lambda: made(gain=WILD), ej.InputError, "the lead field of 2 is"),
        (lambda: made(edges=[[0, 1], [3, 3]]), ej.InputError, "joins location 3 to itself"),
        (lambda: made(ch_types=["eeg"] * 6 + ["mag"] * 6, data=DATA * 1e5), ej.InputError, "eeg"),
    ],
)
def test_what_is_refused(build, error, says):
    expected = pytest.warns if error is ej.EsijaxWarning else pytest.raises
    with expected(error, match=says):
        build()


def test_masked_arrays_without_a_masked_entry_are_arrays():
    plain = made(data=np.ma.masked_array(DATA, mask=False))
    np.testing.assert_array_equal(plain.data, made().data)


def test_edges_of_both_directions_count_once():
    edges = made(edges=[[0, 1], [1, 0], [2, 1]]).geometry.edges
    np.testing.assert_array_equal(edges, [[0, 1], [1, 2]])


def test_rows_of_other_units_are_compared_with_their_noise():
    """MEG and EEG side by side, types unknown, differ by 1e7 and are fine."""
    unit = np.where(np.arange(12) < 6, 1e-7, 1.0)
    problem = made(GAIN * unit[:, None], DATA * unit[:, None], np.diag(unit**2))
    assert problem.rank == 12


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (DATA + 1j, ej.InputError, "complex"),
        (DATA * 1e9, ej.InputError, "wrong units"),
        (DATA * 1e-9, ej.InputError, "wrong units"),
        ("x", TypeError, "an array of numbers"),
        (np.where(np.arange(5) == 1, np.nan, DATA), ej.InputError, "the value nan in channel 0"),
        (np.where(np.arange(5) == 1, np.inf, DATA), ej.InputError, "the value inf in channel 0"),
        (MASKED, ej.InputError, "masked"),
        (DATA[:3], ej.InputError, "12 channels"),
        (DATA[:, :0], ej.InputError, r"\(12, 0\)"),
        (0 * DATA, ej.EsijaxWarning, "all zero"),
    ],
)
def test_other_data_are_looked_at_too(data, error, says):
    expected = pytest.warns if error is ej.EsijaxWarning else pytest.raises
    with expected(error, match=says):
        made().with_data(data)


def test_other_lead_fields_are_looked_at_too():
    problem = made()
    with pytest.raises(ej.InputError, match="NaN or Inf in 0"):
        problem.with_leadfield(np.where(np.arange(20) == 3, np.nan, GAIN))


def test_within_a_transformation_values_are_not_looked_at():
    problem, batch = made(), jnp.stack([DATA, 2 * DATA])
    power = jax.vmap(lambda d: jnp.sum(problem.with_data(d).data ** 2))(batch)
    np.testing.assert_allclose(power[1], 4 * power[0])


def test_an_answer_that_is_not_finite_is_refused(monkeypatch):
    """What no check at the door can see: values that only the computation breaks."""
    problem = made()
    broken = problem.with_leadfield(GAIN)
    broken = jax.tree.map(lambda x: x, broken)
    spoilt = broken.gain.at[3, 4, 0].set(jnp.nan)
    broken = type(problem)(**{**vars(broken), "gain": spoilt})
    with pytest.raises(ej.InputError, match="not finite"):
        ej.solve(broken, ej.models.MinimumNorm(), ej.inference.Linear())
    answer = ej.solve(broken, ej.models.MinimumNorm(), ej.inference.Linear(), throw=False)
    assert np.isnan(float(answer.explained_variance))


def test_noise_per_type_needs_types():
    with pytest.raises(ej.InputError, match=r"ch_types"):
        ej.models.noise.PerType().prepare(made())
    assert ej.models.noise.PerType().prepare(made(ch_types=["eeg"] * 12)).types == ("eeg",)
