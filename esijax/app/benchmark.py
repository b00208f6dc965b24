"""`esijax benchmark`: from files to the table and the page."""

import warnings
from pathlib import Path

import mne

from esijax import io
from esijax._files import replacing
from esijax._types import EsijaxWarning, InputError
from esijax.app.console import console, listed, mark_bad
from esijax.app.output import LOGS, command_line, usable
from esijax.benchmark import foreign, page, runner
from esijax.benchmark.methods import COMPARED, SLOW_COMPARED
from esijax.benchmark.peers import MNE_PEERS, SLOW_PEERS
from esijax.benchmark.protocols import PROTOCOLS
from esijax.benchmark.scenarios import SCENARIOS
from esijax.benchmark.study import Study

BENCHMARK_WRITES = ("benchmark.html", "benchmark.md", "results.csv", "cells")
SETTINGS = "settings.json"


def run_benchmark(
    out: Path,
    *,
    seeds: int,
    scenarios: str,
    methods: str,
    peers: str,
    files: dict[str, Path | None],
    condition: str | None,
    bads: tuple[str, ...],
    picks: tuple[str, ...] = (),
) -> None:
    """Run the benchmark of the command line; parameters are its options."""
    screen = console()
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}.")
    _check_folder(out)
    wanted = chosen(scenarios, tuple(SCENARIOS), tuple(PROTOCOLS), "scenario")
    solvers = chosen(methods, tuple(COMPARED), tuple(SLOW_COMPARED), "method")
    with warnings.catch_warnings():
        # weak signals and ad hoc covariances are what scenarios are made of
        warnings.simplefilter("ignore", EsijaxWarning)
        with screen.status("preparing the heads"):
            study = study_of(files, condition, bads, picks)
        others = dict(MNE_PEERS) if peers != "none" else {}
        if peers == "all":
            others |= SLOW_PEERS | foreign.available(screen.log)
        results = runner.run(
            study,
            out,
            scenarios=wanted,
            methods=solvers,
            peers=others,
            seeds=seeds,
            tell=screen.log,
        )
    command = command_line()
    page.write_page(results, out / "benchmark.html", command)
    text = page.markdown(results)
    with replacing(out / "benchmark.md") as path:
        path.write_text(f"    {command}\n\n{text}")
    screen.print(text, soft_wrap=True, markup=False, highlight=False)
    for name in ("benchmark.html", "benchmark.md", "results.csv"):
        screen.print(f"{(out / name).resolve()}", soft_wrap=True)


def chosen(text: str, standard: tuple[str, ...], more: tuple[str, ...], what: str) -> list[str]:
    """Names that the user lists; a protocol stands for all its variants."""
    if text == "all":
        return list(standard)
    known, out = (*standard, *more), []
    # a name may hold a comma itself: "MNE, evidence"
    rest = text
    while rest := rest.strip(", "):
        whole = [n for n in known if rest == n or rest.startswith(f"{n},")]
        if whole:
            name = max(whole, key=len)
            out.append(name)
            rest = rest[len(name) :]
            continue
        first, _, rest = rest.partition(",")
        variants = [n for n in more if n.startswith((f"{first} ", f"{first},"))]
        if not variants:
            raise InputError(f"there is no {what} {first!r}; there are {list(known)}.")
        out += variants
    return list(dict.fromkeys(out))


def _check_folder(out: Path) -> None:
    """Refuse what cannot be written, and results that no benchmark left there."""
    usable(out)
    if (out / SETTINGS).exists():
        return  # a benchmark: the run itself sees whether it is the same one
    found = [p.name for name in (*BENCHMARK_WRITES, *LOGS) for p in out.glob(name)]
    if found:
        raise InputError(
            f"--out {out} holds {', '.join(sorted(found))} of another command: give another folder."
        )


def study_of(
    files: dict[str, Path | None],
    condition: str | None,
    bads: tuple[str, ...],
    picks: tuple[str, ...] = (),
) -> Study:
    """Study on the user's files, or on the template head."""
    if not any(files.values()):
        if condition is not None or bads or picks:
            raise InputError("--condition, --bads and --picks need --evoked.")
        return Study.template()
    missing = [name for name, path in files.items() if path is None and name != "bem"]
    if missing:
        raise InputError(f"give --{missing[0]} as well: the files belong to one measurement.")
    evoked = io.read_evoked(files["evoked"], 0 if condition is None else condition)
    mark_bad(evoked, bads, files["evoked"])
    if picks:
        evoked = _picked_evoked(evoked, listed(picks, evoked.ch_names))
    return Study(
        evoked.info,
        io.read_forward(files["forward"]),
        io.read_forward(files["truth-forward"]),
        io.read_noise_cov(files["noise-cov"]),
        None if files["bem"] is None else read_bem(files["bem"]),
        evoked.nave,
    )


def _picked_evoked(evoked: mne.Evoked, picks: list[str]) -> mne.Evoked:
    try:
        return evoked.pick(picks, exclude=(), verbose="ERROR")
    except ValueError as error:
        raise InputError(f"--picks {', '.join(picks)}: {error}") from error


def read_bem(path: Path | None):
    """Read a boundary element solution."""
    try:
        return mne.read_bem_solution(path, verbose="ERROR")
    except Exception as error:  # MNE raises whatever its parser trips over
        raise InputError(f"--bem {path}: missing, broken or no BEM solution ({error}).") from error
