"""Files that earlier versions wrote: estimates load with equal answers, checkpoints are refused.

`saved/` was written at version 0.1.0 before `esijax/inference` had rooms, on 6 sensors, 8
locations with three orientations, 5 times; the answers beside each file are those of that version.
"""

from pathlib import Path

import jax
import numpy as np
import pytest

import esijax as ej

SAVED = Path(__file__).parent / "saved"


@pytest.mark.parametrize("name", ["linear", "em", "map", "nuts"])
def test_an_estimate_of_an_earlier_version_answers_the_same(name):
    estimate = ej.load(SAVED / f"{name}.npz")
    with np.load(SAVED / f"{name}_answers.npz") as answers:
        then = dict(answers)
    now = {"mean": estimate.mean}
    if estimate.std is not None:
        now["std"] = estimate.std
        now["interval"] = np.stack(estimate.interval(0.9))
        now["sample"] = estimate.sample(jax.random.key(0), 2)
    if estimate.log_evidence is not None:
        now["log_evidence"] = estimate.log_evidence
    assert {k for k, v in then.items() if v.size} == set(now)
    for what, value in now.items():
        np.testing.assert_allclose(value, then[what], rtol=1e-9, atol=1e-12, err_msg=what)


def test_a_checkpoint_of_an_earlier_version_is_refused_as_such():
    rng = np.random.default_rng(0)
    problem = ej.from_arrays(rng.standard_normal((6, 8)), rng.standard_normal((6, 5)), 0.1)
    with pytest.raises(ej.InputError, match="older version of esijax: remove it"):
        ej.solve(problem, ej.models.ARD(), ej.inference.EM(), checkpoint=SAVED / "em.checkpoint")
