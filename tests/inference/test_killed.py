"""Kill -9 and go on: another process, another hash seed, the same bits."""

import killed
import pytest


@pytest.mark.parametrize(
    "name", [n if n == "NUTS" else pytest.param(n, marks=pytest.mark.slow) for n in killed.NAMES]
)
def test_a_killed_solve_is_taken_up_by_another_process(name, tmp_path):
    found = killed.survived(name, tmp_path, kills=1)
    assert found.kills == 1
    assert (found.wrong, found.refused) == (0, 0)
    assert found.lost <= 1
