"""Another process, another hash seed, the same bits; also after kill -9."""

import killed
import pytest


@pytest.mark.parametrize(
    "name", [n if n == "Gibbs" else pytest.param(n, marks=pytest.mark.slow) for n in killed.NAMES]
)
def test_a_killed_solve_is_taken_up_by_another_process(name, tmp_path):
    found = killed.survived(name, tmp_path, kills=1)
    assert found.kills == 1
    assert (found.wrong, found.refused) == (0, 0)
    assert found.lost <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", killed.DIRECT)
def test_two_processes_give_the_same_bits(name, tmp_path):
    """Of the iterative methods the test above says it."""
    assert killed.whole(name, tmp_path, seed=1)[0] == killed.whole(name, tmp_path, seed=3)[0]
