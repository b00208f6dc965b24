"""Refuse an array that cannot fit, with numbers, before memory runs out."""

import math
import os

from esijax._types import InputError


def limit_bytes() -> int:
    """Bytes that one result may take: ESIJAX_MAX_GB, or three quarters of the memory here."""
    given = os.environ.get("ESIJAX_MAX_GB")
    if given:
        try:
            return int(float(given) * 1e9)
        except (ValueError, OverflowError) as error:
            raise InputError(f"ESIJAX_MAX_GB must be a number of GB, got {given!r}.") from error
    try:
        return int(0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):  # no sysconf on this platform
        return 8 * 10**9


def refuse_if_too_large(shape: tuple[int, ...], itemsize: int, what: str, way_out: str) -> None:
    """Raise InputError where an array of `shape` would exceed `limit_bytes`."""
    need = math.prod(shape) * itemsize
    if need > limit_bytes():
        sizes = " x ".join(str(n) for n in shape)
        raise InputError(
            f"{what} needs {sizes} x {itemsize} B = {need / 1e9:.1f} GB, more than the "
            f"{limit_bytes() / 1e9:.1f} GB allowed here (ESIJAX_MAX_GB): {way_out}."
        )
