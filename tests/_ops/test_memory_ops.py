import pytest

from esijax._ops.memory import limit_bytes, refuse_if_too_large
from esijax._types import InputError


def test_limit_from_the_environment(monkeypatch):
    monkeypatch.setenv("ESIJAX_MAX_GB", "0.5")
    assert limit_bytes() == 500_000_000
    refuse_if_too_large((1000, 1000), 8, "this", "less")
    with pytest.raises(InputError, match=r"draws needs 20484 x 200 x 4000 x 8 B = 131\.1 GB"):
        refuse_if_too_large((20484, 200, 4000), 8, "draws", "ask for fewer")


def test_limit_from_the_machine(monkeypatch):
    monkeypatch.delenv("ESIJAX_MAX_GB", raising=False)
    assert limit_bytes() > 10**8
