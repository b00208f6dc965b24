"""Gabor frames: MNE-Python's transform, the identity of tight frames, adjoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from esijax import InputError
from esijax._ops.gabor import Frame, istft, stft

PAIRS = [(4, 2), (16, 4), (16, 8), (64, 4)]
FRAMES = [((16,), (4,)), ((64,), (4,)), ((16, 8, 64), (4, 2, 32))]


def signals(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("n_times", [1, 2, 50, 63])
@pytest.mark.parametrize("pair", PAIRS)
def test_equal_to_mne(pair, n_times):
    theirs = pytest.importorskip("mne.time_frequency")
    x = signals(3, n_times)
    z = theirs.stft(x, *pair, verbose="ERROR")
    np.testing.assert_allclose(stft(jnp.asarray(x), *pair), z, atol=1e-13)
    z = signals(*z.shape) + 1j * signals(*z.shape, seed=1)
    want = theirs.istft(z, pair[1], n_times)
    np.testing.assert_allclose(istft(jnp.asarray(z), pair[1], n_times), want, atol=1e-13)


@pytest.mark.parametrize(
    ("wsize", "tstep"), [FRAMES[0], *(pytest.param(*f, marks=pytest.mark.slow) for f in FRAMES[1:])]
)
def test_an_isometry_and_its_adjoint(wsize, tstep):
    frame = Frame(wsize, tstep, 50)
    x = jnp.asarray(signals(2, 3, 50))
    c = frame.analysis(x)
    assert c.shape == (2, 3, 2, frame.n_coefs)
    assert frame.roots().shape == (frame.n_coefs,)
    np.testing.assert_allclose(frame.synthesis(c), x, atol=1e-13)
    np.testing.assert_allclose(jnp.sum(c**2), jnp.sum(x**2), rtol=1e-13)
    other = jnp.asarray(signals(*c.shape, seed=1))
    left, right = jnp.sum(c * other), jnp.sum(x * frame.synthesis(other))
    np.testing.assert_allclose(left, right, rtol=1e-10)
    # one after the other, batched, differentiated
    np.testing.assert_allclose(jax.vmap(frame.analysis)(x), c, atol=1e-14)
    np.testing.assert_allclose(
        jax.vjp(frame.analysis, x)[1](other)[0], frame.synthesis(other), atol=1e-13
    )
    _, moved = jax.jvp(frame.synthesis, (other,), (c,))
    np.testing.assert_allclose(moved, x, atol=1e-13)


@pytest.mark.parametrize(("wsize", "tstep"), FRAMES)
def test_equal_to_the_dictionaries_of_mne(wsize, tstep):
    """Coefficients, their two norms and their inverse."""
    optim = pytest.importorskip("mne.inverse_sparse.mxne_optim")
    frame = Frame(wsize, tstep, 50)
    freqs, steps = (np.array(v) for v in zip(*frame.shapes, strict=True))
    sizes, hops = np.array(wsize), np.array(tstep)
    phi = optim._Phi(sizes, hops, freqs * steps, 50)
    back = optim._PhiT(hops, freqs, steps, 50)
    x = signals(3, 50)
    c, z = np.array(frame.analysis(jnp.asarray(x))), phi(x)
    np.testing.assert_allclose((c[:, 0] + 1j * c[:, 1]) / frame.roots(), z, atol=1e-13)
    modulus = np.hypot(c[:, 0], c[:, 1])
    np.testing.assert_allclose((modulus**2).sum(1), phi.norm(z, ord=2), rtol=1e-12)
    np.testing.assert_allclose((frame.roots() * modulus).sum(1), phi.norm(z, ord=1), rtol=1e-12)
    c[:, 0] *= 1.5
    z = (c[:, 0] + 1j * c[:, 1]) / frame.roots()
    np.testing.assert_allclose(frame.synthesis(jnp.asarray(c)), back(z), atol=1e-13)


def test_single_precision():
    frame = Frame((16, 8), (4, 4), 40)
    x = jnp.asarray(signals(2, 40), jnp.float32)
    c = frame.analysis(x)
    assert c.dtype == jnp.float32
    assert frame.synthesis(c).dtype == jnp.float32
    np.testing.assert_allclose(frame.synthesis(c), x, atol=1e-5)


@pytest.mark.parametrize(
    ("wsize", "tstep", "said"),
    [(10, 2, "multiple of 4, got 10"), (16, 3, "got 3"), (16, 16, "at most half"), (16, 6, "got 6"),
     (0, 2, "wsize must be a positive"), (16, -2, "tstep must be a positive")],
)  # fmt: skip
def test_what_is_no_tight_frame(wsize, tstep, said):
    with pytest.raises(InputError, match=said):
        Frame((wsize,), (tstep,), 50)
