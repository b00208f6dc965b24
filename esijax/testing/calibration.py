"""A small simulation-based calibration: draws of the posterior are draws of the prior's world."""

from typing import Any

import jax

from esijax.inference import NUTS
from esijax.metrics import sbc
from esijax.testing.problems import small_problem
from esijax.testing.promises import BrokenPromise

SETS, DRAWS, ALPHA = 100, 39, 0.001


def calibrated(prior: Any, noise: Any, progress: bool) -> None:
    """Ranks of 100 truths among draws of NUTS are uniform; a right model fails once in 500."""
    problem = small_problem(1, 3)
    method = NUTS(150, 10 * (DRAWS + 1), 1, num_maps=10 * (DRAWS + 1))
    found = sbc(
        prior,
        noise,
        method,
        problem,
        SETS,
        key=jax.random.key(1),
        draws=DRAWS,
        thin=10,
        progress=progress,
    )
    if not found.passes(ALPHA):
        worst = min(found.ks | found.chi2, key=lambda name: min(found.ks[name], found.chi2[name]))
        raise BrokenPromise(
            f"{worst} is not where its posterior says: p = {found.p_value:.2g} in {SETS} data sets"
        )
