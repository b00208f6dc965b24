"""`localize --noise-time auto`: what is solved, and what the notes say with and without."""

import json

import numpy as np
import pytest
from test_cli import esijax as in_this_process

import esijax as ej

esijax = in_this_process


@pytest.mark.slow
def test_localize_states_the_noise_in_time(esijax, data_dir, tmp_path):
    told = {}
    for how in ("none", "auto"):
        out = tmp_path / how
        code, said, err = esijax(
            "localize", data_dir / "audvis-ave.fif.gz", "--condition", "Right visual",
            "--forward", data_dir / "audvis-oct5-fwd.fif",
            "--noise-cov", data_dir / "audvis-cov.fif",
            "--picks", "meg", "--loose", "0", "--tmin", "0.08", "--tmax", "0.12", "--method", "MNE",
            "--noise-time", how, "--out", out,
        )  # fmt: skip
        assert (code, err) == (0, ""), err
        told[how] = said.replace("\n", " ")
    plain, stated = (ej.load(tmp_path / how / "estimate.npz") for how in ("none", "auto"))
    assert plain.problem.noise_time is None
    assert stated.problem.noise_time.cov.shape == (24, 24)
    assert stated.std.shape[-1] == 24
    assert "--noise-time auto states it from the baseline" in told["none"]
    assert "from 121 samples of the baseline" in told["auto"]
    # lambda2 is that of the noise at hand: the map is the same, the band is not
    np.testing.assert_allclose(
        stated.mean, plain.mean, rtol=1e-6, atol=1e-6 * abs(plain.mean).max()
    )
    assert float(np.mean(stated.std)) > 1.5 * float(np.mean(plain.std))
    assert "noise_time" in json.dumps((tmp_path / "auto" / "localize.log").read_text())
