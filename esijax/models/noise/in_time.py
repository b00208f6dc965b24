r"""Noise that is coloured in time."""

from typing import Any

import equinox as eqx
from jaxtyping import Array

from esijax._types import InputError, Square
from esijax.models._scope import drawn_under
from esijax.models.noise.noise import Noise
from esijax.models.time import Time
from esijax.problem import Problem, Whitener


class InTime(Noise):
    r"""A noise model of the sensors with a covariance in time, the same for all channels.

    .. math:: E \sim MN(0,\, W N(\theta) W^\top,\, T_n(\theta)), \qquad (T_n)_{tt} = 1

    For models with a covariance in time of their own (`ej.models.Kronecker`). Under a prior that
    takes samples as independent it does not separate: it is refused there.

    Parameters
    ----------
    noise : noise model
        Over the sensors: `White()`, `Scalar()`, `PerType()`, ...
    time : Time
        Of `ej.models.time`, e.g. `Autoregressive(4)`.
    chosen : str
        How it was chosen, where nobody gave it; a note of the estimate.

    Raises
    ------
    InputError
        For something else than a noise model and a covariance in time.

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.InTime(
    ...     ej.models.noise.Scalar(), ej.models.time.Autoregressive(4)
    ... )
    """

    noise: Any
    time: Any
    chosen: str = eqx.field(static=True, default="")

    def __check_init__(self):
        given: Any = self.noise
        if not isinstance(given, Noise) or isinstance(given, InTime):
            raise InputError(
                f"noise.InTime takes a noise model of the sensors, got {type(given).__name__}: "
                "White(), Scalar(), PerType(), Diagonal() or LowRank(k)."
            )
        if not isinstance(self.time, Time):
            raise InputError(
                f"noise.InTime takes a covariance of esijax.models.time, got "
                f"{type(self.time).__name__}: e.g. time.Autoregressive(4)."
            )

    def prepare(self, problem: Problem) -> "InTime":
        """Prepare the noise of the sensors."""
        return InTime(self.noise.prepare(problem), self.time, self.chosen)

    def hyper(self) -> dict[str, Array]:
        """Draw the parameters of both; those of time begin with ``noise/time``."""
        return {**self.noise.hyper(), **drawn_under("noise/time", self.time.hyper, {})}

    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:  # noqa: ARG002
        """There is none of one sample alone.

        Raises
        ------
        InputError
            Always: what asks for it takes samples as independent.
        """
        raise InputError(REFUSED)

    @property
    def notes(self) -> tuple[str, ...]:
        """How it was chosen, where nobody gave it."""
        return (self.chosen,) if self.chosen else ()

    @property
    def n_variances(self) -> int:
        """Unknown variances of the sensors."""
        return self.noise.n_variances

    @property
    def proper(self) -> bool:
        """Ask the noise of the sensors."""
        return self.noise.proper

    def start(self, variance: Any) -> dict[str, Array]:
        """Sites of the noise of the sensors."""
        return self.noise.start(variance)


REFUSED = (
    "noise that is coloured in time does not separate from sources that are independent from "
    "sample to sample: take ej.models.Kronecker(prior, time), or state the noise's covariance with "
    "from_mne(..., noise_time='auto'), which any prior takes."
)
