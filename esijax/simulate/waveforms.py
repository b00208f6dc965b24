"""Time courses of evoked responses."""

import numpy as np

from esijax._types import InputError


def erp(times, latency: float = 0.1, width: float = 0.05, frequency: float = 8.0) -> np.ndarray:
    r"""Evoked-response-like wave: a Gabor atom.

    .. math:: w(t) = \exp\left(-\tfrac12 \left(\tfrac{t - t_0}{\sigma}\right)^2\right)
                     \cos(2 \pi f (t - t_0))

    Parameters
    ----------
    times : (times,)
        s.
    latency, width : float
        :math:`t_0` and :math:`\sigma`, s.
    frequency : float
        f, Hz.

    Returns
    -------
    wave : (times,)
        With value 1 at the latency.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> float(ej.simulate.erp(np.array([0.0, 0.1]), latency=0.1)[1])
    1.0
    """
    if not width > 0:
        raise InputError(f"the width of a wave must be positive, got {width} s.")
    t = np.asarray(times, dtype=float) - latency
    return np.exp(-0.5 * (t / width) ** 2) * np.cos(2 * np.pi * frequency * t)
