import jax.numpy as jnp
import numpy as np
import pytest

from esijax._ops import chunked

# one chunk, whole chunks, a rest, a rest of one
SIZES = [(5, 3), (512, 3), (769, 1), (600, 3), (257, 3), (1, 1)]


@pytest.fixture(params=SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def gain(request):
    return np.random.default_rng(0).standard_normal((7, *request.param))


def test_gram(gain):
    variance = np.random.default_rng(1).uniform(0, 2, gain.shape[1:])
    want = np.einsum("alo,lo,blo->ab", gain, variance, gain)
    got = chunked.gram(jnp.asarray(gain), jnp.asarray(variance))
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12 * np.abs(want).max())


@pytest.mark.parametrize("squared", [False, True])
def test_filtered_blocks(gain, squared):
    half = np.random.default_rng(2).standard_normal((7, 7))
    inverse = half @ half.T
    middle = inverse @ inverse if squared else inverse
    want = np.einsum("alo,ab,blp->lop", gain, middle, gain)
    got = chunked.filtered_blocks(jnp.asarray(inverse), jnp.asarray(gain), squared=squared)
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12 * np.abs(want).max())


def test_all_at_once_on_an_accelerator(monkeypatch):
    monkeypatch.setattr(chunked.jax, "default_backend", lambda: "gpu")
    assert chunked.chunk_size(8003, 3) == 8003
    gain = np.random.default_rng(0).standard_normal((1, 900, 3))  # and a single channel
    got = chunked.gram(jnp.asarray(gain), jnp.ones((900, 3)))
    np.testing.assert_allclose(got, [[np.sum(gain**2)]], rtol=1e-12)
