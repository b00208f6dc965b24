r"""The exact Legendre series of EEG in concentric shells.

With :math:`x = |r_0| / R`, :math:`y = r_0 \cdot \hat r / R` and the polynomials
:math:`T_n = x^{n-1} P_n'(y / x)` of :math:`x^2` and `y`, the potential at the surface is

.. math::

    u = \frac{1}{4 \pi \sigma_1 R^2} \Big( q \cdot \hat r \sum_{n \ge 1} h_n T_n
        - \frac{q \cdot r_0}{R} \sum_{n \ge 1} h_{n+1} T_n \Big)

where :math:`h_n = (2 n + 1) / n` in a homogeneous sphere and the shells change :math:`h_n` alone.
Nothing is singular at the centre, so derivatives of any order exist there. For shallow dipoles
:math:`T_n` falls slowly with `n`: the first three terms of :math:`h_n` in 1 / n are summed in
closed form, with :math:`D^2 = 1 - 2 y + x^2`,

.. math::

    \sum T_n = D^{-3}, \qquad \sum \frac{T_n}{n} = \frac{1 + D}{D (1 - y + D)}, \qquad
    \sum \frac{T_n}{n + 1} = \frac{1}{D (1 - y + D)}

and the series sums what is left. (de Munck and Peters 1993, doi:10.1109/10.245626, who take out
one such term; the closed forms here follow from the generating function of the Legendre
polynomials.)
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

UNROLL = 4


def transfer(
    n: Float[Array, " terms"],
    radii: Float[Array, " shells"],
    conductivities: Float[Array, " shells"],
) -> Float[Array, " terms"]:
    r"""Weights :math:`h_n` of the series, from the outermost shell inwards.

    In each shell the potential of order n is :math:`p (r / r_k)^n + q (r_k / r)^{n+1}`; carried is
    :math:`p / q`, which stays bounded, and what `q` gains beyond the powers of r.
    """
    ratio, gained = (n + 1) / n, jnp.ones_like(n)  # no current leaves the outer surface
    for k in range(len(radii) - 1, 0, -1):
        s = conductivities[k] / conductivities[k - 1]
        t = ratio * (radii[k - 1] / radii[k]) ** (2 * n + 1)
        below = n * (1 - s) * t + n + s * (n + 1)
        ratio = ((n + 1 + s * n) * t + (n + 1) * (1 - s)) / below
        gained = gained * below / (2 * n + 1)
    return (2 * n + 1) / n / gained


def expansion(conductivities: Float[Array, " shells"]) -> Float[Array, "3"]:
    r"""Coefficients of :math:`h_n = \alpha + c_1 / n + c_2 / n^2 + O(n^{-3})`."""
    s = conductivities[1:] / conductivities[:-1]
    pole = s / (1 + s)
    alpha = 2 * jnp.prod(2 / (1 + s))
    first = (len(s) + 1) / 2 - jnp.sum(pole)
    second = -(len(s) + 1) / 8 + jnp.sum(pole**2) / 2
    return alpha * jnp.stack([jnp.ones_like(first), first, second + first**2 / 2])


def surface_potential(
    directions: Float[Array, "electrodes 3"],
    positions: Float[Array, "locations 3"],
    radii: Float[Array, " shells"],
    conductivities: Float[Array, " shells"],
    n_terms: int,
) -> Float[Array, "electrodes locations 3"]:
    """Potential of unit dipoles along the axes, at electrodes on the outermost sphere.

    Parameters
    ----------
    directions : (electrodes, 3)
        Unit vectors from the centre.
    positions : (locations, 3)
        Against the centre, m.
    radii, conductivities : (shells,)
        From the inside outwards, m and S/m.
    n_terms : int
        Terms after the asymptotic ones.
    """
    outer = radii[-1]
    scaled = positions / outer
    y = directions @ scaled.T
    square = jnp.broadcast_to(jnp.sum(scaled**2, axis=1), y.shape)
    along, across = _sums(y, square, *_remainders(radii, conductivities, n_terms))
    alpha, c1, c2 = expansion(conductivities)
    d = jnp.sqrt(1 - 2 * y + square)
    plain, shifted = 1 / d**3, 1 / (d * (1 - y + d))
    over_n = shifted * (1 + d)
    along += alpha * plain + (c1 + c2) * over_n - c2 * shifted
    across += alpha * plain + c2 * over_n + (c1 - c2) * shifted
    scale = 1 / (4 * jnp.pi * conductivities[0] * outer**2)
    field = directions[:, None] * along[..., None] - scaled[None] * across[..., None]
    return scale * field


def _remainders(radii, conductivities, n_terms: int):
    """What the closed forms leave of h_n and of h_(n+1), and the n that go with them."""
    n = jnp.arange(1, n_terms + 2, dtype=radii.dtype)
    h = transfer(n, radii, conductivities)
    alpha, c1, c2 = expansion(conductivities)
    n = n[:-1]
    along = h[:-1] - alpha - (c1 + c2) / n + c2 / (n + 1)
    across = h[1:] - alpha - c2 / n - (c1 - c2) / (n + 1)
    return n, along, across


def _sums(y, square, n, along, across):
    """Sums of T_n with two kinds of weights; T_(n+1) from T_n and T_(n-1)."""

    def add(carry, term):
        before, here, total_along, total_across = carry
        n, a, b = term
        after = ((2 * n + 1) * y * here - (n + 1) * square * before) / n
        return (here, after, total_along + a * here, total_across + b * here), None

    zero = jnp.zeros_like(y)
    start = (zero, jnp.ones_like(y), zero, zero)
    (_, _, *sums), _ = jax.lax.scan(add, start, (n, along, across), unroll=UNROLL)
    return sums
