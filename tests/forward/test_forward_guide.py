"""The code of docs/forward.md that can stand alone runs, and its derivatives are right."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "forward.md"


@pytest.mark.slow
def test_a_problem_that_knows_its_head(data_dir):
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (code,) = (b for b in blocks if "jax.grad" in b)
    assert code.count('"../shared/data/sample/"') == 1
    code = code.replace('"../shared/data/sample/"', repr(f"{data_dir}/"))
    names = {}
    exec(compile(code, GUIDE.name, "exec"), names)
    evidence, still = names["evidence"], jnp.zeros(6)
    ends = [evidence(sign * 1e-3, still) for sign in (1, -1)]
    np.testing.assert_allclose((ends[0] - ends[1]) / 2e-3, names["by_skull"], rtol=1e-5)
    ends = [evidence(0.0, still.at[2].set(sign * 1e-5)) for sign in (1, -1)]
    np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, names["by_pose"][2], rtol=1e-4)
