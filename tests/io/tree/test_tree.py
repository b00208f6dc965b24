"""Groups of the tree, and what ArviZ makes of them."""

import dataclasses

import arviz as az
import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

import esijax as ej
from esijax.models.posteriors.point import PointPosterior

ALL = {"posterior", "sample_stats", "log_likelihood", "posterior_predictive", "prior",
       "prior_predictive", "observed_data", "moments", "constant_data"}  # fmt: skip

GROUPS_OF_LOO = ("posterior", "log_likelihood")


def test_groups_and_names(tree, sampled):
    assert set(tree.children) == ALL
    gamma = tree["posterior"]["gamma"]
    assert gamma.dims == ("chain", "draw", "location")
    np.testing.assert_array_equal(gamma, sampled.diagnostics.draws["gamma"])
    observed, again = tree["observed_data"], tree["posterior_predictive"]
    for kind in ("eeg", "mag"):
        assert observed[kind].dims == (f"{kind}_channel", "time")
        assert again[kind].dims == ("chain", "draw", f"{kind}_channel", "time")
    recording = np.asarray(sampled.problem.recording)
    np.testing.assert_array_equal(observed["mag"], recording[3:])
    np.testing.assert_allclose(observed["time"], sampled.problem.times)
    assert list(observed["mag_channel"].values) == list(sampled.problem.labels.ch_names[3:])
    assert again.sizes["draw"] * again.sizes["chain"] == 100


def test_statistics_of_the_sampler(tree, sampled):
    stats, known = tree["sample_stats"], sampled.diagnostics
    np.testing.assert_array_equal(stats["diverging"], known.diverging)
    np.testing.assert_array_equal(stats["energy"], known.energy)
    np.testing.assert_array_equal(stats["acceptance_rate"], known.accept)
    np.testing.assert_array_equal(stats["lp"], -np.asarray(known.potential))
    steps, depth = stats["n_steps"].values, stats["tree_depth"].values
    assert ((2 ** (depth - 1) <= steps) & (steps < 2**depth)).all()
    assert depth.max() <= 10
    found = az.bfmi(tree)["energy"].values
    assert found.min() == pytest.approx(sampled.verdict()["bfmi"])


def test_joint_draws(sampled):
    """Sources of each draw of the hyper-parameters: moments of the mixture, at some places."""
    at = ([1, 6], [3, 10])
    tree = ej.to_arviz(sampled, n=300, at=at, groups=("posterior", "moments"))
    posterior, moments = tree["posterior"], tree["moments"]
    assert posterior["gamma"].shape == (2, 150, 2)
    np.testing.assert_array_equal(
        posterior["gamma"], sampled.diagnostics.draws["gamma"][..., at[0]]
    )
    source = posterior["source"]
    assert source.dims == ("chain", "draw", "location", "orient", "time")
    np.testing.assert_allclose(moments["mean"], np.asarray(sampled.mean)[at[0]][..., at[1]])
    mean, std = (moments[name].values for name in ("mean", "std"))
    left = (source.values.reshape(300, 2, 1, 2) - mean) / std
    assert np.abs(left.mean(axis=0)).max() < 4.5 / np.sqrt(300)
    assert np.abs(left.std(axis=0) - 1).max() < 4.5 / np.sqrt(2 * 300)
    few = ej.to_arviz(sampled, n=10, at=at)
    assert {group.sizes["draw"] for group in few.children.values() if "draw" in group.sizes} <= {
        5,
        10,
    }
    np.testing.assert_array_equal(
        few["log_likelihood"]["draw"], np.linspace(0, 149, 5).round().astype(int)
    )


def test_predictions_are_those_of_the_model(tree, sampled):
    """Of the same sources: around the fit. Of the prior: as wide as it is at its median."""
    again = tree["posterior_predictive"]["eeg"].values.reshape(100, 3, 30)
    spread = again.std(axis=0)
    left = (again.mean(axis=0) - np.asarray(sampled.predicted)[:3]) / spread
    assert np.abs(left).max() < 5 / np.sqrt(100)
    noise = np.sqrt(np.diag(np.asarray(sampled.problem.whitener.colorer)[:3] @
                            np.asarray(sampled.problem.whitener.colorer)[:3].T))  # fmt: skip
    level = np.median(sampled.hyper["noise_scale"])
    assert (spread.mean(axis=1) > 0.9 * level * noise).all()
    prior = tree["prior"]
    assert np.abs(np.log(prior["gamma"].values).mean()) < 4.5 / np.sqrt(prior["gamma"].size)
    assert tree["prior_predictive"]["mag"].shape == (1, 100, 3, 30)


@pytest.mark.parametrize("which", ["fixed", "free", "trials"])
def test_sources_where_hyper_parameters_are_known(request, which):
    problem = request.getfixturevalue(which)
    estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    tree = ej.to_arviz(estimate, n=40, at=([3, 8], slice(1, 4)))
    source = tree["posterior"]["source"]
    lead = ("trial",) if which == "trials" else ()
    assert source.dims == ("chain", "draw", *lead, "location", "orient", "time")
    assert list(source.location.values) == [3, 8]
    np.testing.assert_allclose(source.time, problem.times[1:4])
    assert source.orient.values[-1] == "normal"
    want = np.asarray(estimate.mean)[..., [3, 8], :, 1:4]
    np.testing.assert_allclose(tree["moments"]["mean"], want)
    np.testing.assert_allclose(tree["moments"]["std"], np.asarray(estimate.std)[[3, 8], :, 0])
    types = np.array(problem.labels.ch_types)
    assert set(tree["observed_data"].data_vars) == set(types)
    for kind, found in tree["observed_data"].data_vars.items():
        of_kind = np.flatnonzero(types == kind)
        np.testing.assert_array_equal(found, np.asarray(problem.recording)[..., of_kind, :])
        assert list(found[f"{kind}_channel"]) == [problem.labels.ch_names[i] for i in of_kind]
        assert tree["posterior_predictive"][kind].shape == (1, 40, *found.shape)
    assert "sample_stats" not in tree.children
    assert len(az.summary(tree, kind="stats")) == source[0, 0].size


# ------------------------------------------------------------------ ArviZ reads it
@pytest.fixture(scope="module")
def figures():
    yield
    plt.close("all")


@pytest.mark.usefixtures("figures")
class TestArviZ:
    def test_summary(self, tree):
        table = az.summary(tree)
        assert [f"gamma[{i}]" for i in range(8)] == [r for r in table.index if "gamma" in r]
        assert {"ess_bulk", "r_hat"} <= set(table.columns)

    def test_trace(self, tree):
        drawn = az.plot_trace(tree, var_names=["noise_var"])
        (line, *_) = drawn.get_target("noise_var", {"noise_var_dim_0": 0}).get_lines()
        np.testing.assert_array_equal(line.get_ydata(), tree["posterior"]["noise_var"][0, :, 0])

    def test_energy(self, tree):
        drawn = az.plot_energy(tree)
        assert drawn.viz.children

    def test_predictive_check(self, tree):
        drawn = az.plot_ppc_dist(tree, num_samples=20)
        assert set(drawn.viz["plot"].data_vars) == {"eeg", "mag"}

    def test_prior_and_posterior(self, tree):
        drawn = az.plot_prior_posterior(tree, var_names=["noise_var"])
        assert drawn.viz.children

    @pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
    def test_loo_and_compare(self, tree, sampled):
        elpd = az.loo(tree, pointwise=True)
        assert elpd.elpd_i.dims == ("time",)
        assert 0 < elpd.p < 9 * 2
        log_lik = tree["log_likelihood"]["data"]
        mean = np.log(np.exp(log_lik.values).mean(axis=(0, 1))).sum()  # of the data that were seen
        assert elpd.elpd < mean < elpd.elpd + 9 * 2
        small = {**sampled.hyper, "gamma": sampled.hyper["gamma"] / 100}
        wrong = ej.to_arviz(dataclasses.replace(sampled, hyper=small), groups=GROUPS_OF_LOO)
        table = az.compare({"wrong": wrong, "right": tree}, round_to="none")
        assert list(table.index) == ["right", "wrong"]
        assert table.loc["right", "elpd"] == pytest.approx(elpd.elpd, abs=0.1)

    def test_calibration(self):
        rng = np.random.default_rng(0)
        gain = rng.standard_normal((5, 7))
        problem = ej.from_arrays(gain, gain[:, :2], noise_cov=0.5)
        model, method = ej.models.MinimumNorm(), ej.inference.Linear()
        found = ej.metrics.sbc(model, None, method, problem, 100, key=jax.random.key(0))
        tree = ej.to_arviz(found)
        assert list(tree["prior_sbc"].data_vars) == list(found.names)
        np.testing.assert_array_equal(tree["prior_sbc"][found.names[0]][0], found.pit[:, 0])
        drawn = az.plot_ecdf_pit(tree, var_names=[found.names[0]])
        assert set(drawn.viz["plot"].data_vars) == {found.names[0]}

    def test_files(self, tree, tmp_path):
        import xarray as xr

        tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
        with xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf") as back:
            for name in ALL:
                xr.testing.assert_equal(back[name].to_dataset(), tree[name].to_dataset())


# ------------------------------------------------------------------ what is refused
def test_wrong_questions(sampled, mixed_sensors, monkeypatch):
    with pytest.raises(ej.InputError, match=r"groups must be among .*\['postirior'\]"):
        ej.to_arviz(sampled, groups=["posterior", "postirior"])
    with pytest.raises(ej.InputError, match="by must be one of"):
        ej.to_arviz(sampled, by="channel")
    for n in (0, 2.5, True):
        with pytest.raises(ej.InputError, match="n must be a whole number"):
            ej.to_arviz(sampled, n=n)
    with pytest.raises(TypeError, match="Estimate"):
        ej.to_arviz(mixed_sensors)
    filters = ej.solve(mixed_sensors, None, ej.inference.LCMV())
    with pytest.raises(ej.InputError, match=r"LCMV .* has no log_likelihood: leave it out"):
        ej.to_arviz(filters, groups="log_likelihood")
    point = dataclasses.replace(
        sampled, posterior=PointPosterior(sampled.posterior.first, mixed_sensors.data), hyper={}
    )
    with pytest.raises(ej.InputError, match="a point estimate has no draws"):
        ej.to_arviz(point)
    with pytest.raises(ej.InputError, match=r"must be \(locations, times\)"):
        ej.to_arviz(sampled, at=3)
    monkeypatch.setenv("ESIJAX_MAX_GB", "1e-6")
    for name, n in (("posterior_predictive", 50), ("log_likelihood", 300)):
        with pytest.raises(ej.InputError, match="fewer draws"):
            ej.to_arviz(sampled, groups=name, n=n)
