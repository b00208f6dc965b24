"""The same numbers as MNE-Python, on one real subject and on sphere models."""

import warnings
from functools import cache

import mne
import numpy as np
import pytest
from mne.beamformer import apply_lcmv, make_lcmv
from mne.minimum_norm import (
    apply_inverse,
    apply_inverse_epochs,
    apply_inverse_raw,
    make_inverse_operator,
    prepare_inverse_operator,
)

import esijax as ej

LAMBDA2 = 1 / 9
TOLERANCE = 1e-8
METHODS = {
    "MNE": (ej.models.MinimumNorm(LAMBDA2), ej.inference.Linear()),
    "dSPM": (ej.models.MinimumNorm(LAMBDA2), ej.inference.Linear("dSPM")),
    "sLORETA": (ej.models.MinimumNorm(LAMBDA2), ej.inference.Linear("sLORETA")),
    "eLORETA": (ej.models.ELORETA(LAMBDA2), ej.inference.Linear()),
}
# MNE's pick_ori for three orients, and ours
PICK_ORI = {None: "magnitude", "normal": "normal", "vector": None}


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    before = mne.set_log_level("ERROR", return_old_level=True)
    yield
    mne.set_log_level(before)


def difference(got, want):
    """Largest difference, as a share of the largest value."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    return np.abs(got - want).max() / np.abs(want).max()


def picked(evoked, types):
    return evoked if types == "both" else evoked.copy().pick(types, exclude=())


def inverse(evoked, forward, cov, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return make_inverse_operator(evoked.info, forward, cov, **kwargs)


def has_normals(problem):
    """Tell whether MNE's "normal" is one: volumes have none, free discrete sources give z."""
    kinds = set(problem.labels.kinds)
    free = bool((problem.orient_scale == 1).all())
    return kinds == {"surface"} or (kinds == {"discrete"} and not free)


def compare(evoked, forward, cov, operator=None, methods=METHODS, tolerance=TOLERANCE, **kwargs):
    """Maps, residual and explained variance of each method, in each orientation."""
    problem = ej.from_mne(evoked, forward, cov, **kwargs)
    operator = operator or inverse(evoked, forward, cov, **kwargs)
    index = [evoked.ch_names.index(name) for name in problem.labels.ch_names]
    for name in methods:
        estimate = ej.solve(problem, *METHODS[name])
        picks = dict(PICK_ORI) if problem.n_orients == 3 else {None: "normal"}
        if "normal" in picks and not has_normals(problem):
            del picks["normal"]
        prepared = prepare_inverse_operator(operator, evoked.nave, LAMBDA2, name)
        for theirs, ours in picks.items():
            with mne.utils.catch_logging() as log:
                stc, left = apply_inverse(
                    evoked,
                    prepared,
                    LAMBDA2,
                    name,
                    pick_ori=theirs,
                    return_residual=True,
                    prepared=True,
                    verbose="INFO",
                )
            mine = ej.to_mne(estimate, "mean", ours)
            assert type(mine) is type(stc)
            for a, b in zip(mine.vertices, stc.vertices, strict=True):
                np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(mine.times, stc.times, atol=1e-12)
            assert mine.subject == stc.subject
            assert difference(mine.data, stc.data) < tolerance, (name, theirs)
        assert difference(estimate.residual, left.data[index]) < tolerance, name
        said = float(log.getvalue().split("Explained")[1].split("%")[0])
        assert abs(100 * float(estimate.explained_variance) - said) < 0.051, name


# ------------------------------------------------------------------ the minimum norm family
DAILY = {
    "meg": [],
    "eeg": [(0.0, None), (0.2, 0.8), (1.0, None)],
    "both": [(0.0, 0.8)],
}
GRID = [
    pytest.param(
        types,
        loose,
        depth,
        marks=() if (loose, depth) in DAILY[types] else pytest.mark.slow,
    )
    for types in ("meg", "eeg", "both")
    for loose in (0.0, 0.2, 1.0)
    for depth in (None, 0.8)
]


@pytest.mark.parametrize(("types", "loose", "depth"), GRID)
def test_family(evoked, forward, noise_cov, types, loose, depth):
    compare(picked(evoked, types), forward, noise_cov, loose=loose, depth=depth)


@pytest.mark.slow
@pytest.mark.parametrize("types", ["meg", "eeg", "both"])
@pytest.mark.parametrize(("loose", "depth"), [(0.0, 0.8), (0.2, 0.8), (1.0, None)])
def test_family_oct6(evoked, forward_oct6, noise_cov, types, loose, depth):
    compare(picked(evoked, types), forward_oct6, noise_cov, loose=loose, depth=depth)


def test_defaults_are_mne_s(evoked, forward, noise_cov):
    """No argument given on either side."""
    operator = inverse(evoked, forward, noise_cov)
    compare(evoked, forward, noise_cov, operator, methods=["dSPM"])


def test_forward_as_read(evoked, forward_as_read, noise_cov):
    """Float32 as the file has it: MNE rounds on its way, we do not."""
    eeg = picked(evoked, "eeg")
    for loose in (0.0, 0.2):
        compare(eeg, forward_as_read, noise_cov, tolerance=1e-6, loose=loose, depth=0.8)


@pytest.mark.parametrize("kind", ["surf_ori", "fixed"])
def test_forward_converted_before(evoked, forward, noise_cov, kind):
    """A forward in surface orientation, or fixed by the user."""
    converted = mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=kind == "fixed", use_cps=True
    )
    options = {"loose": 0.0, "depth": None} if kind == "fixed" else {"loose": 0.2, "depth": 0.8}
    compare(evoked, converted, noise_cov, methods=["dSPM"], **options)


ELORETA = [
    ({"max_iter": 3}, 0.2),
    ({"max_iter": 60, "eps": 1e-9}, 1.0),
    ({"eps": 1e-1}, 0.0),
    ({"force_equal": True}, 0.2),
    ({"force_equal": True}, 1.0),
    ({"force_equal": False}, 0.2),
]


@pytest.mark.parametrize(("params", "loose"), ELORETA, ids=str)
def test_eloreta_params(evoked, forward, noise_cov, params, loose):
    meg = picked(evoked, "eeg")  # the smallest: the iteration is the same
    problem = ej.from_mne(meg, forward, noise_cov, loose=loose, depth=None)
    estimate = ej.solve(problem, ej.models.ELORETA(LAMBDA2, **params), ej.inference.Linear())
    operator = inverse(meg, forward, noise_cov, loose=loose, depth=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # not converged, on purpose
        stc = apply_inverse(meg, operator, LAMBDA2, "eLORETA", method_params=params)
    mine = ej.to_mne(estimate, "mean", "magnitude" if loose else "normal")
    assert difference(mine.data, stc.data) < 1e-8


DEPTHS = [
    {"exp": 0.5},
    {"exp": 2.0, "limit": 3.0},
    {"limit": None},
    {"limit_depth_chs": False},
    {"limit_depth_chs": "whiten"},
    {"combine_xyz": "fro"},
    {"exp": 1.2, "limit": 5.0, "limit_depth_chs": "whiten", "combine_xyz": "fro"},
    {"combine_xyz": "fro", "limit_depth_chs": False, "limit": None},
    0.0,
]


@pytest.mark.parametrize("depth", DEPTHS, ids=str)
@pytest.mark.parametrize("loose", [0.2, pytest.param(0.0, marks=pytest.mark.slow)])
def test_depth_options(evoked, forward, noise_cov, depth, loose):
    """MNE's prior, source by source (its orientation and depth parts multiplied)."""
    eeg = picked(evoked, "eeg")
    problem = ej.from_mne(eeg, forward, noise_cov, loose=loose, depth=depth)
    operator = inverse(eeg, forward, noise_cov, loose=loose, depth=depth)
    prior = np.asarray(problem.prior_scale) ** 2
    theirs = operator["source_cov"]["data"].reshape(prior.shape)
    ratio = prior / theirs
    assert difference(ratio, np.full_like(ratio, ratio.mean())) < 1e-8


# ------------------------------------------------------------------ measurements
def noisy(evoked, noise_cov, n, seed=0):
    """Single trials: the evoked response plus noise of the covariance."""
    rng = np.random.default_rng(seed)
    shared = [name for name in evoked.ch_names if name in noise_cov.ch_names]
    rows = [noise_cov.ch_names.index(name) for name in shared]
    values, vectors = np.linalg.eigh(noise_cov.data[np.ix_(rows, rows)])
    root = vectors * np.sqrt(np.maximum(values, 0))
    index = [evoked.ch_names.index(name) for name in shared]
    data = np.repeat(evoked.data[None], n, axis=0)
    data[:, index] += root @ rng.standard_normal((n, len(index), evoked.data.shape[1]))
    return data


@pytest.fixture(scope="module")
def eeg(evoked):
    return evoked.copy().pick("eeg", exclude=())


def test_epochs(eeg, forward, noise_cov):
    epochs = mne.EpochsArray(noisy(eeg, noise_cov, 3), eeg.info, tmin=eeg.tmin)
    problem = ej.from_mne(epochs, forward, noise_cov)
    operator = inverse(eeg, forward, noise_cov)
    estimate = ej.solve(problem, *METHODS["dSPM"])
    stcs = apply_inverse_epochs(epochs, operator, LAMBDA2, "dSPM", pick_ori="normal")
    mine = ej.to_mne(estimate, "mean", "normal")
    assert len(mine) == len(stcs) == 3
    for a, b in zip(mine, stcs, strict=True):
        assert difference(a.data, b.data) < TOLERANCE
    assert problem.data.ndim == 3


def test_raw(eeg, forward, noise_cov):
    raw = mne.io.RawArray(noisy(eeg, noise_cov, 1)[0], eeg.info)
    problem = ej.from_mne(raw, forward, noise_cov)
    operator = inverse(eeg, forward, noise_cov)
    estimate = ej.solve(problem, *METHODS["sLORETA"])
    stc = apply_inverse_raw(raw, operator, LAMBDA2, "sLORETA", pick_ori="normal")
    assert difference(ej.to_mne(estimate, "mean", "normal").data, stc.data) < TOLERANCE


@pytest.mark.parametrize("nave", [1, 2.5, 40])
def test_nave(eeg, forward, noise_cov, nave):
    averaged = eeg.copy()
    averaged.nave = nave
    compare(averaged, forward, noise_cov, methods=["MNE", "dSPM"], loose=0.0, depth=0.8)


def test_picks(evoked, eeg, forward, noise_cov):
    by_type = ej.from_mne(evoked, forward, noise_cov, picks="eeg")
    before = ej.from_mne(eeg, forward, noise_cov)
    by_name = ej.from_mne(evoked, forward, noise_cov, picks=list(before.labels.ch_names))
    for problem in (by_type, by_name):
        assert problem.labels.ch_names == before.labels.ch_names
        assert difference(problem.gain, before.gain) < 1e-12
        assert difference(problem.data, before.data) < 1e-12
    magnetometers = ej.from_mne(evoked, forward, noise_cov, picks=["mag"])
    assert set(magnetometers.labels.ch_types) == {"mag"}
    operator = inverse(evoked.copy().pick("mag"), forward, noise_cov)
    stc = apply_inverse(evoked.copy().pick("mag"), operator, LAMBDA2, "dSPM")
    mine = ej.to_mne(ej.solve(magnetometers, *METHODS["dSPM"]), "mean", "magnitude")
    assert difference(mine.data, stc.data) < TOLERANCE


@pytest.mark.parametrize("rank", [None, "info", "full", {"eeg": 40}], ids=str)
def test_rank(eeg, forward, noise_cov, rank):
    if rank == "full":  # without the reference projector there would be nothing to leave out
        with pytest.raises(ej.InputError, match="rank of eeg is set to 59"):
            ej.from_mne(eeg, forward, noise_cov, rank=rank)
        return
    compare(eeg, forward, noise_cov, methods=["dSPM"], rank=rank, loose=0.0, depth=None)
    want = 40 if isinstance(rank, dict) else 58
    assert ej.from_mne(eeg, forward, noise_cov, rank=rank).rank == want


# ------------------------------------------------------------------ noise covariances
def covariance(kind, evoked, noise_cov):
    if kind == "diagonal":
        return noise_cov.copy().as_diag()
    if kind == "ad hoc":
        return mne.make_ad_hoc_cov(evoked.info)
    if kind == "regularised":
        return mne.cov.regularize(noise_cov, evoked.info, rank="info")
    cov = noise_cov.copy()  # ten directions of the gradiometers without any noise
    kinds = dict(zip(evoked.ch_names, evoked.get_channel_types(), strict=True))
    rows = [i for i, name in enumerate(cov.ch_names) if kinds.get(name) == "grad"]
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((len(rows), 10)))[0]
    projector = np.eye(len(rows)) - basis @ basis.T
    data = cov.data.copy()
    data[rows] = projector @ data[rows]
    data[:, rows] = data[:, rows] @ projector
    cov["data"] = data
    return cov


@pytest.mark.parametrize("kind", ["diagonal", "ad hoc", "regularised", "singular"])
def test_covariances(evoked, forward, noise_cov, kind):
    evoked = evoked.copy().pick(["grad", "eeg"], exclude=())
    cov = covariance(kind, evoked, noise_cov)
    compare(evoked, forward, cov, methods=["MNE", "dSPM"], loose=0.0, depth=None)


def test_projectors(evoked, forward, noise_cov):
    """SSP lowers the rank; applying it to the data before changes nothing."""
    meg = picked(evoked, "meg")
    assert len(meg.info["projs"]) >= 3
    problem = ej.from_mne(meg, forward, noise_cov)
    assert problem.rank == len(problem.labels.ch_names) - 3
    applied = ej.from_mne(meg.copy().apply_proj(), forward, noise_cov)
    assert difference(applied.data, problem.data) < 1e-9
    assert difference(applied.gain, problem.gain) < 1e-9


def test_no_covariance_falls_back_and_says_so(evokeds, forward):
    whole = evokeds["Right visual"].copy().pick("eeg", exclude=())
    with pytest.warns(ej.EsijaxWarning, match="no noise_cov given") as record:
        problem = ej.from_mne(whole, forward)
    assert "Ledoit-Wolf" in str(record[0].message)
    assert any("Ledoit-Wolf" in note for note in problem.labels.notes)
    # the baseline, whitened, has the variance of noise
    baseline = np.asarray(problem.data)[:, problem.times < 0]
    baseline = baseline - baseline.mean(1, keepdims=True)
    assert 0.5 < np.mean(baseline**2) < 1.5
    with pytest.warns(ej.EsijaxWarning, match="no noise_cov given") as record:
        ej.from_mne(whole.crop(0.05, 0.1), forward)
    assert "ad hoc" in str(record[0].message)


# ------------------------------------------------------------------ other source spaces
SPHERE = (0.0, 0.0, 0.04, 0.09)


@pytest.fixture(scope="module")
def sphere_forward(evoked, forward):
    """Small forwards on a sphere model; the radial direction is silent for MEG."""
    info = mne.pick_info(evoked.info, mne.pick_types(evoked.info, meg="mag", eeg=True))
    model = mne.make_sphere_model(SPHERE[:3], SPHERE[3], info)

    def volume():
        src = mne.setup_volume_source_space(pos=25.0, sphere=(*SPHERE[:3], 0.07), mindist=5.0)
        src[0]["type"] = "vol"  # MNE calls it discrete where no MRI is at hand
        return src

    def discrete():
        rng = np.random.default_rng(0)
        nn = rng.standard_normal((40, 3))
        nn /= np.linalg.norm(nn, axis=1, keepdims=True)
        rr = SPHERE[:3] + 0.06 * nn[::-1] * rng.uniform(0.4, 1, (40, 1))
        return mne.setup_volume_source_space(pos={"rr": rr, "nn": nn})

    def surface():
        src = forward["src"].copy()
        for s in src:
            keep = s["vertno"][::12]
            keep = keep[np.linalg.norm(s["rr"][keep] - SPHERE[:3], axis=1) < 0.078]
            s["inuse"][:] = 0
            s["inuse"][keep] = 1
            s.update(vertno=keep, nuse=len(keep), coord_frame=5, nuse_tri=0, use_tris=None)
            s.update(pinfo=None, patch_inds=None, nearest=None, nearest_dist=None)
        return src

    kinds = {
        "volume": volume,
        "discrete": discrete,
        "mixed": lambda: surface() + volume(),
        "mixed discrete": lambda: surface() + discrete(),
    }

    @cache
    def make(kind):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            fwd = mne.make_forward_solution(
                info, None, kinds[kind](), model, mindist=0.0, verbose="ERROR"
            )
        fwd["sol"]["data"] = fwd["_orig_sol"] = fwd["sol"]["data"].astype(float)
        return fwd

    return make


SPACES = [
    ("volume", "auto"),
    ("discrete", "auto"),
    ("discrete", 0.2),
    ("discrete", 0.0),
    ("mixed", {"surface": 0.2, "volume": 1.0}),
    ("mixed", "auto"),
    ("mixed discrete", {"surface": 0.3, "discrete": 0.6}),
]


@pytest.mark.parametrize(("kind", "loose"), SPACES, ids=str)
def test_source_spaces(evoked, sphere_forward, noise_cov, kind, loose):
    some = evoked.copy().pick(["mag", "eeg"], exclude=())
    methods = ["dSPM", "eLORETA"]
    compare(some, sphere_forward(kind), noise_cov, methods=methods, loose=loose, depth=0.8)


def test_normal_of_free_discrete_sources(evoked, sphere_forward, noise_cov):
    """Along the normals that the user gave."""
    some = evoked.copy().pick("mag", exclude=())
    problem = ej.from_mne(some, sphere_forward("discrete"), noise_cov)
    estimate = ej.solve(problem, *METHODS["MNE"])
    vector, normal = (ej.to_mne(estimate, "mean", pick).data for pick in (None, "normal"))
    src = sphere_forward("discrete")["src"][0]
    nn = src["nn"][src["vertno"]]
    assert difference(normal, np.einsum("ldt,ld->lt", vector, nn)) < 1e-12


@pytest.mark.parametrize("types", ["mag", pytest.param("eeg", marks=pytest.mark.slow)])
def test_sphere_one_type(evoked, sphere_forward, noise_cov, types):
    """MEG alone: one direction of each location is silent."""
    some = evoked.copy().pick(types, exclude=())
    compare(some, sphere_forward("discrete"), noise_cov, loose=1.0, depth=0.8)


# ------------------------------------------------------------------ beamformer
@pytest.fixture(scope="module")
def data_cov(evokeds, noise_cov):
    """Response plus noise, projected as MNE asks."""
    evoked = evokeds["Right visual"]
    index = [evoked.ch_names.index(name) for name in noise_cov.ch_names]
    data = evoked.data[index]
    cov = data @ data.T / data.shape[1] + noise_cov.data / evoked.nave
    projector = mne._fiff.proj.make_projector(evoked.info["projs"], noise_cov.ch_names)[0]
    cov = projector @ cov @ projector.T
    return mne.Covariance(cov, noise_cov.ch_names, [], evoked.info["projs"], 1000)


NORMS = (None, "unit-noise-gain", "unit-noise-gain-invariant", "nai")
LCMV_DAILY = [("both", "fixed", None)]
LCMV = [
    pytest.param(
        types,
        form,
        pick_ori,
        marks=() if types == "eeg" or (types, form, pick_ori) in LCMV_DAILY else pytest.mark.slow,
    )
    for types in ("meg", "eeg", "both")
    for form in ("head", "surface", "fixed")
    for pick_ori in (None, "normal", "max-power", "vector")
    if not (form == "fixed" and pick_ori) and not (form == "head" and pick_ori == "normal")
]


@pytest.fixture(scope="module")
def forms(forward):
    """The lead field in head axes, in surface axes, and along the normals."""
    return {
        "head": forward,
        "surface": mne.convert_forward_solution(forward, surf_ori=True),
        "fixed": mne.convert_forward_solution(forward, surf_ori=True, force_fixed=True),
    }


@pytest.mark.parametrize(("types", "form", "pick_ori"), LCMV)
def test_lcmv(evoked, forms, noise_cov, data_cov, types, form, pick_ori):
    some = picked(evoked, types)
    problem = ej.from_mne(
        some, forms[form], noise_cov, loose=0.0 if form == "fixed" else 1.0, depth=None
    )
    for norm in NORMS:
        try:
            filters = make_lcmv(
                some.info,
                forms[form],
                data_cov,
                reg=0.05,
                noise_cov=noise_cov,
                pick_ori=pick_ori,
                weight_norm=norm,
            )
        except (ValueError, NotImplementedError):  # a pair that MNE does not offer
            continue
        stc = apply_lcmv(some, filters)
        method = ej.inference.LCMV(data_cov, pick_ori=pick_ori, weight_norm=norm)
        estimate = ej.solve(problem, None, method)
        ours = "magnitude" if pick_ori is None and form != "fixed" else None
        got = ej.to_mne(estimate, "mean", ours)
        assert type(got) is type(stc)
        assert difference(got.data, stc.data) < 1e-6, norm


# ------------------------------------------------------------------ localisation
def found(problem, model, method, columns):
    """Location of the largest magnitude for data that are lead-field columns."""
    data = np.asarray(problem.whitener.colorer) @ columns
    estimate = ej.solve(problem.with_data(data), model, method)
    return np.linalg.norm(estimate.mean, axis=1).argmax(0)


def share(problem, name):
    """Of all columns, how many peak where they come from."""
    hits = []
    model, method = METHODS[name]
    for orient in range(problem.n_orients):
        columns = np.asarray(problem.gain[:, :, orient]) / float(problem.source_unit)
        peak = found(problem, model, method, 1e-8 * columns)
        hits.append(np.mean(peak == np.arange(problem.n_locations)))
    return hits


@pytest.mark.parametrize("types", ["eeg", pytest.param("both", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "loose"),
    [
        ("eLORETA", 0.0),
        pytest.param("eLORETA", 1.0, marks=pytest.mark.slow),
        ("sLORETA", 0.0),
    ],
)
def test_every_single_source_is_found(evoked, forward, noise_cov, types, name, loose):
    """The theorem of Pascual-Marqui: no localisation error for one source without noise."""
    problem = ej.from_mne(picked(evoked, types), forward, noise_cov, loose=loose, depth=None)
    assert share(problem, name) == [1.0] * problem.n_orients


@pytest.mark.slow
@pytest.mark.parametrize("types", ["eeg", "both"])
@pytest.mark.parametrize("name", ["sLORETA", "eLORETA"])
def test_loose_sources_are_found_as_often_as_by_mne(evoked, forward, noise_cov, types, name):
    some = picked(evoked, types)
    problem = ej.from_mne(some, forward, noise_cov, loose=0.2, depth=None)
    operator = inverse(some, forward, noise_cov, loose=0.2, depth=None)
    columns = np.asarray(problem.whitener.colorer @ problem.gain[:, :, 2])
    data = np.zeros((len(some.ch_names), columns.shape[1]))
    data[[some.ch_names.index(n) for n in problem.labels.ch_names]] = columns
    simulated = mne.EvokedArray(data, some.info, nave=some.nave)
    stc = apply_inverse(simulated, operator, LAMBDA2, name)
    theirs = np.mean(stc.data.argmax(0) == np.arange(problem.n_locations))
    ours = share(problem, name)[2]
    assert ours == theirs
    assert 0.95 < ours <= 1
