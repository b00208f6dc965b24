r"""Losses of a recording whose sources nobody knows; each is a mean over samples and dimensions.

.. math:: -\log p(y_H \mid y_K, \hat\gamma(Y_K)), \qquad -\log p(Y_2 \mid \hat\gamma(Y_1)), \qquad
          -\log p(Y \mid \hat\gamma(Y)), \qquad
          \lVert Y - \hat Y \rVert^2 + 2\, \nabla \cdot \hat Y

held-out channels H given the kept ones K, held-out trials, evidence, and Stein's unbiased estimate
of the risk (SURE). :math:`\hat\gamma` are the variances that the network gives.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from esijax.learn.inputs import Inputs
from esijax.models.networks import VarianceNetwork

Square = Float[Array, "rank rank"]
Basis = Float[Array, "rank dims"]


class Recording(eqx.Module):
    """A recording without truth, whitened.

    Parameters
    ----------
    inputs : Inputs
        Of its problem.
    data : (rank, samples)
        Of all trials that may be used.
    cov : (rank, rank)
        Its covariance.
    cov_apart : (rank, rank)
        Of the trials that another loss or the guard keeps for itself.
    """

    inputs: Inputs
    data: Float[Array, "rank samples"]
    cov: Square
    cov_apart: Square


def channel_basis(
    colorer: np.ndarray, kept: np.ndarray, within: np.ndarray | None = None
) -> np.ndarray:
    """Orthonormal basis of whitened space: what some channels see comes first, then the rest.

    Parameters
    ----------
    colorer : (channels, rank)
    kept : (dims,)
        As many channels as dimensions that they span.
    within : (rank, some), optional
        Basis of a subspace to which all is confined.

    Returns
    -------
    basis : (rank, some)
        Data along its first `dims` columns are those of the kept channels, data along the others
        what the other channels add: the noise of both is white and independent, whatever
        projectors did to the channels.
    """
    rows = colorer[kept] / np.linalg.norm(colorer[kept], axis=1, keepdims=True)
    rows = rows if within is None else rows @ within
    basis = np.linalg.qr(rows.T, mode="complete")[0]
    return basis if within is None else within @ basis


def channels_loss(
    network: VarianceNetwork, recording: Recording, basis: Basis, n_kept: int
) -> Float[Array, ""]:
    """Minus log density of the last columns of a basis, given the first ones."""
    gain = jnp.tensordot(basis.T, recording.inputs.gain, 1)
    cov = basis.T @ recording.cov @ basis
    few = eqx.tree_at(lambda i: i.gain, recording.inputs, gain[:n_kept])
    gamma = jnp.exp(few.solve(network, cov[:n_kept, :n_kept]))
    every = eqx.tree_at(lambda i: i.gain, recording.inputs, gain)
    joint = minus_log_density(every, gamma, cov)
    return (joint - minus_log_density(few, gamma, cov[:n_kept, :n_kept])) / (len(cov) - n_kept)


def trials_loss(network: VarianceNetwork, recording: Recording) -> Float[Array, ""]:
    """Minus log density of the trials that are kept apart."""
    gamma = jnp.exp(recording.inputs.solve(network, recording.cov))
    left = minus_log_density(recording.inputs, gamma, recording.cov_apart)
    return left / len(recording.cov)


def evidence_loss(network: VarianceNetwork, recording: Recording) -> Float[Array, ""]:
    """Minus log evidence."""
    gamma = jnp.exp(recording.inputs.solve(network, recording.cov))
    return minus_log_density(recording.inputs, gamma, recording.cov) / len(recording.cov)


def sure_loss(
    network: VarianceNetwork, recording: Recording, key: PRNGKeyArray
) -> Float[Array, ""]:
    """Stein's estimate of the squared error of the noiseless data, one probe of the divergence."""
    inputs, data = recording.inputs, recording.data

    def fitted(data):
        gamma = jnp.exp(inputs.solve(network, data @ data.T / data.shape[1]))
        return data - jnp.linalg.solve(inputs.sigma(gamma), data)

    probe = jax.random.rademacher(key, data.shape, data.dtype)
    prediction, pull_back = jax.vjp(fitted, data)
    return jnp.mean((data - prediction) ** 2) + 2.0 * jnp.mean(probe * pull_back(probe)[0])


def minus_log_density(inputs: Inputs, gamma: Array, cov: Square) -> Float[Array, ""]:
    """Of a sample of whitened data, without the constant; cov is that of the data."""
    factor = jnp.linalg.cholesky(inputs.sigma(gamma))
    half = jax.scipy.linalg.solve_triangular(factor, cov, lower=True)
    white = jax.scipy.linalg.solve_triangular(factor, half.T, lower=True)
    return jnp.sum(jnp.log(jnp.diag(factor))) + 0.5 * jnp.trace(white)


LOSSES: dict[str, Callable[..., Any]] = {
    "channels": channels_loss,
    "trials": trials_loss,
    "sure": sure_loss,
    "evidence": evidence_loss,
}
