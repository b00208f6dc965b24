"""The command line: `esijax demo`, `localize`, `benchmark`, `info`; heavy imports wait."""

import os
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from esijax import __version__
from esijax._cli_methods import METHODS

app = App(
    name="esijax",
    version=__version__,
    help="Probabilistic E/MEG source imaging: measured data in, a posterior source map out.",
    version_flags=["--version"],
)


def main() -> None:
    """Run the command line; errors are one line, `--debug` shows where they come from."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except KeyboardInterrupt:
        sys.exit("esijax: interrupted")
    except (CycloptsError, ValueError, TypeError, OSError) as error:
        if debug:
            raise
        print(f"esijax: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


@app.command
def demo(*, out: Path = Path("esijax_demo"), seed: int = 0) -> None:
    """Simulate an auditory response on a template head, reconstruct it, write a report.

    Needs no files and no download. Writes report.html, pictures and the estimates.

    Parameters
    ----------
    out
        Folder for what is written.
    seed
        Seed of the simulated noise.
    """
    _prepare()
    from esijax._console import console
    from esijax.demo import CAPTION, run

    screen = console()
    with screen.status("starting") as status:

        def tell(text: str) -> None:
            screen.log(text)
            status.update(text)

        table = run(out, seed, tell)
    _print_table(table, "Simulated auditory response, against the truth", CAPTION)
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
    baseline: bool = True,
    bads: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    out: Path = Path("esijax_localize"),
) -> None:
    """Localise an evoked response: estimate, MNE's stc files and a report.

    Parameters
    ----------
    evoked
        A -ave.fif file.
    condition
        Name or number of the condition; needed where the file holds several.
    tmin
        First time to reconstruct, s.
    tmax
        Last time to reconstruct, s.
    method
        How to reconstruct.
    lambda2
        1 / SNR^2, or evidence, gcv, lcurve: found from the data.
    loose
        Variance along the surface relative to the normal: auto, or 0 (fixed) to 1 (free).
    depth
        Exponent of depth weighting, or none.
    baseline
        Subtract the mean before time zero where the file has no baseline applied.
    bads
        Channels to leave out, beside those marked in the file.
    out
        Folder for what is written.
    """
    _prepare()
    from esijax._localize import run

    run(
        evoked,
        forward=forward,
        noise_cov=noise_cov,
        condition=condition,
        window=(tmin, tmax),
        method=method,
        lambda2=_number_or(lambda2, ("evidence", "gcv", "lcurve"), "--lambda2"),
        loose=_number_or(loose, ("auto",), "--loose"),
        depth=None if depth.lower() == "none" else _number_or(depth, (), "--depth"),
        baseline=baseline,
        bads=bads,
        out=out,
    )


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
    bads: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
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
        Name or number of its condition; the first by default.
    bads
        Channels to leave out, beside those marked in the file.
    forward
        -fwd.fif to invert.
    truth_forward
        -fwd.fif that makes the data, on a finer grid.
    noise_cov
        -cov.fif of single trials.
    bem
        -bem-sol.fif of the head, for the scenario in which it is wrong.
    """
    _prepare()
    from esijax.benchmark import command

    command.run(
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
    )


@app.command
def info() -> None:
    """Show versions, devices and precision."""
    _prepare()
    from importlib.metadata import version

    import jax

    names = ("jax", "numpyro", "optax", "equinox", "mne", "arviz", "numpy", "scipy", "nilearn")
    rows = {"esijax": __version__} | {name: version(name) for name in names}
    rows["Python"] = sys.version.split()[0]
    rows["devices"] = ", ".join(str(d) for d in jax.devices())
    rows["precision"] = str(jax.numpy.zeros(1).dtype)
    rows["compiled programs"] = jax.config.jax_compilation_cache_dir or "not kept"
    _print_table([{"": name, "here": value} for name, value in rows.items()], "esijax")


def _prepare() -> None:
    """Float64 and pictures without a screen; before anything is computed."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    import jax

    jax.config.update("jax_enable_x64", True)
    _keep_programs()


def _keep_programs() -> None:
    """Keep what is compiled for the next command, unless JAX's own variables say otherwise."""
    if {"JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"} & set(os.environ):
        return
    import jax
    from platformdirs import user_cache_path

    folder = user_cache_path("esijax") / "programs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a home that cannot be written: compiled anew each time
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _number_or(text: str, words: tuple[str, ...], option: str) -> float | str:
    if text in words:
        return text
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        choices = " or ".join(["a number", *words])
        raise ValueError(f"{option} takes {choices}, not {text!r}.") from None


def _print_table(rows: Sequence[Mapping[str, object]], title: str, caption: str = "") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from esijax._console import console

    table = Table(title=title, caption=caption or None, box=SIMPLE_HEAD, caption_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if name == next(iter(rows[0])) else "right")
    for row in rows:
        table.add_row(*(str(v) for v in row.values()))
    console().print(table)


if __name__ == "__main__":
    main()
