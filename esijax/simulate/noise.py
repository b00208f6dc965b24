"""Noise with the colour of the brain."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def pink_noise(
    key: PRNGKeyArray, shape: tuple[int, ...], sfreq: float, corner: float = 1.0
) -> Float[Array, "..."]:
    r"""Unit-variance Gaussian noise whose power falls as 1/f above a corner frequency.

    .. math:: S(f) \propto 1 / \max(f, f_c)

    Parameters
    ----------
    key : PRNG key
    shape : tuple of int
        The last axis is time.
    sfreq : float
        Hz.
    corner : float
        :math:`f_c`, Hz; the spectrum is flat below.

    Returns
    -------
    noise : shape

    Examples
    --------
    >>> import jax, esijax as ej
    >>> ej.simulate.pink_noise(jax.random.key(0), (4, 100), sfreq=100.0).shape
    (4, 100)
    """
    n = shape[-1]
    frequency = jnp.fft.rfftfreq(n, 1 / sfreq)
    gain = jnp.maximum(frequency, corner) ** -0.5
    weight = jnp.full(frequency.shape, 2.0).at[0].set(1.0)
    weight = weight.at[-1].set(1.0) if n % 2 == 0 else weight
    gain = gain / jnp.sqrt(jnp.sum(weight * gain**2) / n)
    white = jnp.fft.rfft(jax.random.normal(key, shape), axis=-1)
    return jnp.fft.irfft(white * gain, n=n, axis=-1)
