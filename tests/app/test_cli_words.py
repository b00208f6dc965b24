"""What the command line says: options for arguments, one line for whatever goes wrong."""

import ast
import re
from pathlib import Path

import pytest
from test_cli import esijax as in_this_process

import esijax as ej
from esijax.app.console import listed, spoken

esijax = in_this_process
PACKAGE = Path(ej.__file__).parent
# what `localize` runs through; of `inference` and `models` what its methods may say
REACHED = ["_checks.py", "problem.py", "estimate.py", "posterior.py", "_ops/memory.py",
           "io/mne_in.py", "io/readers.py", "io/mne_out.py", "io/anatomy.py", "io/subject.py",
           "io/regions_in.py", "tables/courses.py",
           *(str(p.relative_to(PACKAGE)) for p in (PACKAGE / "io").glob("_*.py"))]  # fmt: skip
# a value of Python's, or an object of esijax's
PYTHON = re.compile(r"\b\w+=[\w'\"\[({]|\bNone\b|\bTrue\b|\bpass \w+=|esijax\.\w|\bej\.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Only 60 of 366 would be left: pass picks=['eeg'], mark them bad, or use the forward",
         "Only 60 of 366 would be left: pass --picks eeg, mark them bad (--bads), or use the "
         "forward"),
        ("pass picks=['grad', 'mag']", "pass --picks grad,mag"),
        ("excluded by picks.", "excluded by --picks."),
        ("only EEG channel: nothing is left of it; pass picks without it.",
         "only EEG channel: nothing is left of it; leave it out with --bads."),
        ("pass rank=None.", "pass --rank none."),
        ("loose={'surface': 0.2, 'volume': 1.0} needs free ones: pass loose=0 and depth=None",
         "--loose surface=0.2,volume=1.0 needs free ones: pass --loose 0 and --depth none"),
        ("depth=None, depth=dict(allow_fixed_depth=True), or a free forward",
         "--depth none, --depth allow_fixed_depth=true, or a free forward"),
        ("pick_ori='max-power' needs three; this has fixed ones (loose=0).",
         "--method LCMV-max-power needs three; this has fixed ones (--loose 0)."),
        ("the EEG has no average reference: call set_eeg_reference(projection=True) on the "
         "measurement; the lead field is that of an average reference.",
         "the EEG has no average reference: try --average-reference; the lead field is that of an "
         "average reference."),
        ("is all zero for E1: estimate it again from a clean baseline, or pass None.",
         "is all zero for E1: estimate it again from a clean baseline, or leave --noise-cov out."),
        ("no regions: no folder of subjects is given (subjects_dir), for 'x'",
         "no regions: no folder of subjects is given (--subjects-dir), for 'x'"),
        ("label 'v1' is no file", "--label 'v1' is no file"),
        ("badly conditioned (throw=False returns it all the same).", "badly conditioned."),
        ("3 divergences: raise target_accept; R-hat", "3 divergences: raise target_accept in "
         "Python; R-hat"),
        ("no optimum after 9 steps: raise max_iter or tol", "no optimum after 9 steps: raise "
         "max_iter or tol in Python"),
    ],
)  # fmt: skip
def test_advice_is_in_the_words_of_the_command_line(text, expected):
    assert spoken(text) == expected


def said(tree):
    """Texts of errors and warnings; what is filled in is a word."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in ("InputError", "warn"):
            parts = getattr(node.args[0], "values", [node.args[0]])
            yield "".join(p.value if isinstance(p, ast.Constant) else "x" for p in parts)


MNES = re.compile(r"--[a-z-]+ [^\s,]+|force_fixed=False")  # options, and what MNE-Python is told

# said of arguments that the command line never gives
ELSEWHERE = ("sensors", "head", "limit_depth_chs", "combine_xyz", "what=", "pick_ori must",
             "rank must be", "loose must be", "picks holds", "picks=x is a slice",
             "depth exponent", "depth limit", "single trials", "pick_ori 'normal'", "pick_ori None",
             "from_arrays", "info['", "src[i]", "MNE's classes", "epochs", "ch_types",
             "orientations None")  # fmt: skip


@pytest.mark.parametrize("file", REACHED)
def test_no_message_advises_what_the_command_line_cannot_do(file):
    """Python's arguments are spoken as options, wherever a file can reach them."""
    for text in map(str, said(ast.parse((PACKAGE / file).read_text()))):
        if not any(word in text for word in ELSEWHERE):
            assert not PYTHON.search(MNES.sub("", spoken(text))), spoken(text)


def test_each_option_that_is_spoken_of_exists(esijax):
    from esijax.app.console import OPTIONS, SPOKEN

    _, out, _ = esijax("localize", "--help")
    advised = {w for _, here in SPOKEN for w in re.findall(r"--[a-z][a-z0-9-]*[a-z0-9]", here)}
    for option in advised | {f"--{name}" for name in OPTIONS.split("|")}:
        assert f"{option} " in out, option


def test_names_between_commas():
    names = ["MEG 1", "A, B", "C"]
    assert listed(("MEG 1,C", "A, B"), names) == ["MEG 1", "C", "A, B"]
    assert listed(("eeg", "mag, grad,"), names) == ["eeg", "mag", "grad"]
    assert listed((), names) == []


def test_numbers_and_choices_are_read_exactly():
    from esijax.app.options import choice, number_or, rank

    assert number_or("1/9", (), "--lambda2") == 1 / 9
    assert number_or("1e-3", (), "--lambda2") == 1e-3
    assert number_or("evidence", ("evidence",), "--lambda2") == "evidence"
    assert choice("surface=1/5, volume=1", ("auto",), "--loose", "") == {
        "surface": 0.2,
        "volume": 1,
    }
    depth = choice("exp=0.8,limit=none,allow_fixed_depth=true", ("none",), "--depth", "")
    assert depth == {"exp": 0.8, "limit": None, "allow_fixed_depth": True}
    assert choice("None", ("none",), "--depth", "") is None
    ranks = rank("none"), rank("info"), rank("meg=72,eeg=58")
    assert ranks == (None, "info", {"meg": 72, "eeg": 58})


# ------------------------------------------------------------------ whatever goes wrong
class XlaRuntimeError(RuntimeError):
    """As jaxlib raises it."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("two\nlines"), "RuntimeError: two lines"),
        (KeyError("surface"), "KeyError: 'surface'"),
        (MemoryError(), "MemoryError: no message"),
        (AssertionError(), "AssertionError: no message"),
        (
            XlaRuntimeError("RESOURCE_EXHAUSTED: " + 900 * "x"),
            "XlaRuntimeError: RESOURCE_EXHAUSTED: ",
        ),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (ExceptionGroup("many", [ValueError("one")]), "ExceptionGroup: many (1 sub-exception)"),
        (ej.InputError("ours: pass rank=None."), "ours: pass --rank none."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_whatever_is_left_is_one_line(esijax, tmp_path, monkeypatch, error, line):
    from esijax import io

    def fails(*_):
        raise error

    monkeypatch.setattr(io, "read_evoked", fails)
    arguments = ["localize", "x-ave.fif", "--out", tmp_path / "out"]
    code, out, err = esijax(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"esijax: {line}")
    assert err.count("\n") == 1
    assert len(err) < 420
    ours = isinstance(error, ej.InputError)
    assert err.endswith("(--debug shows where it comes from)\n") != ours
    with pytest.raises(type(error)):
        esijax(*arguments, "--debug")
    assert not list(tmp_path.iterdir())


def test_help_and_version_are_no_errors(esijax):
    assert esijax()[0] == 0
    assert esijax("--version")[0] == 0
