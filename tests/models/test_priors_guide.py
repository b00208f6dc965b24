"""The guide to priors is run as a reader would run it."""

import re
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import esijax as ej

GUIDE = Path(__file__).parents[2] / "docs" / "priors.md"


@pytest.fixture(autouse=True)
def _as_a_reader(no_rank_promotion):
    """The samplers of NumPyro broadcast; a reader's session lets them."""
    jax.config.update("jax_numpy_rank_promotion", "allow")


@pytest.fixture(scope="module")
def session():
    """Names after running all blocks of code, and what they said of the answers."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 3
    names: dict = {}
    before = jax.config.jax_numpy_rank_promotion
    jax.config.update("jax_numpy_rank_promotion", "allow")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile("\n".join(blocks), str(GUIDE), "exec"), names)
    jax.config.update("jax_numpy_rank_promotion", before)
    return names


@pytest.mark.slow
def test_own_prior_learns_what_was_simulated(session):
    """Sources as strong as their depth: variance ~ 1 / power, exponent 1."""
    assert 0.6 < float(session["best"].hyper["exponent"]) < 1.4
    assert session["low"] < 1.0 < session["high"]
    assert session["high"] - session["low"] < 1.2


@pytest.mark.slow
def test_own_prior_has_moments(session):
    posterior = session["posterior"]
    assert posterior.mean.shape == (30, 1, 40)
    assert np.isfinite(posterior.std).all()
    assert np.all(np.asarray(posterior.std) > 0)


@pytest.mark.slow
def test_two_methods_suffice(session):
    """The class of the guide has `hyper` and `source_cov`, and nothing else."""
    own = {name for name in vars(session["LearnedDepth"]) if not name.startswith("_")}
    assert own == {"hyper", "source_cov"}
    assert issubclass(session["LearnedDepth"], ej.models.Prior)
    own = {name for name in vars(session["Hemispheres"]) if not name.startswith("_")}
    assert own == {"parts", "variance_prior"}
    assert session["two"].hyper["gamma"].shape == (2,)


@pytest.mark.slow
def test_own_noise_learns_what_was_simulated(session):
    assert 2.0 < float(session["cable"].hyper["cable"]) < 4.5


def test_names_in_the_guide_exist():
    text = GUIDE.read_text() + GUIDE.with_name("which_prior.md").read_text()
    kinds = re.search(r"^`Patches`.*?are in", text, flags=re.DOTALL | re.MULTILINE).group()
    for name in re.findall(r"`(\w+)`", kinds):
        assert hasattr(ej.models.components, name)
    for name in re.findall(r"`(\w+)\(", text):
        places = (ej.models, ej.models.components, ej.models.noise, ej.models.hyperpriors)
        assert name in ("trace", "prepare", "build") or any(hasattr(p, name) for p in places)
