"""Files as accidents leave them: one bit turned, or the end lost."""


def flipped(content: bytes, rng) -> bytes:
    """One bit turned."""
    bit = int(rng.integers(8 * len(content)))
    out = bytearray(content)
    out[bit // 8] ^= 1 << (bit % 8)
    return bytes(out)


def truncated(content: bytes, rng) -> bytes:
    """Some of the end lost, all of it at worst."""
    return content[: int(rng.integers(len(content)))]


def damaged(content: bytes, rng, n_flips: int = 300, n_truncations: int = 100):
    """Give the kind of damage and the damaged content, flips first."""
    for _ in range(n_flips):
        yield "flip", flipped(content, rng)
    for _ in range(n_truncations):
        yield "truncation", truncated(content, rng)
