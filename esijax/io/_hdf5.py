"""HDF5 files of MATLAB (its -v7.3), read without trust.

Links and data that lie elsewhere are refused, and each size is held against the bytes of the file
before memory is taken.
"""

import contextlib
import math
from collections.abc import Generator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from esijax._ops.memory import refuse_if_too_large
from esijax._types import InputError

_INFLATION = 1100  # deflate makes at most 1,032 bytes of one
_LETTERS, _TEXTS = 1000, 100_000  # more than a channel's name has, more than a head has channels
is_hdf5 = h5py.is_hdf5


@contextlib.contextmanager
def opened(path: Path) -> Generator["Inside"]:
    """Open for reading."""
    with h5py.File(path, "r") as file:
        yield Inside(file, path.stat().st_size)


class Inside:
    """What a file holds itself, by the path inside it; KeyError for what it does not hold."""

    def __init__(self, file: h5py.File, size: int):
        self._file, self._size = file, size

    def numbers(self, name: str) -> np.ndarray:
        """Real numbers as float64, axes as the file has them."""
        data = self._own(name)
        if data.dtype.kind not in "fiu" or data.attrs.get("MATLAB_class") == b"char":
            raise InputError(f"{name} holds {data.dtype} where real numbers are needed.")
        self._check_size(data, name)
        return np.asarray(data, dtype=float)

    def texts(self, name: str) -> tuple[str, ...]:
        """Texts of a cell array: references to arrays of character codes."""
        refs = self._own(name)
        if h5py.check_ref_dtype(refs.dtype) is not h5py.Reference or refs.size > _TEXTS:
            raise InputError(f"{name} holds {refs.shape} {refs.dtype}, no cells of text.")
        self._check_size(refs, name)
        return tuple(self._letters(self._file[ref], name) for ref in np.ravel(refs))

    def _letters(self, data, name: str) -> str:
        self._check_plain(data, name)
        if data.dtype.kind not in "iu" or data.size > _LETTERS:
            raise InputError(f"a text of {name} holds {data.shape} {data.dtype}.")
        return "".join(chr(c) for c in np.ravel(data))

    def _own(self, name: str) -> Any:
        """The data set of that name; links to other places are not followed."""
        node: Any = self._file
        for step in name.split("/"):
            if not isinstance(node, h5py.Group) or step not in node.keys():
                raise KeyError(name)
            link = node.get(step, getlink=True)
            if not isinstance(link, h5py.HardLink):
                where = getattr(link, "path", "another place")
                raise InputError(f"{name} is a link to {where}: refused.")
            node = node[step]
        self._check_plain(node, name)
        return node

    def _check_plain(self, data, name: str) -> None:
        if not isinstance(data, h5py.Dataset) or data.shape is None:
            raise InputError(f"{name} is no array.")
        if data.external or data.is_virtual:
            raise InputError(f"the numbers of {name} lie in other files: refused.")

    def _check_size(self, data: h5py.Dataset, name: str) -> None:
        refuse_if_too_large(data.shape, 8, name, "it is no lead field of a head, or damaged")
        need = math.prod(data.shape) * data.dtype.itemsize
        if need > _INFLATION * self._size:
            raise InputError(
                f"{name} claims {need / 1e9:.3g} GB, which {self._size} bytes cannot hold."
            )
