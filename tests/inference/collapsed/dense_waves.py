"""Variational Bayes of Y = A Z Phi + E written out, every matrix dense."""

import numpy as np
import scipy.linalg as sl


def spread_of_waves(law):
    """Covariance of the waves, (waves * times) squared, and second moments over time."""
    mixing, variance, root = (np.asarray(x) for x in (law.mixing, law.variance, law.root))
    k, n = np.asarray(law.mean).shape
    cov = np.zeros((k * n, k * n))
    for p in range(k):
        in_time = (root * variance[p]) @ root.T
        cov += np.kron(np.outer(mixing[:, p], mixing[:, p]), in_time)
    return cov


def summed(cov, k, n):
    """Sum over time of the waves' covariance, (waves, waves)."""
    return np.einsum("ktlt->kl", cov.reshape(k, n, k, n))


def dense_maps(a, gamma, noise, data, mean, cov):
    """Mean (columns, waves) and covariance (waves * columns squared) of the best q(Z)."""
    k, n = mean.shape
    second = mean @ mean.T + summed(cov, k, n)
    inverse = np.linalg.inv(noise)
    precision = np.kron(second, a.T @ inverse @ a) + np.kron(np.eye(k), np.diag(1 / gamma))
    own = np.linalg.inv(precision)
    drive = (a.T @ inverse @ data @ mean.T).T.ravel()
    return (own @ drive).reshape(k, -1).T, own


def asked_of(a, noise, data, maps, spread):
    """M and B that these maps ask of the waves."""
    c, k = maps.shape
    inverse = np.linalg.inv(noise)
    inner = a.T @ inverse @ a
    blocks = spread.reshape(k, c, k, c)
    power = maps.T @ inner @ maps + np.einsum("kclb,bc->kl", blocks, inner)
    return power, maps.T @ a.T @ inverse @ data


def dense_courses(power, drive, in_time):
    """Mean (waves, times) and covariance of the best q(Phi)."""
    k, n = drive.shape
    precision = np.kron(power, np.eye(n)) + np.kron(np.eye(k), np.linalg.inv(in_time))
    own = np.linalg.inv(precision)
    return (own @ drive.ravel()).reshape(k, n), own


def divergence(mean, cov, prior):
    """Of N(mean, cov) from N(0, prior)."""
    inverse = np.linalg.inv(prior)
    log_det = np.linalg.slogdet(prior)[1] - np.linalg.slogdet(cov)[1]
    return 0.5 * (np.trace(inverse @ cov) + mean @ inverse @ mean - len(mean) + log_det)


def bound(a, gamma, noise, in_time, data, maps, waves):
    """The bound of any q(Z) and q(Phi), each a pair of mean and covariance."""
    (z, spread), (phi, cov) = maps, waves
    k, n = phi.shape
    power, drive = asked_of(a, noise, data, z, spread)
    second = phi @ phi.T + summed(cov, k, n)
    fit = np.trace(np.linalg.inv(noise) @ data @ data.T) - 2 * np.sum(drive * phi)
    fit += np.sum(power * second)
    log_det = n * np.linalg.slogdet(2 * np.pi * noise)[1]
    prior_maps, prior_waves = np.kron(np.eye(k), np.diag(gamma)), np.kron(np.eye(k), in_time)
    return (
        -0.5 * (fit + log_det)
        - divergence(z.T.ravel(), spread, prior_maps)
        - divergence(phi.ravel(), cov, prior_waves)
    )


def evidence_of_one(a, gamma, noise, in_time, data):
    """Exact log evidence of one wave and one column, by quadrature over the map."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    n = data.shape[1]
    values = []
    for z in nodes * np.sqrt(gamma):
        cov = np.kron(z**2 * a @ a.T, in_time) + np.kron(noise, np.eye(n))
        chol = sl.cholesky(cov, lower=True)
        white = sl.solve_triangular(chol, data.ravel(), lower=True)
        values.append(-0.5 * (white @ white) - np.sum(np.log(np.diag(chol))))
    values = np.array(values) - 0.5 * data.size * np.log(2 * np.pi)
    top = values.max()
    return top + np.log(np.sum(weights * np.exp(values - top)) / np.sqrt(2 * np.pi))
