"""`check`: an object of one's own, held against the contract of its kind."""

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from tqdm.auto import tqdm

from esijax._types import EsijaxWarning
from esijax.inference.method import Method
from esijax.models.noise import Noise, Robust
from esijax.models.penalties import L21, Penalty
from esijax.models.priors.prior import Prior
from esijax.problem import Problem
from esijax.testing import calibration, inferences, methods, penalties, priors
from esijax.testing.problems import small_problem
from esijax.testing.report import Report, ReportRow
from esijax.testing.table import row_of, row_of_answer

Work = Callable[[], ReportRow]


def check(
    thing: Any, problem: Problem | None = None, *, calibrate: bool = True, progress: bool = True
) -> Report:
    """Hold a prior, noise model, penalty, data term or method of one's own against its contract.

    Every inference that takes the object is run on a small problem: finite numbers of the right
    shapes; other numbers compile nothing anew; jit and vmap change nothing; the derivative is that
    of differences. What the object says of itself (a covariance, a proximal map, a derivative) is
    held against dense algebra or its own definition. Priors and noise models are calibrated
    besides: 100 data sets from the model, each solved by NUTS.

    Parameters
    ----------
    thing : Prior | Noise | Penalty | Robust | Method
        An object, not a class.
    problem : Problem, optional
        What to try it on, small; by default 9 locations of three orients, 8 sensors, 6 samples.
    calibrate : bool
        Whether priors and noise models are calibrated (a minute).
    progress : bool
        Show a progress bar of the rows.

    Returns
    -------
    report : Report
        Print it for the table; ``report.passes()`` for a test.

    Raises
    ------
    TypeError
        For an object of another kind.

    Examples
    --------
    >>> import esijax as ej
    >>> report = ej.testing.check(ej.models.L1(2.0), progress=False)
    >>> report.passes()
    True
    """
    problem = small_problem() if problem is None else problem
    work = dict(_rows(thing, problem, calibrate))
    with warnings.catch_warnings(), tqdm(work, disable=not progress, unit="row") as bar:
        warnings.simplefilter("ignore", EsijaxWarning)  # few steps do not pass their own checks
        rows = []
        for name in bar:
            bar.set_postfix_str(name)
            rows.append(work[name]())
    return Report(type(thing).__name__, tuple(rows))


@functools.singledispatch
def _rows(thing: Any, problem: Problem, calibrate: bool) -> Iterator[tuple[str, Work]]:  # noqa: ARG001
    what = f"the class {thing.__name__}: make one" if isinstance(thing, type) else repr(thing)
    raise TypeError(f"check takes a Prior, Noise, Penalty, Robust or Method, got {what}.")


@_rows.register
def _(thing: Prior, problem: Problem, calibrate: bool) -> Iterator[tuple[str, Work]]:
    own = {"covariance": lambda: priors.source_cov_is_a_covariance(thing, problem)}
    yield "itself", lambda: row_of("itself", own)
    for name, method in inferences.collapsed_methods().items():
        yield name, _solved(name, inferences.answer_of_model(method), problem, thing, method)
    if calibrate and thing.marginal(problem).proper:
        kept = {"calibrated": lambda: calibration.calibrated(thing, None, progress=False)}
        yield "NUTS, calibration", lambda: row_of("NUTS, calibration", kept)


@_rows.register
def _(thing: Noise, problem: Problem, calibrate: bool) -> Iterator[tuple[str, Work]]:
    prior = inferences.known_prior()
    own = {"covariance": lambda: priors.noise_cov_is_a_covariance(thing, problem)}
    yield "itself", lambda: row_of("itself", own)
    for name, method in inferences.collapsed_methods().items():
        if method.learns_noise:
            answer = inferences.answer_of_noise(method, prior)
            yield name, _solved(name, answer, problem, thing, method)
    if calibrate and thing.proper:
        kept = {"calibrated": lambda: calibration.calibrated(prior, thing, progress=False)}
        yield "NUTS, calibration", lambda: row_of("NUTS, calibration", kept)


@_rows.register
def _(thing: Penalty, problem: Problem, calibrate: bool) -> Iterator[tuple[str, Work]]:  # noqa: ARG001
    yield "itself", lambda: row_of("itself", penalties.promises_of(thing.prepare(problem), problem))
    for name, method in inferences.penalised_methods().items():
        yield name, _solved(name, inferences.answer_of_model(method), problem, thing, method)


@_rows.register
def _(thing: Robust, problem: Problem, calibrate: bool) -> Iterator[tuple[str, Work]]:  # noqa: ARG001
    own = {"influence": lambda: penalties.influence_is_the_derivative(thing, problem)}
    yield "itself", lambda: row_of("itself", own)
    for name, method in inferences.penalised_methods().items():
        answer = inferences.answer_of_noise(method, L21(2.0))
        yield name, _solved(name, answer, problem, thing, method)


@_rows.register
def _(thing: Method, problem: Problem, calibrate: bool) -> Iterator[tuple[str, Work]]:  # noqa: ARG001
    for name, model in inferences.models().items():
        answer = inferences.answer_of_method(model)
        yield name, lambda n=name, a=answer, m=model: methods.row(n, a, problem, thing, m)


def _solved(name: str, answer: Any, problem: Problem, thing: Any, method: Method) -> Work:
    return lambda: row_of_answer(name, answer, problem, thing, method.no_gradient is None)
