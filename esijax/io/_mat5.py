"""MATLAB's .mat files of version 5 (its -v6 and -v7), read without trust.

Every count in the file is held against the bytes that are there before memory is taken, compressed
parts are held against their checksum, and what is no array, text, cell or struct is passed over.
The format: MathWorks, MAT-File Level 5, https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import math
import zlib
from typing import Any

import numpy as np

from esijax._types import InputError

Bytes = bytes | memoryview

_COMPRESSED, _MATRIX = 15, 14
_NUMBERS = dict(zip((1, 2, 3, 4, 5, 6, 7, 9, 12, 13), "b B h H i I f d q Q".split(), strict=True))
_TEXTS = {2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _CHAR, _NUMERIC = 1, 2, 4, range(6, 16)
_COMPLEX = 0x800
_DEPTH = 50  # cells within cells; FieldTrip's configurations nest a dozen


def read_mat5(content: bytes, limit: int) -> dict[str, Any]:
    """Give the variables of a file.

    Parameters
    ----------
    content : bytes
    limit : int
        Bytes that the decompressed file may take.

    Returns
    -------
    variables : dict
        Numbers as arrays, texts as str (several rows: a list of them), cells as lists in the order
        of the file, structs of one element as dicts; None for anything else.

    Raises
    ------
    InputError
        If it is no such file, truncated, altered where that can be seen, or too large.
    """
    mark = content[126:128]
    order = {b"IM": "<", b"MI": ">"}.get(mark)
    if order is None or int.from_bytes(content[124:126], _endian(order)) != 0x0100:
        raise InputError("not a MATLAB file of version 5 or 7.3 (save it with -v7).")
    variables = {}
    for kind, body in _elements(content[128:], order, padded=False):
        if kind == _COMPRESSED:
            body, limit = _inflated(body, order, limit)
            inner = _elements(body, order)
        else:
            inner = [(kind, body)]
        for kind_, body_ in inner:
            if kind_ != _MATRIX:
                raise InputError(f"holds an element of the unknown kind {kind_}: damaged.")
            name, value = _matrix(body_, order, 0)
            variables[name] = value
    return variables


def _endian(order: str) -> Any:
    return "little" if order == "<" else "big"


def _inflated(body: Bytes, order: str, limit: int) -> tuple[bytes, int]:
    """Decompressed bytes, checksum seen, and what is left of the limit.

    The array's own head says how many bytes there will be: no more are made.
    """
    engine = zlib.decompressobj()
    try:
        head = engine.decompress(body, 8)
        size = 8 + int(np.frombuffer(head, order + "u4", 1, 4)[0]) if len(head) == 8 else 0
        if size > limit:
            raise InputError(
                f"{len(body)} compressed bytes claim {size / 1e9:.3g} GB, more than the "
                f"{limit / 1e9:.3g} GB allowed here (ESIJAX_MAX_GB)."
            )
        found = head + engine.decompress(engine.unconsumed_tail, size)
    except zlib.error as error:
        raise InputError(f"the compressed data are damaged ({error}).") from error
    if not engine.eof or engine.unused_data or len(found) != size:
        raise InputError("the compressed data end too early or too late: damaged.")
    return found, limit - size


def _elements(content: Bytes, order: str, padded: bool = True) -> list[tuple[int, Bytes]]:
    """Kind and bytes of each element; together they must fill the content."""
    content = memoryview(content)
    found, at = [], 0
    while at < len(content):
        if at + 8 > len(content):
            raise InputError("truncated within the head of an element")
        kind, size = np.frombuffer(content, order + "u4", 2, at).tolist()
        if kind >> 16:  # four bytes or less stand in the head itself
            kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, 8
            if size > 4:
                raise InputError(f"a small element of {size} bytes: damaged.")
        else:
            start, step = at + 8, 8 + size + (-size % 8 if padded else 0)
        if start + size > len(content):
            raise InputError(
                f"claims {size / 1e9:.3g} GB where {(len(content) - start) / 1e9:.3g} GB are left."
            )
        found.append((kind, content[start : start + size]))
        at += step
    return found


def _matrix(content: Bytes, order: str, depth: int) -> tuple[str, Any]:
    """Name and value of one array."""
    if depth > _DEPTH:
        raise InputError(f"cells are nested more than {_DEPTH} deep.")
    if not len(content):
        return "", np.zeros((0, 0))  # an empty cell
    parts = _elements(content, order)
    (flag_kind, flags), (dims_kind, dims), (_, name), *rest = parts if len(parts) > 2 else _short()
    if (flag_kind, len(flags), dims_kind) != (6, 8, 5):
        return _text(name), None  # objects have another layout
    flag = int(np.frombuffer(flags, order + "u4", 1)[0])
    shape = tuple(np.frombuffer(dims, order + "i4").tolist())
    if len(shape) < 2 or min(shape) < 0:
        raise InputError(f"claims an array of the shape {shape}: damaged.")
    kind, n = flag & 0xFF, math.prod(shape)
    value = None
    if kind in _NUMERIC:
        value = _numeric_matrix(rest, order, shape, bool(flag & _COMPLEX))
    elif kind == _CHAR:
        value = _chars(rest, order, shape)
    elif kind == _CELL:
        value = _cells(rest, order, n, depth)
    elif kind == _STRUCT and n == 1:
        value = _struct(rest, order, depth)
    return _text(name), value


def _short() -> Any:
    raise InputError("an array without its head: damaged.")


def _numeric_matrix(
    parts: list, order: str, shape: tuple[int, ...], is_complex: bool
) -> np.ndarray:
    if len(parts) != 1 + is_complex or any(kind not in _NUMBERS for kind, _ in parts):
        raise InputError("an array of numbers without its numbers: damaged.")
    each = []
    for kind, body in parts:
        dtype = np.dtype(order + _NUMBERS[kind])
        if len(body) != math.prod(shape) * dtype.itemsize:
            raise InputError(
                f"claims {' x '.join(map(str, shape))} numbers = "
                f"{math.prod(shape) * dtype.itemsize / 1e9:.3g} GB and holds {len(body)} bytes."
            )
        each.append(np.frombuffer(body, dtype).reshape(shape, order="F"))
    return each[0] + 1j * each[1] if is_complex else each[0]


def _chars(parts: list, order: str, shape: tuple[int, ...]) -> str | list[str]:
    """One row, or several rows of equal length without the blanks that fill them."""
    if math.prod(shape) == 0:
        return ""
    if len(parts) != 1 or parts[0][0] not in _TEXTS or len(shape) != 2:
        raise InputError("a text without its letters: damaged.")
    kind, body = parts[0]
    text = _text(body, _TEXTS[kind] + _WIDE.get((kind, order), ""))
    if len(text) != math.prod(shape):
        raise InputError(f"claims {math.prod(shape)} letters and holds {len(text)}.")
    if shape[0] == 1:
        return text
    return [text[i :: shape[0]].rstrip() for i in range(shape[0])]


_WIDE = {(k, o): e for k in (4, 17, 18) for o, e in (("<", "-le"), (">", "-be"))}


def _text(content: Bytes, encoding: str = "latin-1") -> str:
    try:
        return bytes(content).decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"an invalid text ({error.reason}): damaged.") from error


def _cells(parts: list, order: str, n: int, depth: int) -> list:
    if len(parts) != n or any(kind != _MATRIX for kind, _ in parts):
        raise InputError(f"claims {n} cells and holds {len(parts)}.")
    return [_matrix(body, order, depth + 1)[1] for _, body in parts]


def _struct(parts: list, order: str, depth: int) -> dict[str, Any]:
    """Field names of equal length, filled with zeros, then the fields."""
    if len(parts) < 2 or len(parts[0][1]) != 4:
        raise InputError("a struct without the names of its fields: damaged.")
    width = int(np.frombuffer(parts[0][1], order + "i4")[0])
    table, fields = bytes(parts[1][1]), parts[2:]
    if width <= 0 or len(table) != width * len(fields):
        raise InputError(f"claims fields of {width} letters for {len(fields)} values: damaged.")
    names = [_text(table[i : i + width]).split("\0")[0] for i in range(0, len(table), width)]
    if any(kind != _MATRIX for kind, _ in fields):
        raise InputError("a struct whose fields are no arrays: damaged.")
    values = [_matrix(body, order, depth + 1)[1] for _, body in fields]
    return dict(zip(names, values, strict=True))
