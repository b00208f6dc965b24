r"""Probability that a Gaussian vector leaves a ball: Pr(||x|| > t), x ~ N(m, C).

One dimension: two normal tails. Three: in polar coordinates around the mean, each ray
:math:`x = m + r F \omega` (:math:`F F^\top = C`, r a chi variable, :math:`\omega` uniform on the
sphere) crosses the ball on one interval of r, whose probability is closed-form; the average over
:math:`\omega` is a product quadrature whose pole points at the origin.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from esijax._ops.gaussian import symmetric_power

_N_POLAR, _N_AZIMUTH = 20, 6


def ball_exceedance(
    mean: Float[Array, "*trials locations orients times"],
    cov: Float[Array, "locations orients orients"],
    threshold: Float[Array, ""],
) -> Float[Array, "*trials locations times"]:
    """Pr(norm over orients > threshold) for each location and time.

    Exact for one orient; for three, within 1e-3 (a 20 x 6 quadrature of the sphere).
    """
    if mean.shape[-2] == 1:
        std = jnp.sqrt(cov[:, 0])
        safe = jnp.where(std > 0, std, 1.0)
        tails = norm.sf((threshold - mean[..., 0, :]) / safe)
        tails = tails + norm.sf((threshold + mean[..., 0, :]) / safe)
        sure = (jnp.abs(mean[..., 0, :]) > threshold).astype(mean.dtype)
        return jnp.where(std > 0, tails, sure)
    floor = 1e-24 * jnp.trace(cov, axis1=1, axis2=2).max() * jnp.eye(3)
    root = symmetric_power(cov + floor, 0.5, rtol=1e-14)
    back = symmetric_power(cov + floor, -0.5, rtol=1e-14)
    per_location = jnp.moveaxis(mean, -3, 0)  # (locations, ..., orients, times)
    out = jax.lax.map(
        lambda args: _outside(*args, threshold), (per_location, root, back), batch_size=64
    )
    return jnp.moveaxis(out, 0, -2)


def _sphere() -> np.ndarray:
    """Nodes of the sphere, (nodes, 4): unit vector and weight; the weights sum to one."""
    cosine, weight = np.polynomial.legendre.leggauss(_N_POLAR)
    angle = 2 * np.pi * (np.arange(_N_AZIMUTH) + 0.5) / _N_AZIMUTH
    c, phi = (a.ravel() for a in np.meshgrid(cosine, angle, indexing="ij"))
    s = np.sqrt(1 - c**2)
    return np.c_[s * np.cos(phi), s * np.sin(phi), c, np.repeat(weight, _N_AZIMUTH) / 2 / _N_AZIMUTH]


def _outside(mean, root, back, threshold):
    """One location: mean (..., 3, times) -> (..., times)."""
    m = jnp.moveaxis(mean, -2, -1)  # (..., times, 3)
    e1, e2, e3 = _frame(m @ back)
    gap = jnp.sum(m**2, axis=-1) - threshold**2

    def add(inside, node):
        ray = (node[0] * e1 + node[1] * e2 + node[2] * e3) @ root
        a, b = jnp.sum(ray**2, -1), jnp.sum(ray * m, -1)
        disc = b**2 - a * gap
        half = jnp.sqrt(jnp.where(disc > 0, disc, 1.0))
        safe = jnp.where(a > 0, a, 1.0)
        near, far = jnp.maximum((-b - half) / safe, 0.0), jnp.maximum((-b + half) / safe, 0.0)
        mass = jnp.where(disc > 0, _chi3_cdf(far) - _chi3_cdf(near), 0.0)
        return inside + node[3] * mass, None

    inside, _ = jax.lax.scan(add, jnp.zeros_like(gap), jnp.asarray(_sphere()))
    return jnp.clip(1.0 - inside, 0.0, 1.0)


def _frame(direction):
    """Orthonormal frames whose third axis is the direction (any frame at zero)."""
    size = jnp.linalg.norm(direction, axis=-1, keepdims=True)
    e3 = jnp.where(size > 0, direction / jnp.where(size > 0, size, 1.0), jnp.array([0.0, 0.0, 1.0]))
    helper = jnp.where(
        jnp.abs(e3[..., :1]) < 0.9, jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0])
    )
    e1 = jnp.cross(helper, e3)
    e1 = e1 / jnp.linalg.norm(e1, axis=-1, keepdims=True)
    return e1, jnp.cross(e3, e1), e3


def _chi3_cdf(r):
    """Distribution function of the chi variable with three degrees of freedom."""
    return erf(r / np.sqrt(2)) - np.sqrt(2 / np.pi) * r * jnp.exp(-(r**2) / 2)
