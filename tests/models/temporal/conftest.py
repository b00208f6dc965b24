import pytest


@pytest.fixture(autouse=True)
def _written_out():
    """Noise in time broadcasts over ranks: here it may, unlike in the rest."""
