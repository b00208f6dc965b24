r"""Variational inference of the hyper-parameters, the sources integrated out.

.. math::
   \hat\phi = \arg\max_\phi \; \mathbb{E}_{q_\phi(\theta)}
   \left[ \log p(Y \mid \theta) + \log p(\theta) - \log q_\phi(\theta) \right]
   \;\leq\; \log p(Y)
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.infer
import optax
from numpyro import handlers
from numpyro.infer.svi import SVIState
from numpyro.infer.util import log_density

from esijax._ops.stop_gradient import stop_gradient
from esijax._types import InputError, check_positive, scalar
from esijax.estimate import Estimate
from esijax.inference.collapsed._curvature import DENSE
from esijax.inference.collapsed._guides import guide_class, make_guide
from esijax.inference.collapsed._search import WORK_PER_STEP
from esijax.inference.collapsed._weights import GuideChecks, importance_evidence, n_weights
from esijax.inference.collapsed.answers import earlier_hyper, marginal, mixture_estimate
from esijax.inference.collapsed.checks import check_search_model
from esijax.inference.collapsed.laplace import check_draws
from esijax.inference.method import Method, Setup, State
from esijax.models.marginals import Marginal

LAST_RATE = 0.01  # of the first


class SVI(Method):
    r"""Stochastic variational inference with NumPyro's guides; sources as a mixture over draws.

    .. math::
       p(X \mid Y) \approx \frac1S \sum_s p(X \mid Y, \theta_s), \qquad \theta_s \sim q_{\hat\phi}

    The sources are never approximated: given the hyper-parameters their posterior is exact. What
    the guide cannot say of the hyper-parameters shows in k-hat (`estimate.verdict()`); above its
    limit the estimate is marked as doubtful.

    Parameters
    ----------
    guide : "mean-field" | "low-rank" | "full" | "flow" | class of numpyro.infer.autoguide
        Independent normals, normals with few or all correlations (of the unconstrained
        hyper-parameters), or an inverse autoregressive flow.
    steps : int
        Steps of the optimiser (Adam).
    lr : float
        Its first rate; it falls to a hundredth along a cosine.
    num_particles : int
        Draws per step.
    num_samples : int
        Draws of the hyper-parameters at the end.
    num_maps : int
        Draws, at most, whose maps are averaged.

    Raises
    ------
    InputError
        For an unknown guide, numbers out of range, or (in `solve`) a flat hyper-prior, a model
        without hyper-parameters, or more of them than the guide can hold.

    Notes
    -----
    `estimate.log_evidence` is the logarithm of the average importance weight. On average it is a
    lower bound of the evidence, tighter than the ELBO, which the verdict has too; where k-hat is
    above its limit it may be far below. The number of steps is fixed, so that the answer for a
    given key and start is differentiable through the steps, in data, lead field and hyper-priors.

    References
    ----------
    Kucukelbir et al. 2017, https://jmlr.org/papers/v18/16-107.html; Kingma et al. 2016,
    arXiv:1606.04934; Burda et al. 2016, arXiv:1509.00519; Yao et al. 2018, arXiv:1802.02538.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej, numpyro.distributions as dist
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :2], noise_cov=1.0)
    >>> prior = ej.models.Components([np.arange(6), np.arange(6, 12)], dist.LogNormal(-1.0, 1.0))
    >>> estimate = ej.solve(problem, prior, ej.inference.SVI("full"), key=jax.random.key(0))
    >>> estimate.hyper["gamma"].shape
    (1000, 2)
    """

    guide: Any = eqx.field(static=True, default="mean-field")
    steps: int = eqx.field(static=True, default=2000)
    lr: Any = eqx.field(converter=scalar, default=0.03)
    num_particles: int = eqx.field(static=True, default=4)
    num_samples: int = eqx.field(static=True, default=1000)
    num_maps: int = eqx.field(static=True, default=200)
    differentiable: ClassVar[bool] = True
    derivative_at_start: ClassVar[bool] = True
    needs_key: ClassVar[bool] = True
    learns_noise: ClassVar[bool] = True
    takes_separable: ClassVar[bool] = True

    def __check_init__(self):
        guide_class(self.guide)
        check_positive(self.lr, "lr")
        for name in ("steps", "num_particles"):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= 1):
                raise InputError(f"{name} must be a positive whole number, got {value!r}.")
        check_draws(self)

    def check(self, setup: Setup) -> None:
        """Take priors with a posterior; a guide of the right size."""
        size = check_search_model(setup, "SVI", proper=True)
        if size > DENSE and self.guide in ("full", "flow"):
            raise InputError(
                f"guide={self.guide!r} keeps a matrix of unknowns x unknowns: {size} are more than "
                f"{DENSE}. Use 'low-rank' or 'mean-field'."
            )
        if size == 1 and self.guide in ("flow", "low-rank"):
            raise InputError(f"guide={self.guide!r} needs two unknowns, there is one: use 'full'.")

    def init(self, setup: Setup) -> State:
        """Guide around the start; what does not change is computed once."""
        model = marginal(setup)
        state = self._svi(setup, model).init(setup.key)
        losses = jnp.full(self.steps, jnp.nan)
        carry = {
            "optim": state.optim_state,
            "key": jax.random.key_data(state.rng_key),
            "losses": losses,
            "n": jnp.asarray(0),
        }
        return State(setup, carry, model)

    def step(self, state: State) -> State:
        """About a second of updates."""
        model = state.fixed
        svi = self._svi(state.setup, model)
        svi.init(jax.random.key(0))  # the guide learns its shapes; the values are not used

        def update(carry):
            key = jax.random.wrap_key_data(carry["key"])
            before = SVIState(carry["optim"], None, key)
            after, loss = svi.stable_update(before)
            return {
                "optim": after.optim_state,
                "key": jax.random.key_data(after.rng_key),
                "losses": carry["losses"].at[carry["n"]].set(loss),
                "n": carry["n"] + 1,
            }

        def body(carry, _):
            return jax.lax.cond(carry["n"] < self.steps, update, lambda c: c, carry), None

        length = updates_per_step(model, self)
        carry = jax.lax.scan(jax.checkpoint(body), state.carry, length=length)[0]
        return State(state.setup, carry, model)

    def n_chunks(self, setup: Setup) -> int:
        """Number of compiled steps; it is known, so that the loop has a gradient."""
        model = eqx.filter_eval_shape(marginal, setup)
        return -(-self.steps // updates_per_step(model, self))

    def done(self, state: State) -> Any:
        """All steps are made."""
        return state.carry["n"] >= self.steps

    def finish(self, state: State) -> Estimate:
        """Draws of the guide, their weights, their maps."""
        model, carry = state.fixed, state.carry
        svi = self._svi(state.setup, model)
        svi.init(jax.random.key(0))
        key = jax.random.wrap_key_data(carry["key"])
        params = svi.get_params(SVIState(carry["optim"], None, key))
        names = tuple(jax.eval_shape(lambda: model.medians()))

        def draw(one):
            sites, log_q = _guide_draw(svi.guide, params, one, names)
            with handlers.substitute(data=sites):
                hyper = model.hyper()
            return hyper, log_density(model, (), {}, sites)[0] - log_q

        n_draws = n_weights(model, self.num_samples)
        keys = jax.random.split(jax.random.fold_in(key, 0), n_draws)
        hyper, weights = jax.lax.map(draw, keys, batch_size=model.side_by_side)
        return mixture_estimate(
            model,
            jax.tree.map(lambda x: x[: self.num_samples], hyper),
            "SVI",
            num_maps=self.num_maps,
            evidence=importance_evidence(weights),
            diagnostics=stop_gradient(GuideChecks(weights, carry["losses"])),
        )

    def _svi(self, setup: Setup, model: Marginal) -> numpyro.infer.SVI:
        start = model.start_sites(earlier_hyper(setup), warm=False)
        start = stop_gradient(start)  # NumPyro checks it in a loop
        guide = make_guide(self.guide, model, start)
        rate = optax.cosine_decay_schedule(self.lr, self.steps, LAST_RATE)
        loss = numpyro.infer.Trace_ELBO(self.num_particles)
        return numpyro.infer.SVI(model, guide, optax.adam(rate), loss)


def _guide_draw(guide: Any, params: dict, key: Any, names: tuple[str, ...]):
    """Sites of one draw of a guide, and its log density."""
    log_q, trace = log_density(handlers.seed(guide, key), (), {}, params)
    return {name: trace[name]["value"] for name in names}, log_q


def updates_per_step(model: Marginal, method: SVI) -> int:
    """Updates of the guide that take about a second."""
    work = model.work * method.num_particles
    return int(min(max(WORK_PER_STEP / work, 1), 500, method.steps))
