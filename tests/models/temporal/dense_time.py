"""The dense Gaussian of a model with covariances in time, entry by entry in NumPy."""

import jax.numpy as jnp
import numpy as np


class Dense:
    """Covariances of all sources x times and all sensors x times, sample fastest."""

    def __init__(self, marginal, hyper):
        p, n = marginal.problem, marginal.problem.n_times
        cov = [np.asarray(c) for c in marginal.cov(hyper)]
        self.gain = np.asarray(p.gain).reshape(p.rank, -1)
        n_sources = self.gain.shape[1]
        eye = np.eye(n_sources).reshape(p.n_locations, p.n_orients, n_sources)
        prior = marginal.spatial.prior.source_cov(hyper, p).apply(jnp.asarray(eye))
        prior = np.asarray(prior).reshape(n_sources, -1)
        self.sources = np.kron(prior, cov[2])
        noise = np.asarray(marginal.spatial.noise_cov(hyper))
        if marginal.rest is not None:
            rest = np.diag(np.asarray(hyper["rest/gamma"][0] * p.prior_scale**2).ravel())
            self.sources = self.sources + np.kron(rest, cov[3])
        self.seen = np.kron(self.gain, np.eye(n))
        self.data = self.seen @ self.sources @ self.seen.T + np.kron(noise, cov[3])
        self.y = np.asarray(p.data).reshape(-1, p.rank * n)
        self.shape = p.data.shape[:-2], p.n_locations, p.n_orients, n

    def log_density(self):
        """Of the whitened data."""
        log_det = np.linalg.slogdet(2 * np.pi * self.data)[1]
        power = np.sum(self.y * np.linalg.solve(self.data, self.y.T).T)
        return -0.5 * (power + len(self.y) * log_det)

    def mean(self):
        """(..., locations, orients, times)."""
        found = self.sources @ self.seen.T @ np.linalg.solve(self.data, self.y.T)
        lead, *rest = self.shape
        return found.T.reshape(*lead, *rest)

    def cov(self):
        """Of all sources x times."""
        solved = np.linalg.solve(self.data, self.seen @ self.sources)
        return self.sources - self.sources @ self.seen.T @ solved

    def variance(self):
        """(locations, orients, times)."""
        return np.diag(self.cov()).reshape(self.shape[1:])
