import pytest


@pytest.fixture(autouse=True)
def _written_out(no_rank_promotion):
    """No silent broadcasting between ranks in this folder."""
