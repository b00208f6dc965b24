"""The guide to penalties is run as a reader would run it."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

import esijax as ej

GUIDE = Path(__file__).parents[2] / "docs" / "penalties.md"


@pytest.fixture(scope="module")
def session():
    """Names after running all blocks of code."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 4
    names: dict = {}
    before = jax.config.jax_numpy_rank_promotion
    jax.config.update("jax_numpy_rank_promotion", "allow")
    exec(compile("\n".join(blocks), str(GUIDE), "exec"), names)
    jax.config.update("jax_numpy_rank_promotion", before)
    return names


def test_own_penalty_finds_the_minimum(session):
    """Least squares without negative values, the sum completed to a square: scipy's."""
    found = session["outward"]
    proof, problem = found.diagnostics, found.problem
    assert bool(proof.converged)
    assert -1e-12 <= float(proof.relative_gap) <= 1e-6
    gain = np.asarray(problem.gain)[..., 0] * np.asarray(problem.prior_scale)[:, 0]
    alpha, data = float(proof.alpha), np.asarray(problem.data)
    # alpha 1'x = <c, G x> for any c with G'c = alpha 1 on those locations that matter: here by
    # a row of ones with a tiny weight
    tiny = 1e-4
    tall = np.vstack([gain, tiny * np.ones((1, gain.shape[1]))])
    total = 0.0
    for column in data.T:
        x, _ = nnls(tall, np.append(column, -alpha / tiny), maxiter=10_000)
        total += 0.5 * np.sum((column - gain @ x) ** 2) + alpha * x.sum()
    assert float(proof.primal) == pytest.approx(total, rel=1e-6)
    assert set(np.argsort(session["peaks"])[-2:].tolist()) & {7}
    assert float(jnp.min(found.mean)) >= 0


def test_own_penalty_has_a_derivative(session):
    fitted = session["fitted"]
    step = 1e-3
    want = (float(fitted(20 + step)) - float(fitted(20 - step))) / (2 * step)
    assert float(session["slope"]) == pytest.approx(want, rel=1e-5)


def test_own_data_term_keeps_the_sources(session):
    """The last of the two is the robust one."""
    assert set(session["best"].tolist()) == {7, 31}
    own = {
        n for n in vars(session["Cauchy"]) if n in ("value", "influence", "curvature", "conjugate")
    }
    assert own == {"value", "influence", "curvature"}
    assert issubclass(session["Outward"], ej.models.Penalty)
