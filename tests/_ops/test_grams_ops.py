"""Products by group against one product for each."""

import jax.numpy as jnp
import numpy as np
import pytest

from esijax._ops.grams import grams


@pytest.mark.parametrize(("rank", "columns", "n"), [(5, 7, 3), (6, 400, 4), (4, 150, 150)])
def test_grams_are_one_product_for_each_group(rank, columns, n):
    rng = np.random.default_rng(0)
    factor, group = rng.standard_normal((rank, columns)), rng.integers(0, n + 1, columns)
    naive = [factor[:, group == k] @ factor[:, group == k].T for k in range(n)]
    found = grams(jnp.asarray(factor), jnp.asarray(group), n)  # group n: padding
    np.testing.assert_allclose(found, naive, atol=1e-12)
