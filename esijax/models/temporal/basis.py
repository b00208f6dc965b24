"""Courses that are sums of few given ones."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.safe import divisor
from esijax._types import InputError
from esijax.in_basis import InBasis
from esijax.models._scope import drawn_under
from esijax.models.hyperpriors import HyperPrior, hyperprior
from esijax.models.marginals.separable import SeparableMarginal
from esijax.models.noise import InTime, Noise, White
from esijax.models.penalties import Penalty, TimeFrequency
from esijax.models.priors.linear import sparse_variances
from esijax.models.priors.prior import Prior
from esijax.models.source_cov import SourceCov
from esijax.models.temporal._drawn_waves import drawn_waves
from esijax.models.temporal._rows import (
    BasisCourses,
    Rows,
    Spanned,
    Window,
    coefficients,
    orthonormal_rows,
    read_courses,
)
from esijax.models.temporal.kronecker import (
    Kronecker,
    default_noise,
    distributions_in_space,
    in_space_and_time,
    space_of,
)
from esijax.models.temporal.waves import Waves
from esijax.problem import Problem

FROM_DATA = "the temporal basis was made from the same data: there is no evidence"
WAVES_TAKE_VB = (
    "waves that are learned take inference.VB, where both factors are unknown, or SVI and NUTS, "
    'where the waves are drawn. Or give a basis, e.g. "dct:16".'
)
REST_LEFT_OUT = "the remainder of the temporal basis is left out: a penalty learns no variance"


def _variance_of_rest(given: Any) -> HyperPrior:
    return hyperprior(sparse_variances() if given is None else given)


class TemporalBasis(Prior):
    r"""Courses in a basis that is given: few coefficients for each source, any prior of them.

    .. math::
       X = W \Phi + X_0, \qquad W_{\cdot k} \sim p(\cdot), \quad
       X_0 \sim MN(0,\, \gamma_0 R_0,\, I), \qquad \Phi\ (K \times T), \; \Phi \Phi^\top = I

    Without the remainder :math:`X_0` the data fall apart: :math:`Y \Phi^\top` are K independent
    columns of a static model, and what is left, :math:`Y (I - \Phi^\top \Phi)`, is noise alone,
    which counts in the evidence and where noise is learned. Every prior, penalty and method
    takes the K columns as they are. The remainder (`rest`) is activity everywhere whose samples
    are as independent as those of the noise; its variance is learned and its map is part of the
    answer. With it, or with courses that are not orthonormal, or noise that is coloured in time,
    the model is `Kronecker` with :math:`T = \Phi^\top \Phi`, for the methods that ask for a
    marginal alone (`Evidence`, `Laplace`, `SVI`, `NUTS`).

    Unless `noise` says otherwise the noise is as stated, and with the remainder learned as
    `Kronecker` says. With `noise_time` the basis is orthonormal in whitened time.

    Parameters
    ----------
    model : prior | penalty
        Of the coefficients W: `Components`, `ARD`, `Horseshoe`, `L21`, ...
    basis : (courses, times) | "dct:16" | "svd:5" | Waves
        Courses, or how many: the cosines of lowest frequency (half the sampling rate times K / T
        is the highest), or those of most power in the data. Or `Waves`, which `VB` learns.
    rest : "iid" | None
        Remainder with independent locations and a variance of its own, or none. Methods that ask
        for more than a marginal (`Gibbs`, `Linear`, `Unrolled`) want None; under a penalty
        it is left out, and a note says so.
    rest_variance : numpyro distribution
        Prior of its variance; that of components by default.
    orthonormal : bool
        Whether :math:`(\Phi \Phi^\top)^{-1/2} \Phi` is taken for the courses, which coefficients
        of one variance cannot tell apart; False: as given, so that :math:`\Phi^\top \Phi` is what
        you state of how samples go together, and how large they are.
    from_data : bool
        Whether you made the courses from the same data; True of "svd". Their fit is not paid for,
        so that such an estimate has no evidence, and its bands are too narrow.
    rows : (courses, times), optional
        Set by `prepare`: the courses.
    span : (courses, times), optional
        Set by `prepare`: an orthonormal basis of what they span.
    times : (times,), optional
        Set by `prepare`: when the samples are, s.

    Raises
    ------
    InputError
        For something else than a prior or penalty, an unknown basis; in `solve` for more courses
        than samples, another number of times, courses that follow from the others, and methods
        that do not take the remainder.

    References
    ----------
    Trujillo-Barreto et al. 2008, doi:10.1016/j.neuroimage.2007.08.046; Gramfort et al. 2013,
    doi:10.1016/j.neuroimage.2012.12.051.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> course = np.exp(-0.5 * ((np.arange(40) - 20) / 5) ** 2)
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :1] * course, noise_cov=1.0, sfreq=200.0)
    >>> model = ej.models.TemporalBasis(ej.models.ARD(), "dct:8", rest=None)
    >>> estimate = ej.solve(problem, model, ej.inference.EM())
    >>> estimate.mean.shape
    (12, 1, 40)
    """

    model: Any  # a prior, or a penalty
    basis: BasisCourses | Waves = eqx.field(converter=read_courses)
    rest: Any = eqx.field(static=True, default="iid")
    rest_variance: HyperPrior = eqx.field(converter=_variance_of_rest, default=None)
    orthonormal: bool = eqx.field(static=True, default=True)
    from_data: bool = eqx.field(static=True, default=False)
    rows: Rows | None = None  # orthonormal, in whitened time
    span: Rows | None = None  # at the samples: their covariance is span' span
    times: Float[Array, " times"] | None = None

    def __check_init__(self):
        given = self.model
        if not isinstance(given, Prior | Penalty) or isinstance(given, Kronecker | TemporalBasis):
            raise InputError(
                "TemporalBasis takes a prior in space or a penalty (Components, ARD, L21, ...), "
                f"got {type(given).__name__}."
            )
        if isinstance(given, TimeFrequency):
            raise InputError(
                "TimeFrequency has a basis of its own, atoms of time and frequency: give it to "
                "solve by itself, or another penalty here."
            )
        if isinstance(given, Penalty) and not self.orthonormal:
            raise InputError(
                "a penalty takes courses that are orthonormal: leave orthonormal=True, or take a "
                "prior."
            )
        if self.rest not in ("iid", None):
            raise InputError(f"rest must be 'iid' or None, got {self.rest!r}.")

    @classmethod
    def window(cls, model: Any, tmin: Any, tmax: Any, rest: Any = None) -> "TemporalBasis":
        """Sources that are active in a window alone; samples outside are noise.

        They stay in the likelihood, so that windows can be compared by evidence (`ej.compare`).

        Parameters
        ----------
        model : prior | penalty
            Of the samples within the window.
        tmin, tmax : float
            First and last of them, s.
        rest : "iid" | None
            As above.

        Raises
        ------
        InputError
            For times that are no numbers in order; in `solve` for a window without samples.

        Examples
        --------
        >>> import numpy as np, esijax as ej
        >>> gain = np.random.default_rng(0).standard_normal((8, 12))
        >>> data = 3 * gain[:, :1] * (np.arange(20) > 9)
        >>> problem = ej.from_arrays(gain, data, noise_cov=1.0, sfreq=100.0)
        >>> prior = ej.models.MinimumNorm("evidence")
        >>> fits = [
        ...     ej.solve(problem, ej.models.TemporalBasis.window(prior, *w), ej.inference.Linear())
        ...     for w in ((0.0, 0.09), (0.1, 0.19))
        ... ]
        >>> bool(fits[1].log_evidence > fits[0].log_evidence)
        True
        """
        return cls(model, Window(tmin, tmax), rest)

    # ------------------------------------------------------------------ in the basis
    @property
    def has_no_evidence(self) -> bool:
        """Whether the courses were made from the data."""
        return self.from_data or (isinstance(self.basis, BasisCourses) and self.basis.from_data)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of a map should know of the basis."""
        left_out = isinstance(self.model, Penalty) and self.rest is not None
        return (REST_LEFT_OUT,) * left_out + (FROM_DATA,) * self.has_no_evidence

    @property
    def learned(self) -> bool:
        """Whether the courses are not given."""
        return isinstance(self.basis, Waves)

    def placed(self, problem: Problem) -> "TemporalBasis":
        """With the courses at the samples of a problem."""
        if isinstance(self.basis, Waves):
            return replace(self, basis=self.basis.prepare(problem))
        if self.rows is not None:
            return self
        given, known = self.basis.at(problem), problem.noise_time
        rows, span = orthonormal_rows(given, problem), given
        if self.orthonormal:
            span = rows if known is None else rows @ known.root
        return replace(self, rows=rows, span=span, times=jnp.asarray(problem.times, float))

    def prepare(self, problem: Problem) -> "TemporalBasis":
        """Courses at the samples, and the model of their weights."""
        if self.rows is not None:
            return self
        own = self.placed(problem)
        if self.learned:
            return replace(own, model=self.model.prepare(problem))
        return replace(own, model=self.model.prepare(own.columns(problem)))

    def in_columns(self, noise: Any) -> bool:
        """Whether the coefficients are independent columns of a model that knows no time."""
        if self.learned:
            return False
        if isinstance(self.model, Penalty):
            return True
        return self.rest is None and self.orthonormal and not isinstance(noise, InTime)

    def columns(self, problem: Problem) -> Problem:
        """The problem of the coefficients."""
        assert self.rows is not None
        data, recording, power = coefficients(problem, self.rows)
        n_columns = problem.data.size // problem.rank - data.size // problem.rank
        known = problem.noise_time
        back = self.rows if known is None else self.rows @ known.turn
        basis = InBasis(
            self.rows,
            back / divisor(jnp.linalg.norm(back, axis=0))[None],
            power,
            jnp.asarray(float(n_columns)),
            problem.log_jacobian,
            self.basis.name,
            self.notes,
            self.has_no_evidence,
        )
        return replace(problem, data=data, recording=recording, noise_time=None, basis=basis)

    def refusal(self, method: str) -> str:
        """Why a method that wants independent columns does not take this."""
        if self.learned:
            return WAVES_TAKE_VB
        if self.rest is not None:
            return (
                f"{method} does not take the remainder of a temporal basis: give rest=None, or "
                "take EM, Evidence, Laplace, SVI or NUTS."
            )
        why = "noise that is coloured in time" if self.orthonormal else "orthonormal=False"
        return (
            f"{method} wants independent columns, which {why} does not leave: take Evidence, "
            "Laplace, SVI or NUTS, or courses that are orthonormal, and noise_time."
        )

    # ------------------------------------------------------------------ what methods ask
    def default_noise(self, problem: Problem) -> Noise | None:
        """As stated; learned with the remainder, as in `Kronecker`."""
        if isinstance(self.basis, Waves):
            return self.basis.default_noise(problem)
        if self.in_columns(None) or self.rest is None:
            return None
        return default_noise(problem)

    def hyper(self, sizes: dict[str, int]) -> dict[str, Array]:
        """Those of the coefficients, then of the remainder."""
        own = self._prior.hyper(sizes)
        if self.rest is None:
            return own
        return own | drawn_under("rest", self.rest_variance.sample, 1, sizes)

    def distributions(self, sizes: dict[str, int]) -> Any:
        """Of each block of variances in space, the remainder's last; None where some are tied."""
        return distributions_in_space(self._prior, self.rest, self.rest_variance, sizes)

    def source_cov(self, hyper: dict[str, Array], problem: Problem) -> SourceCov:
        """R, the covariance in space of each coefficient."""
        return self._prior.source_cov(hyper, problem)

    @property
    def proper(self) -> bool:
        """Ask the prior of the coefficients."""
        return self._prior.proper

    @property
    def _prior(self) -> Prior:
        if isinstance(self.model, Penalty):
            raise InputError(f"{type(self.model).__name__} is a penalty: it has no marginal.")
        return self.model

    def marginal(self, problem: Problem, noise: Noise | None = None) -> SeparableMarginal:
        """Integrate the sources out of signal, remainder and noise."""
        own = self.prepare(problem)
        spatial, in_time = in_space_and_time(noise, problem)
        if isinstance(own.basis, Waves):
            return own._with_drawn_waves(own.basis, problem, spatial, in_time, noise)
        spatial = space_of(own._prior, own.columns(problem), spatial, "TemporalBasis")
        rest = None if self.rest is None else self.rest_variance
        span, times = Spanned(jnp.asarray(own.span)), jnp.asarray(own.times)
        noise, name = White() if noise is None else noise, self.called(spatial.name)
        return SeparableMarginal(spatial, span, in_time, rest, times, own, noise, name, problem)

    def _with_drawn_waves(
        self, waves: Waves, problem: Problem, spatial: Noise, time: Any, noise: Any
    ):
        """The marginal with the maps integrated out, the waves among the hyper-parameters."""
        found = space_of(self._prior, problem, spatial, "TemporalBasis")
        assert waves.times is not None
        drawn = drawn_waves(waves.time, waves.k, waves.times, problem)
        rest = None if self.rest is None else self.rest_variance
        noise, name = White() if noise is None else noise, self.called(found.name)
        return SeparableMarginal(found, drawn, time, rest, waves.times, self, noise, name)

    def called(self, model: str) -> str:
        """Name in estimates."""
        return f"TemporalBasis({model}, {self.basis.name})"
