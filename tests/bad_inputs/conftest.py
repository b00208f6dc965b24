"""The real subject's inputs, which each row spoils a copy of."""

import warnings

import numpy as np
import pytest

pytest.register_assert_rewrite("bad_rows")


@pytest.fixture(scope="session")
def good_inputs():
    """The inputs as they are, and minimum norm's answer to them."""
    import bad_rows

    if not bad_rows.FWD.is_file():
        pytest.skip("needs ../shared/data/sample")
    x = bad_rows.read_inputs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return x, np.asarray(x.run()[0].mean)
