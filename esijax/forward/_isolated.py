r"""The discretised boundary integral equation and the isolated-problem approach.

For vertices on all surfaces, from the outermost inwards, with conductivities
:math:`\sigma^-, \sigma^+` inside and outside of each,

.. math::

    \Big( I + \frac{1}{n} - \frac{1}{2\pi} \Gamma \circ \Omega \Big) u = u_\infty, \qquad
    \Gamma_{ij} = \frac{\sigma_j^- - \sigma_j^+}{\sigma_i^- + \sigma_i^+}

where 1 / n takes the constant potential out (deflation). Behind a skull of low conductivity the
right-hand side is nearly that of a brain alone, and errors grow by :math:`\sigma_1 / \sigma_2`: the
problem of the isolated brain, with matrix H, is solved apart and taken off (Hämäläinen and Sarvas
1989, doi:10.1109/10.16463).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def multipliers(sigma, xp=jnp):
    """Per surface, from the outermost inwards: of sources, of fields, and between surfaces."""
    outside = xp.concatenate([xp.zeros(1, sigma.dtype), sigma[:-1]])
    jump, both = sigma - outside, sigma + outside
    return 2.0 / both, jump, jump[None] / both[:, None]


def system(omega: Float[Array, "n n"], sigma, counts: tuple[int, ...]) -> Float[Array, "n n"]:
    """The matrix to be inverted."""
    gamma = multipliers(sigma)[2] / (2 * jnp.pi)
    each = np.repeat(np.arange(len(counts)), counts)
    n = len(omega)
    return jnp.eye(n, dtype=omega.dtype) + 1.0 / n - omega * gamma[each][:, each]


def isolated_system(omega: Float[Array, "n n"], counts: tuple[int, ...]) -> Float[Array, "m m"]:
    """The matrix of the brain alone."""
    m = counts[-1]
    return jnp.eye(m, dtype=omega.dtype) + 1.0 / m - omega[-m:, -m:] / (2 * jnp.pi)


def solution(
    omega: Float[Array, "n n"], sigma, counts: tuple[int, ...], isolated: bool
) -> Float[Array, "n n"]:
    """The inverse, as `mne.make_bem_solution` stores it."""
    inverse = jnp.linalg.inv(system(omega, sigma, counts))
    if not isolated:
        return inverse
    ratio, m = sigma[-2] / sigma[-1], counts[-1]
    alone = jnp.linalg.inv(isolated_system(omega, counts))
    last = inverse[:, -m:] - 2 * inverse[:, -m:] @ alone
    last = last.at[-m:].add((1 + ratio) / ratio * alone)
    return ratio * jnp.concatenate([inverse[:, :-m], last], axis=1)


def rows_times_solution(
    rows: Float[Array, "sensors n"],
    omega: Float[Array, "n n"],
    sigma,
    counts: tuple[int, ...],
    isolated: bool,
) -> Float[Array, "sensors n"]:
    """Rows times the inverse, from one factorisation: a fraction of the work of inverting."""
    solved = jnp.linalg.solve(system(omega, sigma, counts).T, rows.T).T
    if not isolated:
        return solved
    ratio, m = sigma[-2] / sigma[-1], counts[-1]
    last = (1 + ratio) / ratio * rows[:, -m:] - 2 * solved[:, -m:]
    alone = jnp.linalg.solve(isolated_system(omega, counts).T, last.T).T
    return ratio * jnp.concatenate([solved[:, :-m], solved[:, -m:] + alone], axis=1)
