"""The textbook on matrices that fit on a page: what the library must equal.

Everything here is NumPy, dense and slow on purpose.
"""

import numpy as np


def flat(array):
    """(rank, locations, orients) -> (rank, sources)."""
    array = np.asarray(array)
    return array.reshape(array.shape[0], -1)


def normalised(gain, cov):
    """R scaled to tr(G R G') = rank."""
    return cov * len(gain) / np.trace(gain @ cov @ gain.T)


def weight_cov(problem):
    """Minimum norm: P squared."""
    return np.diag(np.asarray(problem.prior_scale).ravel() ** 2)


def loreta_cov(problem, ridge):
    """P B^-2 P for each orient, from the dense graph Laplacian."""
    n, orients = problem.n_locations, problem.n_orients
    adjacency = np.zeros((n, n))
    for i, j in np.asarray(problem.geometry.edges):
        adjacency[i, j] = adjacency[j, i] = 1
    degree = adjacency.sum(axis=1)
    b = (1 + ridge) * np.eye(n) - adjacency / np.sqrt(np.outer(degree, degree))
    inverse = np.kron(np.linalg.inv(b @ b), np.eye(orients))
    scale = np.asarray(problem.prior_scale).ravel()
    return normalised(flat(problem.gain), scale[:, None] * inverse * scale)


def eloreta_cov(problem, lambda2, n_iter=20, eps=1e-6, force_equal=False):
    """The fixed point as Pascual-Marqui writes it, with MNE's normalisation and orient scale."""
    gain = np.asarray(problem.gain)
    rank, n, orients = gain.shape
    scale = np.asarray(problem.orient_scale)
    biased = gain * scale
    g = flat(biased)
    weight = scale[:, :, None] * scale[:, None, :]
    if force_equal:
        weight = weight * np.eye(orients)
    r = normalised(g, block_diagonal(np.eye(orients) * weight))
    for _ in range(n_iter):
        inner = np.linalg.inv(g @ r @ g.T + lambda2 * np.eye(rank))
        blocks = np.empty((n, orients, orients))
        for loc in range(n):
            m = biased[:, loc].T @ inner @ biased[:, loc]
            values, vectors = np.linalg.eigh(m)
            keep = values > 1e-7 * values[-1]
            if force_equal and orients == 3:
                blocks[loc] = np.eye(3) / np.sqrt(np.maximum(values, 0)).mean()
            else:
                v = vectors[:, keep]
                blocks[loc] = (v / np.sqrt(values[keep])) @ v.T
        new = normalised(g, block_diagonal(blocks * weight))
        change = np.linalg.norm(new - r) / np.linalg.norm(r)
        r = new
        if change < eps:
            break
    return normalised(flat(gain), r)


def block_diagonal(blocks):
    n, orients = blocks.shape[:2]
    out = np.zeros((n * orients, n * orients))
    for i, block in enumerate(blocks):
        out[i * orients : (i + 1) * orients, i * orients : (i + 1) * orients] = block
    return out


class Posterior:
    """x ~ N(0, R / lambda2), y = G x + e, e ~ N(0, I): mean, covariance, evidence, norms."""

    def __init__(self, problem, cov, lambda2):
        self.gain = flat(problem.gain)
        self.data = np.asarray(problem.data)
        self.shape = (problem.n_locations, problem.n_orients)
        self.prior = cov / lambda2
        self.sigma = self.gain @ self.prior @ self.gain.T + np.eye(len(self.gain))
        self.kernel = self.prior @ self.gain.T @ np.linalg.inv(self.sigma)
        self.cov = self.prior - self.kernel @ self.gain @ self.prior
        mean = self.kernel @ self.data
        self.mean = mean.reshape(*mean.shape[:-2], *self.shape, mean.shape[-1])

    def blocks(self, matrix=None):
        """Orients x orients blocks on the diagonal."""
        n, orients = self.shape
        matrix = (self.cov if matrix is None else matrix).reshape(n, orients, n, orients)
        return np.einsum("lolp->lop", matrix)

    def norm(self, kind):
        """What dSPM and sLORETA divide by."""
        noise = np.eye(len(self.sigma)) if kind == "dSPM" else self.sigma
        return np.sqrt(np.trace(self.blocks(self.kernel @ noise @ self.kernel.T), axis1=1, axis2=2))

    def log_density(self):
        """Of the whitened data."""
        columns = np.moveaxis(self.data, -2, 0).reshape(len(self.sigma), -1)
        quad = np.sum(columns * np.linalg.solve(self.sigma, columns))
        log_det = np.linalg.slogdet(2 * np.pi * self.sigma)[1]
        return -0.5 * (quad + columns.shape[1] * log_det)
