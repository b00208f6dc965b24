r"""The one definition of the signal-to-noise ratio, and the way to other people's numbers.

.. math:: \mathrm{SNR} = 10 \log_{10} \frac{1}{r T} \sum_{i=1}^{r} \sum_{t=1}^{T} (W B)_{it}^2
          \quad \text{dB}

with B the noise-free data and W the whitener of rank r: noise has power 1 there, so this is the
ratio of powers, over all channels and all samples that the problem has.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._types import InputError, Scalar, check_positive, is_traced
from esijax.problem import Problem


def snr_db(problem: Problem, clean: Any) -> Scalar:
    r"""Signal-to-noise ratio of noise-free data in dB of whitened power.

    .. math:: 10 \log_{10} \operatorname{mean} (W B)^2

    Parameters
    ----------
    problem : Problem
        Its whitener says what the noise is.
    clean : (channels, times)
        B, V and T.

    Returns
    -------
    snr_db : ()
        dB; minus infinity for data that are zero.

    Raises
    ------
    InputError
        If the number of channels differs.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> problem = ej.from_arrays(np.eye(3), np.ones((3, 4)), noise_cov=0.01)
    >>> round(float(ej.simulate.snr_db(problem, np.ones((3, 4)))), 6)  # power 1 over 0.01
    20.0
    """
    clean = jnp.asarray(clean, dtype=float)
    n_channels = problem.whitener.matrix.shape[1]
    if clean.ndim != 2 or clean.shape[0] != n_channels:
        raise InputError(f"clean must be ({n_channels} channels, times), got {clean.shape}.")
    return power_to_db(whitened_power(problem, clean))


def whitened_power(problem: Problem, recording: Float[Array, "channels times"]) -> Scalar:
    """Mean square of whitened data over (rank, times)."""
    return jnp.mean((problem.whitener.matrix @ recording) ** 2)


def power_to_db(power: Any) -> Float[Array, "..."]:
    """10 log10 of a ratio of powers."""
    return 10.0 * jnp.log10(jnp.asarray(power, dtype=float))


def db_to_power(db: Any) -> Float[Array, "..."]:
    """Ratio of powers from dB."""
    return 10.0 ** (jnp.asarray(db, dtype=float) / 10.0)


def db_to_lambda2(db: Any) -> Float[Array, "..."]:
    r"""MNE-Python's regularisation for a signal-to-noise ratio in dB.

    .. math:: \lambda^2 = 1 / \mathrm{SNR}_a^2 = 10^{-\mathrm{dB}/10}

    where :math:`\mathrm{SNR}_a` is a ratio of amplitudes: 3 is 9.54 dB and gives 1/9.

    Parameters
    ----------
    db : float
        dB of whitened power.

    Returns
    -------
    lambda2 : ()

    References
    ----------
    Gramfort et al. 2014, doi:10.1016/j.neuroimage.2013.10.027.

    Examples
    --------
    >>> import esijax as ej
    >>> float(ej.simulate.db_to_lambda2(10.0))
    0.1
    """
    return 1.0 / db_to_power(db)


def lambda2_to_db(lambda2: Any) -> Float[Array, "..."]:
    """Signal-to-noise ratio in dB that a regularisation stands for; see `db_to_lambda2`.

    Parameters
    ----------
    lambda2 : float
        Positive.

    Returns
    -------
    db : ()

    Raises
    ------
    InputError
        If `lambda2` is not positive.

    Examples
    --------
    >>> import esijax as ej
    >>> round(float(ej.simulate.lambda2_to_db(1 / 9)), 2)
    9.54
    """
    check_positive(lambda2, "lambda2 (= 1 / SNR^2)")
    return -power_to_db(lambda2)


def db_to_alpha(db: Any) -> Float[Array, "..."]:
    r"""Mixing fraction of BSI-Zoo and CaliBrain for a signal-to-noise ratio in dB.

    .. math:: \|N\|_F = \frac{1 - \alpha}{\alpha} \|B\|_F, \qquad
              \mathrm{dB} = 20 \log_{10} \frac{\alpha}{1 - \alpha}

    The two take the Frobenius norms in sensor space, of the noise that was drawn; the numbers
    are the same as here where the noise is white over the channels, up to that draw.

    Parameters
    ----------
    db : float
        Signal-to-noise ratio, dB.

    Returns
    -------
    alpha : ()
        In (0, 1); 0.5 is 0 dB.

    Examples
    --------
    >>> import esijax as ej
    >>> float(ej.simulate.db_to_alpha(0.0))
    0.5
    """
    ratio = jnp.sqrt(db_to_power(db))
    return ratio / (1.0 + ratio)


def alpha_to_db(alpha: Any) -> Float[Array, "..."]:
    """Signal-to-noise ratio in dB of a mixing fraction; see `db_to_alpha`.

    Parameters
    ----------
    alpha : float
        In (0, 1).

    Returns
    -------
    db : ()

    Raises
    ------
    InputError
        If `alpha` is not between 0 and 1.

    Examples
    --------
    >>> import esijax as ej
    >>> round(float(ej.simulate.alpha_to_db(0.99)), 1)
    39.9
    """
    if not is_traced(alpha):
        check_positive(alpha, "alpha")
        if not float(alpha) < 1:
            raise InputError(f"alpha must lie between 0 and 1, got {float(alpha):g}.")
    alpha = jnp.asarray(alpha, dtype=float)
    return 2.0 * power_to_db(alpha / (1.0 - alpha))
