r"""A small hierarchical model with known answers to put samplers to the test.

.. math::
   y_t \sim N(0, \Sigma), \qquad \Sigma = \sum_k \gamma_k C_k + s^2 I, \qquad
   \gamma_k \sim \text{LogNormal}(0, 1), \quad s \sim \text{LogNormal}(\log 2, 0.5)

It is a covariance-component model of sources seen by sensors, the sources integrated out; data
enter as :math:`Y Y^\top`. The prior of the noise scale lies away from 1, where squaring it
would change nothing.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.infer import NUTS

from esijax._types import InputError, Scalar

Power = Float[Array, "sensors sensors"]


class ComponentModel(eqx.Module):
    r"""Covariance components and a noise scale, as a NumPyro model of :math:`Y Y^\top`.

    The last four fields are where a bug can be planted; their defaults are right.

    Parameters
    ----------
    components : (components, sensors, sensors)
        :math:`C_k`, positive semi-definite.
    n_times : int
        Columns of Y.
    log_det : float
        Weight of the log-determinant in the log-evidence.
    noise_power : int
        The noise variance is the scale to this power.
    prior : bool
        Whether the prior of the gammas counts.
    jacobian : bool
        Whether the density is moved to the logarithms with its Jacobian.
    """

    components: Float[Array, "components sensors sensors"]
    n_times: int = eqx.field(static=True, default=8)
    log_det: float = eqx.field(static=True, default=1.0)
    noise_power: int = eqx.field(static=True, default=2)
    prior: bool = eqx.field(static=True, default=True)
    jacobian: bool = eqx.field(static=True, default=True)

    def gamma_prior(self) -> dist.Distribution:
        """Prior of the gammas."""
        return dist.LogNormal(jnp.zeros(len(self.components)), 1.0).to_event(1)

    def hyper(self) -> dict[str, Array]:
        """Draw gammas and noise scale."""
        gamma = numpyro.sample("gamma", self.gamma_prior())
        noise = numpyro.sample("noise", dist.LogNormal(jnp.log(2.0), 0.5))
        return {"gamma": jnp.asarray(gamma), "noise": jnp.asarray(noise)}

    def covariance(self, hyper: dict[str, Array]) -> Power:
        """Covariance of a column of Y."""
        noise = hyper["noise"] ** self.noise_power * jnp.eye(self.components.shape[1])
        return jnp.tensordot(hyper["gamma"], self.components, 1) + noise

    def log_evidence(self, hyper: dict[str, Array], power: Power) -> Scalar:
        """Log density of Y, up to a constant, from Y Y'."""
        chol = jnp.linalg.cholesky(self.covariance(hyper))
        fit = jnp.trace(jsl.cho_solve((chol, True), power))
        log_det = 2.0 * jnp.sum(jnp.log(jnp.diag(chol)))
        return -0.5 * (fit + self.n_times * self.log_det * log_det)

    def __call__(self, power: Power) -> None:
        """Declare the NumPyro model."""
        hyper = self.hyper()
        numpyro.factor("log_evidence", self.log_evidence(hyper, power))
        if not self.prior:  # (handlers.mask would take the Jacobian of the gammas along)
            log_prior = jnp.asarray(self.gamma_prior().log_prob(hyper["gamma"]))
            numpyro.factor("bug", -log_prior)
        if not self.jacobian:  # the density of gamma taken for that of log gamma
            numpyro.factor("other bug", -jnp.sum(jnp.log(hyper["gamma"])))

    def simulate(self, key: PRNGKeyArray) -> tuple[dict[str, Array], Power]:
        """Draw hyper-parameters and data, with the log-evidence as a test quantity."""
        k_hyper, k_data = jax.random.split(key)
        with numpyro.handlers.seed(rng_seed=k_hyper):
            hyper = self.hyper()
        white = jax.random.normal(k_data, (self.components.shape[1], self.n_times))
        data = jnp.linalg.cholesky(self.covariance(hyper)) @ white
        power = data @ data.T
        return {**hyper, "log_evidence": self.log_evidence(hyper, power)}, power


def component_model(
    n_components: int = 6, n_sensors: int = 20, n_times: int = 8, *, seed: int = 0
) -> ComponentModel:
    r"""Make a model of random components of rank 3 and mean variance 1 per sensor.

    Parameters
    ----------
    n_components, n_sensors, n_times : int
        Sizes of the model.
    seed : int
        Of the random components.

    Returns
    -------
    ComponentModel
        Ready to be simulated and fitted.
    """
    if min(n_components, n_sensors, n_times) < 1:
        raise InputError("components, sensors and times must be at least 1.")
    shape = (n_components, n_sensors, 3)
    gain = jax.random.normal(jax.random.key(seed), shape) / jnp.sqrt(3.0)
    return ComponentModel(jnp.einsum("kmr,knr->kmn", gain, gain), n_times)


def nuts(
    model: Any, key: PRNGKeyArray, *args: Any, warmup: int = 150, draws: int = 99, thin: int = 3
) -> dict[str, Array]:
    """Sample a NumPyro model by NUTS within jit, where `numpyro.infer.MCMC` does not go.

    Parameters
    ----------
    model : NumPyro model
        Called as ``model(*args)``.
    key : PRNG key
        Of the random numbers.
    *args : any
        What the model is given.
    warmup, draws, thin : int
        Transitions that adapt, draws that are kept, transitions per draw.

    Returns
    -------
    samples : dict of (draws, ...)
        In the model's own coordinates.

    References
    ----------
    Hoffman and Gelman 2014, https://jmlr.org/papers/v15/hoffman14a.html.
    """
    kernel = NUTS(model)

    def step(_, state):
        return kernel.sample(state, args, {})

    def draw(state, _):
        state = jax.lax.fori_loop(0, thin, step, state)
        return state, state.z

    state = kernel.init(key, warmup, None, args, {})
    state = jax.lax.fori_loop(0, warmup, step, state)
    _, unconstrained = jax.lax.scan(draw, state, None, length=draws)
    return jax.vmap(kernel.postprocess_fn(args, {}))(unconstrained)
