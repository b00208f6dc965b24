"""Fixtures that all tests share. esijax itself is imported inside them, after its type checks."""

import contextlib
import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MNE_DONTWRITE_HOME", "true")
os.environ.pop("SUBJECTS_DIR", None)  # tests make their own subjects
if os.environ.get("ESIJAX_TEST_CACHE") == "0":  # compile everything anew
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
# small problems compile longer than they run: light code generation halves the time of the suite
# (XLA_FLAGS="" pytest ... runs what users run)
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import scipy.linalg  # noqa: E402, F401
from threadpoolctl import threadpool_limits  # noqa: E402

PROGRAM_BYTES = 2e9  # compiled programs that are kept on disk
PROGRAM_DAYS = 30  # since they were last used

if "PYTEST_XDIST_WORKER" in os.environ:  # BLAS threads of two workers on two cores fight
    threadpool_limits(1, "blas")


def pytest_sessionstart(session):
    """Keep compiled programs for the next run, and for the processes that tests start.

    Each worker has a folder of its own, in the user's cache folder or in
    JAX_COMPILATION_CACHE_DIR; ESIJAX_TEST_CACHE=0 keeps nothing.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None and session.config.getoption("numprocesses", None):
        return  # the process that only hands out tests
    if not jax.config.jax_enable_compilation_cache:
        return
    from esijax import _programs

    shared = _programs.folder("tests")
    folder = shared / (worker or "main")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # nor in the user's own folder
        return
    if worker in (None, "gw0"):
        _programs.prune(shared.parent, PROGRAM_BYTES, PROGRAM_DAYS)
    _take_over(shared, folder)
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


def _take_over(shared, folder):
    """Link what other workers have compiled: which of them gets which tests changes each time."""
    own = {path.name for path in folder.iterdir()}
    for path in shared.glob("*/*-cache"):
        if path.name not in own:
            with contextlib.suppress(OSError):  # deleted meanwhile, or a disk without links
                os.link(path, folder / path.name)


def forget_programs():
    """Forget compiled programs before their memory maps run out (65,530 per process on Linux).

    XLA then ends the process with a segmentation fault, some thousand programs on.
    """
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > 20_000:
        jax.clear_caches()


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Look after each file."""
    yield
    forget_programs()


@pytest.fixture(autouse=True)
def few_programs_of_slow_tests(request):
    """Look after each slow test: a table of them compiles more than a file of others."""
    yield
    if request.node.get_closest_marker("slow"):
        forget_programs()


CONDITIONS = ("Left Auditory", "Right Auditory", "Left visual", "Right visual")
BADS = ["MEG 2443", "EEG 053"]


# ------------------------------------------------------------------ one real subject
@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the sample subject; tests that need it are skipped where it is missing."""
    default = Path(__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("ESIJAX_DATA", default))
    for folder in (root, root / "sample"):
        if (folder / "audvis-ave.fif.gz").exists():
            return folder
    pytest.skip(f"no sample data in {root}: set ESIJAX_DATA")


@pytest.fixture(scope="session")
def evokeds(data_dir):
    """Four conditions with the known bad channels marked; copy before changing."""
    import mne

    found = mne.read_evokeds(data_dir / "audvis-ave.fif.gz", verbose="ERROR")
    for evoked in found:
        evoked.info["bads"] = list(BADS)
    assert tuple(e.comment for e in found) == CONDITIONS
    return {e.comment: e for e in found}


@pytest.fixture(scope="session")
def evoked(evokeds):
    """Twelve samples of "Right visual" around its peak."""
    return evokeds["Right visual"].copy().crop(0.085, 0.104)


@pytest.fixture(scope="session")
def noise_cov(data_dir):
    import mne

    return mne.read_cov(data_dir / "audvis-cov.fif", verbose="ERROR")


def _double(forward):
    """FIF stores float32; MNE is exact only on float64."""
    forward["sol"]["data"] = forward["_orig_sol"] = forward["sol"]["data"].astype(float)
    return forward


@pytest.fixture(scope="session")
def forward_as_read(data_dir):
    """1996 locations, float32 as the file has them."""
    import mne

    return mne.read_forward_solution(data_dir / "audvis-oct5-fwd.fif", verbose="ERROR")


@pytest.fixture(scope="session")
def forward(data_dir):
    """1996 locations, float64."""
    import mne

    return _double(mne.read_forward_solution(data_dir / "audvis-oct5-fwd.fif", verbose="ERROR"))


@pytest.fixture(scope="session")
def forward_oct6(data_dir):
    """8003 locations, float64."""
    import mne

    return _double(mne.read_forward_solution(data_dir / "audvis-oct6-fwd.fif", verbose="ERROR"))


# ------------------------------------------------------------------ small problems
def make_problem(
    n_orients=1,
    trials=None,
    *,
    n_channels=12,
    n_locations=20,
    n_times=7,
    average_reference=False,
    loose=1.0,
    seed=0,
):
    """A small problem with correlated noise, uneven depth and sources on a half sphere."""
    import equinox as eqx
    import jax.numpy as jnp

    import esijax as ej

    rng = np.random.default_rng(seed)
    gain = rng.standard_normal((n_channels, n_locations, n_orients))
    gain *= np.exp(0.5 * rng.standard_normal((1, n_locations, 1)))
    lead = () if trials is None else (trials,)
    sources = rng.standard_normal((*lead, n_locations, n_orients, n_times))
    half = rng.standard_normal((n_channels, n_channels))
    cov = 0.5 * np.eye(n_channels) + half @ half.T / n_channels
    noise = np.linalg.cholesky(cov) @ rng.standard_normal((*lead, n_channels, n_times))
    data = 0.4 * np.einsum("clo,...lot->...ct", gain, sources) + noise
    if average_reference:
        centre = np.eye(n_channels) - 1 / n_channels
        gain, data = np.tensordot(centre, gain, 1), centre @ data
        cov = centre @ cov @ centre
    normals = rng.standard_normal((n_locations, 3))
    normals[:, 2] = np.abs(normals[:, 2])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    problem = ej.from_arrays(
        gain,
        data,
        noise_cov=cov,
        positions=0.07 * normals,
        normals=normals,
        sfreq=100.0,
        tmin=-0.02,
        ch_types=("eeg",) * 3 + ("mag",) * (n_channels - 3),
    )
    scale = np.exp(0.3 * rng.standard_normal((n_locations, n_orients)))
    orient = np.ones((n_locations, n_orients))
    orient[:, : n_orients - 1] = np.sqrt(loose)
    scale = scale * orient
    power = np.einsum("rlo,rlo,lo->", problem.gain, problem.gain, scale**2)
    scale *= np.sqrt(problem.rank / power)
    return eqx.tree_at(
        lambda p: (p.prior_scale, p.orient_scale),
        problem,
        (jnp.asarray(scale), jnp.asarray(orient)),
    )


@pytest.fixture(scope="session")
def problem_factory():
    """The function that makes small problems; see `make_problem`."""
    return make_problem


@pytest.fixture(scope="session")
def fixed():
    """One orient."""
    return make_problem(1)


@pytest.fixture(scope="session")
def free():
    """Three orients, loose."""
    return make_problem(3, loose=0.3)


@pytest.fixture(scope="session")
def trials():
    """Three orients, four trials."""
    return make_problem(3, trials=4, loose=0.3)


@pytest.fixture(scope="session")
def referenced():
    """One orient, average reference: the noise has one dimension less than channels."""
    return make_problem(1, average_reference=True)


# ------------------------------------------------------------------ settings
@pytest.fixture
def no_rank_promotion():
    """Broadcasting between arrays of different rank must be written out."""
    before = jax.config.jax_numpy_rank_promotion
    jax.config.update("jax_numpy_rank_promotion", "raise")
    yield
    jax.config.update("jax_numpy_rank_promotion", before)
