"""Values whose derivative can be pushed forward but not pulled back: loops of unknown length."""

import functools
from typing import Any, NoReturn

import equinox as eqx
import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from esijax._types import InputError

_forward_only = Primitive("forward_only")


def forward_only(tree: Any, message: str) -> Any:
    """Give the tree; where a gradient comes back to it, raise InputError with the message.

    Parameters
    ----------
    tree : pytree
    message : str
        What has no gradient, and what to do instead.
    """
    floats, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(functools.partial(_bound, message), floats), rest)


def _bound(message: str, x: Any) -> Any:
    return _forward_only.bind(x, message=message)


def _identity(x: Any, *, message: str) -> Any:  # noqa: ARG001
    return x


def _refuse_gradient(cotangent: Any, _: Any, *, message: str) -> NoReturn:  # noqa: ARG001
    raise InputError(message)


_forward_only.def_impl(_identity)
_forward_only.def_abstract_eval(_identity)
ad.deflinear2(_forward_only, _refuse_gradient)
batching.defvectorized(_forward_only)
mlir.register_lowering(_forward_only, mlir.lower_fun(_identity, multiple_results=False))
