"""Keys as people give them."""

import jax
import numpy as np
import pytest

import esijax as ej
from esijax._types import prng_key


@pytest.mark.parametrize("key", [0, np.int64(3), -1, jax.random.key(0), jax.random.PRNGKey(0)])
def test_one_key_or_a_whole_number(key):
    made = prng_key(key)
    whole = isinstance(key, int | np.integer)
    wanted = jax.random.key(int(key)) if whole else key
    np.testing.assert_array_equal(jax.random.bits(made), jax.random.bits(wanted))


@pytest.mark.parametrize(
    "key", ["0", True, 1.5, [1, 2], np.zeros(2), jax.random.split(jax.random.key(0))]
)
def test_what_is_no_key(key):
    with pytest.raises(ej.InputError, match="key must be one PRNG key"):
        prng_key(key)


def test_keys_of_transformations_pass():
    keys = jax.random.split(jax.random.key(0), 3)
    np.testing.assert_array_equal(
        jax.vmap(lambda k: jax.random.bits(prng_key(k)))(keys), jax.vmap(jax.random.bits)(keys)
    )


def test_whole_numbers_are_keys_everywhere():
    gain = np.random.default_rng(0).standard_normal((8, 12))
    problem = ej.from_arrays(gain, gain[:, :3], noise_cov=0.1)
    estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    at = ([3], [0])
    np.testing.assert_array_equal(
        estimate.sample(5, 2, at), estimate.sample(jax.random.key(5), 2, at)
    )
    noisy = [ej.simulate.bad_channels(k, np.ones((8, 4)), 2)[0] for k in (5, jax.random.key(5))]
    np.testing.assert_array_equal(*noisy)
