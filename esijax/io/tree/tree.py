"""`to_arviz`: an estimate, or a calibration, as the DataTree that ArviZ reads."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import arviz_base
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from esijax._ops.data_law import DataLaw, Independent, Trials
from esijax._ops.memory import refuse_if_too_large
from esijax._types import InputError, prng_key
from esijax._where import indices, pair
from esijax.estimate import Estimate
from esijax.io.tree import names
from esijax.io.tree.draws import Draws, drawn, keys_of, number, sample_stats
from esijax.io.tree.law import each, has_law, joint_sources, law_of_one, marginal_of, prior_draws
from esijax.metrics import Calibration

Group = tuple[dict[str, Any], dict[str, list[str]], dict[str, Any]]  # variables, dims, coords
WAYS = ("time", "trial")


def to_arviz(
    estimate: Estimate | Calibration,
    *,
    n: Any = None,
    key: Any = 0,
    at: Any = None,
    groups: Sequence[str] | None = None,
    by: Any = None,
) -> xr.DataTree:
    r"""Give draws, densities, predictions and data as the DataTree that ArviZ reads.

    The density is that of the data with the sources integrated out, in units of the data,

    .. math:: p(y_t \mid \theta) = N\left(y_t;\, 0,\, L R(\theta) L^\top + N(\theta)\right)

    Where samples go together (`Kronecker`, a temporal basis, ``noise_time``) it is
    :math:`p(y_t \mid y_{-t}, \theta)`, or that of each trial: `az.loo` and `az.compare` are right
    with either. Estimates are compared on the same of the two.

    Parameters
    ----------
    estimate : Estimate | Calibration
        A `Calibration` (of `ej.metrics.sbc`) gives the group ``prior_sbc`` that
        `az.plot_ecdf_pit` reads, one variable per quantity; the other arguments are not read.
    n : int, optional
        Draws of every group. By default all of the hyper-parameters, of their statistics and of
        ``log_likelihood``; of what has sources or channels as many as fit in 200 MB, at most 100
        (4 at least). The draws are evenly spaced in each chain.
    key : PRNG key | int
        Of what is drawn here.
    at : (locations, times), optional
        Where sources are wanted, as in `Estimate.sample`. Where hyper-parameters were drawn none
        are made without it; else all are.
    groups : sequence of str, optional
        Which groups; by default all that the estimate has.
    by : "time" | "trial", optional
        What ``log_likelihood`` has one number for: by default samples, or trials where there are
        several whose samples go together.

    Returns
    -------
    tree : xarray.DataTree
        ``posterior`` (hyper-parameters; ``source`` in units of the map), ``sample_stats``,
        ``log_likelihood`` (``data``), ``posterior_predictive`` (the same sources measured again)
        and ``prior_predictive`` beside ``observed_data``, ``prior``, ``moments`` (mean and
        standard deviation of the sources at `at`), ``hyper`` (values that were not drawn) and
        ``constant_data`` (positions, vertices). Data are ``data``, or a variable for each sensor
        type where there are several.

    Raises
    ------
    InputError
        For a group that does not exist, or that this estimate does not have; for a point
        estimate; for more than the memory holds.

    Notes
    -----
    Memory: 8 bytes times draws times locations x orients x times (sources), channels x times
    (predictions) or times (densities), each times the trials. Time: a draw in ``log_likelihood``
    takes one evaluation of the evidence, of which NUTS makes one per leapfrog step, with its
    gradient; ``groups`` leaves out what is not wanted. Where hyper-parameters are known all draws
    have one density: `az.loo` refuses that, and its answer would be their sum over samples.

    References
    ----------
    Vehtari, Gelman and Gabry 2017, doi:10.1007/s11222-016-9696-4; Bürkner, Gabry and Vehtari 2021,
    doi:10.1007/s00180-020-01045-4 (samples that go together).

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, gain[:, :3], noise_cov=0.1)
    >>> estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    >>> groups = ("posterior", "log_likelihood")
    >>> tree = ej.to_arviz(estimate, n=50, at=([2, 5], None), groups=groups)
    >>> tree["posterior"]["source"].dims
    ('chain', 'draw', 'location', 'orient', 'time')
    >>> tree["log_likelihood"]["data"].shape
    (1, 50, 3)

    Of a sampler's estimate:

    >>> import arviz as az
    >>> az.loo(ej.to_arviz(sampled))  # doctest: +SKIP
    >>> az.plot_ppc_dist(ej.to_arviz(sampled, groups=["posterior_predictive", "observed_data"]))
    ... # doctest: +SKIP
    """
    if isinstance(estimate, Calibration):
        return _of_calibration(estimate)
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate must be an Estimate or a Calibration, got {type(estimate)}.")
    if by not in (None, *WAYS):
        raise InputError(f"by must be one of {WAYS} or None, got {by!r}.")
    asked = _Asked(estimate, n, prng_key(key), at, by)
    makers: dict[str, Callable[[], xr.Dataset | None]] = {
        "posterior": asked.posterior,
        "sample_stats": asked.sample_stats,
        "log_likelihood": asked.log_likelihood,
        "posterior_predictive": asked.posterior_predictive,
        "prior": asked.prior,
        "prior_predictive": asked.prior_predictive,
        "observed_data": asked.observed_data,
        "moments": asked.moments,
        "hyper": asked.hyper,
        "constant_data": asked.constant_data,
    }
    wanted = list(makers) if groups is None else [groups] if isinstance(groups, str) else groups
    unknown = [name for name in wanted if name not in makers]
    if unknown:
        raise InputError(f"groups must be among {tuple(makers)}, got {unknown}.")
    found = {name: makers[name]() for name in wanted}
    lacking = [name for name, group in found.items() if group is None]
    if groups is not None and lacking:
        raise InputError(f"an estimate by {estimate.method} has no {lacking[0]}: leave it out.")
    return xr.DataTree.from_dict({name: g for name, g in found.items() if g is not None})


class _Asked:
    """An estimate and what is wanted of it: a method for each group, None where it has none."""

    def __init__(self, estimate: Estimate, n: Any, key: Any, at: Any, by: Any):
        self.estimate, self.n, self.by = estimate, n, by
        self.keys = jax.random.split(key, 4)
        problem, (locations, times) = estimate.problem, pair(at)
        self.locations = indices(locations, problem.n_locations, "locations")
        self.times = indices(times, problem.n_times, "times")
        self.has_sources = at is not None or not estimate.is_mixture
        trials = int(np.prod(problem.data.shape[:-2]))
        n_sources = len(self.locations) * estimate.n_orients * len(self.times) * trials
        self.of_data = problem.recording.size
        size = n_sources if self.has_sources else 1
        some = number(n, size)
        every = drawn(estimate, some)
        self.draws = every.thinned(n if n is None and not self.has_sources else some)
        self.of_predictions = every.thinned(number(n, self.of_data))
        if not estimate.is_mixture:
            self.of_predictions = drawn(estimate, number(n, self.of_data))

    # ------------------------------------------------------------------ draws
    def posterior(self) -> xr.Dataset | None:
        """Hyper-parameters and sources, jointly."""
        e, d = self.estimate, self.draws
        variables, dims, coords = names.hyper_variables(e.problem, d.hyper, 2, self.locations)
        if self.has_sources:
            coords |= names.source_coords(e, self.locations, self.times)
            dims["source"] = [*names.lead_dims(e.problem), "location", "orient", "time"]
            variables["source"] = d.stacked(self._sources())
        about = {"model": e.model, "method": e.method, "unit": e.unit}
        return _dataset("posterior", (variables, dims, coords), d, about)

    def _sources(self) -> np.ndarray:
        e, d = self.estimate, self.draws
        n = d.shape[0] * d.shape[1]
        if not e.is_mixture:
            return np.asarray(e.sample(self.keys[0], n, at=(self.locations, self.times)))
        e._refuse(n * len(self.locations) / e.problem.n_locations, f"{n} draws", len(self.times))
        keys = keys_of(self.keys[0], n)
        return np.asarray(
            joint_sources(e, d.flat, keys, *map(jnp.asarray, (self.locations, self.times)))
        )

    def sample_stats(self) -> xr.Dataset | None:
        """Of the sampler."""
        found = sample_stats(self.estimate, self.draws)
        return _dataset("sample_stats", (found, {}, {}), self.draws) if found else None

    # ------------------------------------------------------------------ densities and predictions
    def log_likelihood(self) -> xr.Dataset | None:
        """By sample or by trial."""
        e, d, p = self.estimate, self.draws, self.estimate.problem
        if not has_law(e):
            return None
        n, white = d.shape[0] * d.shape[1], self._white
        apart = isinstance(law_of_one(e), Independent)
        by = self.by or ("trial" if not apart and len(white) > 1 else "time")
        size = (n, len(white), p.n_times if by == "time" else 1)
        refuse_if_too_large(size, 8, "the log-likelihood", "ask for fewer draws (`n`)")
        if not e.is_mixture:  # the same at each draw
            values = each(e, {}, self.keys[1:2], _DENSITIES[by], white)
            values = np.broadcast_to(values, (n, *values.shape[1:]))
        else:
            values = each(e, d.flat, keys_of(self.keys[1], n), _DENSITIES[by], white)
        values = np.asarray(values) + float(p.whitener.log_pdet) * (
            1 if by == "time" else p.n_times
        )
        dims = [*names.lead_dims(p), "time"] if by == "time" else ["trial"]
        values = values if by == "trial" or p.data.ndim == 3 else values[:, 0]
        coords = {"trial": np.arange(len(white)), "time": p.times}
        given = "" if by == "trial" or apart else ", given the other samples of its trial"
        about = {"pointwise": f"{'sample' if by == 'time' else 'trial'}{given}"}
        group = {"data": d.stacked(values)}, {"data": dims}, coords
        return _dataset("log_likelihood", group, d, about)

    def posterior_predictive(self) -> xr.Dataset | None:
        """Data of the same sources, with noise of their own."""
        return self._predicted("posterior_predictive", self.of_predictions, _again)

    def prior_predictive(self) -> xr.Dataset | None:
        """Data of sources that are drawn from the prior."""
        prior = self._prior_draws
        if prior is None:
            return None
        return self._predicted("prior_predictive", prior, _drawn)

    def _predicted(self, name: str, draws: Draws, function) -> xr.Dataset | None:
        e, p = self.estimate, self.estimate.problem
        if not has_law(e):
            return None
        n = draws.shape[0] * draws.shape[1]
        way_out = "ask for fewer draws (`n`), or leave the group out (`groups`)"
        refuse_if_too_large((n, *p.recording.shape), 8, name, way_out)
        found = np.asarray(each(e, draws.flat, keys_of(self.keys[2], n), function, self._white))
        found = np.asarray(p.whitener.colorer) @ found
        found = found if p.data.ndim == 3 else found[:, 0]
        return _dataset(name, names.data_variables(p, draws.stacked(found)), draws)

    @property
    def _white(self) -> Trials:
        p = self.estimate.problem
        return p._white.reshape(-1, p.rank, p.n_times)

    @functools.cached_property
    def _prior_draws(self) -> Draws | None:
        """Draws of the prior; without any hyper-parameter where they are known."""
        n, marginal = number(self.n, self.of_data), marginal_of(self.estimate)
        if marginal is None:
            return drawn(self.estimate, n)
        if not marginal.proper:
            return None
        found = prior_draws(marginal, keys_of(self.keys[3], n))
        hyper = {name: np.asarray(value)[None] for name, value in found.items()}
        return Draws(hyper, np.arange(1), np.arange(n))

    def prior(self) -> xr.Dataset | None:
        """Hyper-parameters."""
        found = self._prior_draws
        if found is None or not found.hyper:
            return None
        p = self.estimate.problem
        group = names.hyper_variables(p, found.hyper, 2, self.locations)
        return _dataset("prior", group, found)

    # ------------------------------------------------------------------ what is known
    def observed_data(self) -> xr.Dataset:
        """The recording, in its units."""
        p = self.estimate.problem
        return _dataset("observed_data", names.data_variables(p, np.asarray(p.recording)))

    def moments(self) -> xr.Dataset | None:
        """Mean and standard deviation of the sources."""
        e = self.estimate
        lead = names.lead_dims(e.problem)
        mean = np.asarray(e.mean)[..., self.locations, :, :][..., self.times]
        variables, dims = {"mean": mean}, {"mean": [*lead, "location", "orient", "time"]}
        if e.std is not None:
            std = np.asarray(e.std)[..., self.locations, :, :]
            steady = e.samples.steady
            variables["std"] = std[..., 0] if steady else std[..., self.times]
            dims["std"] = ["location", "orient"] if steady else dims["mean"]
        coords = names.source_coords(e, self.locations, self.times)
        return _dataset("moments", (variables, dims, coords))

    def hyper(self) -> xr.Dataset | None:
        """Values of hyper-parameters that were not drawn."""
        e = self.estimate
        if e.is_mixture or not e.hyper:
            return None
        values = {name: np.asarray(value) for name, value in e.hyper.items()}
        return _dataset("hyper", names.hyper_variables(e.problem, values, 0, self.locations))

    def constant_data(self) -> xr.Dataset | None:
        """Where the sources are."""
        group = names.place_variables(self.estimate.problem, self.locations)
        return _dataset("constant_data", group) if group[0] else None


def _by_time(law: DataLaw, _, white: Trials):
    return law.by_time(white)


def _by_trial(law: DataLaw, _, white: Trials):
    return law.by_trial(white)


def _again(law: DataLaw, key, white: Trials):
    return law.again(key, white)


def _drawn(law: DataLaw, key, white: Trials):
    return law.draw(key, white)


_DENSITIES = {"time": _by_time, "trial": _by_trial}


def _dataset(
    name: str, group: Group, draws: Draws | None = None, about: dict[str, Any] | None = None
) -> xr.Dataset:
    """One group as ArviZ makes it."""
    variables, dims, coords = group
    if draws is not None:
        coords = coords | {"chain": draws.chain, "draw": draws.draw}
    tree = arviz_base.from_dict(
        {name: variables},
        sample_dims=[] if draws is None else ["chain", "draw"],
        dims=dims,
        coords=coords,
        attrs={name: about or {}},
        check_conventions=False,  # a few draws of many chains are what was asked for
    )
    return tree[name].to_dataset()


def _of_calibration(calibration: Calibration) -> xr.DataTree:
    """Randomised probability integral transforms, a draw for each data set."""
    values = {name: u[None] for name, u in zip(calibration.names, calibration.pit.T, strict=True)}
    sets = Draws({}, np.arange(1), np.arange(len(calibration.position)))
    return xr.DataTree.from_dict({"prior_sbc": _dataset("prior_sbc", (values, {}, {}), sets)})
