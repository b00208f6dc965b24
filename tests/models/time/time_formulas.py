"""Covariances in time with all parameters known, and textbook formulas in NumPy."""

import numpy as np

EVEN = np.arange(24) / 250.0
UNEVEN = np.cumsum(np.random.default_rng(7).uniform(0.002, 0.02, 24))


def known():
    """Name: (covariance, its formula at times in NumPy, whether uneven times are allowed)."""
    import esijax as ej

    time = ej.models.time

    def of_lags(k):
        return lambda t: k(np.abs(t[:, None] - t[None, :]))

    def matern(nu, length):
        def k(lag):
            a = np.sqrt(2 * nu) * lag / length
            return {0.5: 1, 1.5: 1 + a, 2.5: 1 + a + a**2 / 3}[nu] * np.exp(-a)

        return of_lags(k)

    def autoregressive(coefficients):
        def t(times):
            rho = ma_autocorrelation(coefficients, len(times))
            i = np.arange(len(times))
            return rho[np.abs(i[:, None] - i[None, :])]

        return t

    def chord(lag, period):
        return period / np.pi * np.sin(np.pi * lag / period)

    rhythm = of_lags(lambda lag: np.exp(-lag / 0.15) * np.cos(2 * np.pi * 11 * lag))
    ar2, ar3 = [1.5, -0.8], [0.4, 0.2, -0.3]
    return {
        "white": (time.White(), lambda t: np.eye(len(t)), True),
        "smooth": (
            time.SquaredExponential(0.012),
            of_lags(lambda lag: np.exp(-(lag**2) / 2 / 0.012**2)),
            True,
        ),
        "periodic": (
            time.Periodic(0.07, 0.01),
            of_lags(lambda lag: np.exp(-(chord(lag, 0.07) ** 2) / 2 / 0.01**2)),
            True,
        ),
        "matern 1/2": (time.Matern(0.5, 0.02), matern(0.5, 0.02), True),
        "matern 3/2": (time.Matern(1.5, 0.02), matern(1.5, 0.02), True),
        "matern 5/2": (time.Matern(2.5, 0.05), matern(2.5, 0.05), True),
        "oscillator": (time.Oscillator(11.0, 0.15), rhythm, True),
        "AR(1)": (time.Autoregressive(1, 0.7), autoregressive([0.7]), False),
        "AR(2)": (time.Autoregressive.of(ar2), autoregressive(ar2), False),
        "AR(3)": (time.Autoregressive.of(ar3), autoregressive(ar3), False),
        "sum": (
            time.Sum(time.Matern(1.5, 0.03), time.Autoregressive.of(ar2), shares=(0.6, 0.4)),
            lambda t: 0.6 * matern(1.5, 0.03)(t) + 0.4 * autoregressive(ar2)(t),
            False,
        ),
        "rhythm on smooth": (
            time.Sum(
                time.Oscillator(11.0, 0.15), time.SquaredExponential(0.012), shares=(0.3, 0.7)
            ),
            lambda t: (
                0.3 * rhythm(t) + 0.7 * np.exp(-((t[:, None] - t[None, :]) ** 2) / 2 / 0.012**2)
            ),
            True,
        ),
    }


NAMES = (
    "white",
    "smooth",
    "periodic",
    "matern 1/2",
    "matern 3/2",
    "matern 5/2",
    "oscillator",
    "AR(1)",
    "AR(2)",
    "AR(3)",
    "sum",
    "rhythm on smooth",
)
NOT_MARKOV = {"smooth", "periodic", "rhythm on smooth"}


def ma_autocorrelation(coefficients, n, length=20_000):
    """Autocorrelation by the moving average of infinite order, cut off where it has died out."""
    a = np.asarray(coefficients)
    psi = np.zeros(length)
    psi[0] = 1.0
    for t in range(1, length):
        back = psi[max(t - len(a), 0) : t][::-1]
        psi[t] = a[: len(back)] @ back
        if np.abs(psi[max(t - len(a), 0) : t + 1]).max() < 1e-18:
            break
    psi = psi[: t + 1]
    psi = np.concatenate([psi, np.zeros(n)])
    cov = np.array([psi[: len(psi) - k] @ psi[k:] for k in range(n)])
    return cov / cov[0]


def implied(steps):
    """Covariance that a state-space form implies, in NumPy."""
    transition, noise = np.asarray(steps.transition), np.asarray(steps.noise)
    h = np.asarray(steps.observe)
    n = len(transition) + 1
    cov, out = np.asarray(steps.start), np.zeros((n, n))
    for t in range(n):
        if t:
            cov = transition[t - 1] @ cov @ transition[t - 1].T + noise[t - 1]
        ahead = cov @ h
        for s in range(t, n):
            out[t, s] = out[s, t] = h @ ahead
            if s + 1 < n:
                ahead = transition[s] @ ahead
    return out
