"""The command line: `esijax demo`, `localize`, `benchmark`, `train`, `info`; heavy imports wait."""

import os
import sys
from pathlib import Path
from signal import SIGINT
from typing import Annotated, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter

from esijax import __version__
from esijax.app import options
from esijax.registry import METHODS

PROGRAM_BYTES = 500e6  # compiled programs that are kept on disk
PROGRAM_DAYS = 60  # since they were last used

Flag = Annotated[bool, Parameter(negative="")]
RepeatedOption = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]

app = App(
    name="esijax",
    version=__version__,
    help="Probabilistic E/MEG source imaging: measured data in, a posterior source map out.",
    version_flags=["--version"],
)


def main() -> None:
    """Run the command line; errors are one line, `--debug` shows where they come from."""
    from esijax.app.console import stoppable

    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    with stoppable() as came:
        try:
            command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
            command(*bound.args, **bound.kwargs)  # cyclopts itself would end on Ctrl-C, unheard
        except KeyboardInterrupt as stop:
            _end(f"interrupted: {stop}".removesuffix(": "), 128 + (came or [SIGINT])[-1])
        except Exception as error:
            if debug:
                raise
            _end(_line(error, arguments), 128 + came[-1] if came else 2)


def _end(line: str, status: int) -> NoReturn:
    print(f"esijax: {line}", file=sys.stderr)
    sys.exit(status)


def _line(error: Exception, arguments: list[str]) -> str:
    """Put an error on one line; errors that are not InputError are named by their class."""
    text = " ".join(str(error).split())
    if isinstance(error, CycloptsError):
        return text
    from esijax._types import InputError
    from esijax.app.console import spoken

    if isinstance(error, InputError):
        return spoken(text) if arguments[0] == "localize" else text
    text = f"{text[:300]}..." if len(text) > 300 else text
    return f"{type(error).__name__}: {text or 'no message'} (--debug shows where it comes from)"


@app.command
def demo(*, out: Path = Path("esijax_demo"), seed: int = 0, overwrite: Flag = False) -> None:
    """Simulate an auditory response on a template head, reconstruct it, write a report.

    Needs no files and no download. Writes report.html, pictures, the estimates and a log.

    Parameters
    ----------
    out
        Folder for what is written; made where there is none.
    seed
        Seed of the simulated noise.
    overwrite
        Replace the results of another command in that folder.
    """
    from esijax.app.console import console, print_table

    screen = console()
    with screen.status("loading") as status:
        _prepare()
        from esijax.app.demo import CAPTION, run_demo

        def tell(text: str) -> None:
            screen.log(text)
            status.update(text)

        table = run_demo(out, seed, tell, overwrite)
    print_table(screen, table, "Simulated auditory response, against the truth", CAPTION)
    screen.print(f"report: {(out / 'report.html').resolve()}", soft_wrap=True)


@app.command
def localize(
    evoked: Path,
    /,
    *,
    forward: Annotated[Path | None, Parameter(help="-fwd.fif; the template head without.")] = None,
    noise_cov: Annotated[Path | None, Parameter(help="-cov.fif; the baseline without.")] = None,
    condition: str | None = None,
    tmin: float | None = None,
    tmax: float | None = None,
    method: Literal[tuple(METHODS)] = "dSPM",  # ty: ignore[invalid-type-form]
    lambda2: str = "1/9",
    loose: str = "auto",
    depth: str = "0.8",
    rank: str = "none",
    picks: RepeatedOption = (),
    bads: RepeatedOption = (),
    baseline: bool = True,
    average_reference: Flag = False,
    nave: float | None = None,
    noise_time: Literal["none", "auto"] = "none",
    label: RepeatedOption = (),
    parc: str = "aparc",
    subjects_dir: Path | None = None,
    out: Path = Path("esijax_localize"),
    overwrite: Flag = False,
    checkpoint: Path | None = None,
) -> None:
    """Localise an evoked response: estimate, MNE's stc files and a report.

    Ctrl-C and SIGTERM end an iterative method early: what was computed until then is written.

    Parameters
    ----------
    evoked
        A -ave.fif file.
    condition
        Name of the condition, or its number from 0 where no name is that number (#1 is always a
        number); needed where the file holds several.
    tmin
        First time to reconstruct, s. Without it and tmax: a window is proposed, around the largest
        global field power after the baseline.
    tmax
        Last time to reconstruct, s.
    method
        How to reconstruct.
    lambda2
        1 / SNR^2, or evidence, gcv, lcurve: found from the data.
    loose
        Variance along the surface relative to the normal: auto, or 0 (fixed) to 1 (free); or one
        for each kind of source space, as surface=0.2,volume=1.
    depth
        Exponent of depth weighting, or none; or more of it, as exp=0.8,limit=10.
    rank
        Rank of the noise covariance: none (found from it), info, full, or meg=72,eeg=58.
    picks
        Channel types or names to use, one by one or between commas: eeg, or mag,grad.
    bads
        Channels to leave out, beside those marked in the file.
    baseline
        Subtract the mean before time zero where the file has no baseline applied.
    average_reference
        Refer the EEG to its average first.
    nave
        Number of averages, where that of the file is wrong.
    noise_time
        How samples go together in the noise: none (each is independent), or auto, from the
        baseline.
    label
        Regions whose time courses to write, one by one: a .label file, a region of --parc
        ("cuneus-lh"; "cuneus" is both), or a parcellation ("aparc"), which is all its regions.
    parc
        Annotation of the subject that names the regions.
    subjects_dir
        Folder of FreeSurfer's subjects, for regions and MNI coordinates; SUBJECTS_DIR without.
    out
        Folder for what is written, with a log of the command; made where there is none.
    overwrite
        Replace the results of another command in that folder.
    checkpoint
        Folder in which an iterative method keeps its steps and from which the same command goes
        on; made where there is none.
    """
    from esijax.app.console import console

    with console().status("loading"):
        _prepare()
        from esijax.app.localize import Wanted, run_localize

    choices = Wanted(
        evoked,
        forward=forward,
        noise_cov=noise_cov,
        condition=condition,
        window=(tmin, tmax),
        method=method,
        lambda2=options.number_or(lambda2, ("evidence", "gcv", "lcurve"), "--lambda2"),
        loose=options.choice(loose, ("auto",), "--loose", "surface=0.2,volume=1"),
        depth=options.choice(depth, ("none",), "--depth", "exp=0.8,limit=10"),
        rank=options.rank(rank),
        baseline=baseline,
        average_reference=average_reference,
        nave=nave,
        noise_time=None if noise_time == "none" else noise_time,
        picks=picks,
        bads=bads,
        labels=label,
        parc=parc,
        subjects_dir=subjects_dir,
        out=out,
        overwrite=overwrite,
        checkpoint=checkpoint,
    )
    run_localize(choices)


@app.command
def benchmark(
    *,
    out: Path = Path("esijax_benchmark"),
    seeds: int = 50,
    scenarios: str = "all",
    methods: str = "all",
    peers: Literal["none", "mne", "all"] = "none",
    evoked: Path | None = None,
    condition: str | None = None,
    bads: RepeatedOption = (),
    picks: RepeatedOption = (),
    forward: Path | None = None,
    truth_forward: Path | None = None,
    noise_cov: Path | None = None,
    bem: Path | None = None,
) -> None:
    """Score the methods on simulated data: a table, a page, and every number in a csv file.

    What is finished is kept: run the same command again to go on.

    Parameters
    ----------
    out
        Folder for what is written.
    seeds
        Data sets per scenario.
    scenarios
        Comma-separated names, or all; BSI-Zoo and CaliBrain (or CaliBrain 5) for the published
        protocols.
    methods
        Comma-separated names, or all.
    peers
        Run MNE-Python's solvers on the same data; all: also its gamma_map (minutes a map), and
        invertmeeg and CaliBrain where ESIJAX_PEERS_PYTHON names the Python of an environment that
        has them.
    evoked
        A -ave.fif file for sensors, projectors and averages; the template head without it.
    condition
        Name or number of its condition, as of localize; the first by default.
    bads
        Channels to leave out, beside those marked in the file.
    picks
        Channel types or names to use, one by one or between commas.
    forward
        -fwd.fif to invert.
    truth_forward
        -fwd.fif that makes the data, on a finer grid.
    noise_cov
        -cov.fif of single trials.
    bem
        -bem-sol.fif of the head, for the scenario in which it is wrong.
    """
    from esijax.app.console import console

    with console().status("loading"):
        _prepare()
        from esijax.app import benchmark as command

    command.run_benchmark(
        out,
        seeds=seeds,
        scenarios=scenarios,
        methods=methods,
        peers=peers,
        files={
            "evoked": evoked,
            "forward": forward,
            "truth-forward": truth_forward,
            "noise-cov": noise_cov,
            "bem": bem,
        },
        condition=condition,
        bads=bads,
        picks=picks,
    )


@app.command
def train(
    task: Path,
    /,
    *,
    out: Path = Path("esijax_train"),
    seed: int = 0,
    resume: Flag = False,
) -> None:
    """Train an unrolled solver or a direct network on simulations from heads of the average brain.

    Writes weights.npz, for `ej.inference.Unrolled(ej.learn.load("weights.npz"))`, or `Direct`.

    Parameters
    ----------
    task
        TOML file; keys that it leaves out have the values of the shipped weights' own task.
    out
        Folder for weights and checkpoint; made where there is none.
    seed
        Of the simulated data and of the first weights.
    resume
        Go on from the checkpoint in that folder.
    """
    from esijax.app.console import console

    screen = console()
    with screen.status("making heads") as status:
        _prepare()
        from esijax.app.train import run_train

        def tell(text: str) -> None:
            screen.log(text)
            status.update(text)

        path = run_train(task, out, seed, resume, tell, status.stop)
    screen.print(f"weights: {path.resolve()}", soft_wrap=True)


@app.command
def info() -> None:
    """Show versions, devices and precision."""
    _prepare()
    from importlib.metadata import version

    import jax

    from esijax.app.console import console, print_table

    names = ("jax", "numpyro", "optax", "equinox", "mne", "arviz", "numpy", "scipy", "nilearn")
    rows = {"esijax": __version__} | {name: version(name) for name in names}
    rows["Python"] = sys.version.split()[0]
    rows["devices"] = ", ".join(str(d) for d in jax.devices())
    rows["precision"] = str(jax.numpy.zeros(1).dtype)
    rows["compiled programs"] = jax.config.jax_compilation_cache_dir or "not kept"
    print_table(console(), [{"": name, "here": value} for name, value in rows.items()], "esijax")


def _prepare() -> None:
    """Set float64 and a display-free matplotlib backend, before anything is computed."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    import jax

    jax.config.update("jax_enable_x64", True)
    _keep_programs()


def _keep_programs() -> None:
    """Keep what is compiled for the next command, unless JAX's own variables say otherwise."""
    if {"JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"} & set(os.environ):
        return
    import jax

    from esijax import _programs

    folder = _programs.folder("programs")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a home that cannot be written: compiled anew each time
    _programs.prune(folder.parent, PROGRAM_BYTES, PROGRAM_DAYS)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


if __name__ == "__main__":
    main()
