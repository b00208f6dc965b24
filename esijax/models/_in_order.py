"""NumPyro distributions as pytrees whose leaves come in the same order in every process."""

from typing import Any

import jax
import numpyro.distributions as dist


@jax.tree_util.register_pytree_node_class
class InOrder:
    """A distribution whose parameters are leaves in the order of their names.

    NumPyro gathers those names in a set, and the order of a set of texts follows the hash seed of
    the process: the next one would not know its own compiled programs again.

    Parameters
    ----------
    law : numpyro.distributions.Distribution
    """

    def __init__(self, law: dist.Distribution):
        self.law = law

    def __repr__(self) -> str:
        return repr(self.law)

    def tree_flatten(self) -> tuple[tuple, tuple]:
        """Leaves by name; a distribution within is in order too."""
        leaves, rest = self.law.tree_flatten()
        cls = type(self.law)
        leaves = [InOrder(x) if isinstance(x, dist.Distribution) else x for x in leaves]
        return tuple(leaves[i] for i in _order_of_names(cls)), (cls, rest)

    @classmethod
    def tree_unflatten(cls, static: tuple, leaves: tuple) -> "InOrder":
        """Put the leaves back where NumPyro expects them."""
        law, rest = static
        places: list[Any] = [None] * len(leaves)
        for i, leaf in zip(_order_of_names(law), leaves, strict=True):
            places[i] = leaf.law if isinstance(leaf, InOrder) else leaf
        return cls(law.tree_unflatten(rest, tuple(places)))


def _order_of_names(cls: type[dist.Distribution]) -> list[int]:
    names = cls.gather_pytree_data_fields()
    return sorted(range(len(names)), key=names.__getitem__)
