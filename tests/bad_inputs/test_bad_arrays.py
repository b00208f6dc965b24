"""The rows that plain arrays can have, through `from_arrays`."""

import copy

import numpy as np
import pytest
from bad_rows import WORKS, Table, arrays, check_case

import esijax as ej
from esijax import EsijaxWarning, InputError

TABLE = Table()
row = TABLE.row


def _set(name, index, value):
    arguments = arrays()
    arguments[name] = arguments[name].copy()
    arguments[name][index] = value
    return arguments


def _points(scale=1.0):
    points = np.random.default_rng(1).standard_normal((50, 3))
    return 0.07 * scale * points / np.linalg.norm(points, axis=1, keepdims=True)


ARRAYS: list[tuple] = [
    (0, "good-inputs", WORKS, (), lambda: arrays(positions=_points())),
    (
        1,
        "nan-in-data",
        InputError,
        ("data", "nan", "channel 3"),
        lambda: _set("data", (3, 4), np.nan),
    ),
    (3, "data-1e6", InputError, ("units",), lambda: arrays(data=1e6 * arrays()["data"])),
    (5, "flat-channel", EsijaxWarning, ("flat", "3"), lambda: _set("data", 3, 0.0)),
    (6, "dead", EsijaxWarning, ("zero variance", "3"), lambda: _set("noise_cov", (3, 3), 0.0)),
    (12, "complex-data", InputError, ("complex",), lambda: arrays(data=1j * arrays()["data"])),
    (12, "complex-cov", InputError, ("complex",), lambda: arrays(noise_cov=1j * np.eye(20))),
    (13, "one-sample", WORKS, (), lambda: arrays(data=arrays()["data"][:, 15:16])),
    (14, "all-zero", EsijaxWarning, ("all zero",), lambda: arrays(data=np.zeros((20, 30)))),
    (20, "indefinite", InputError, ("semi-definite",), lambda: _set("noise_cov", _PAIR, 0.2)),
    (21, "asymmetric", InputError, ("symmetric",), lambda: _set("noise_cov", (3, 4), 0.05)),
    (22, "nan-in-cov", InputError, ("noise_cov", "nan"), lambda: _set("noise_cov", (3, 3), np.nan)),
    (23, "zero-cov", InputError, ("all zero",), lambda: arrays(noise_cov=np.zeros((20, 20)))),
    (28, "zero-columns", EsijaxWarning, ("excluded", "7"), lambda: _set("gain", _COLUMN, 0.0)),
    (28, "zero-gain", InputError, ("lead field",), lambda: arrays(gain=np.zeros((20, 50)))),
    (29, "coincident", EsijaxWarning, ("coincide",), lambda: arrays(positions=_coincident())),
    (30, "nan-in-gain", InputError, ("lead field", "3"), lambda: _set("gain", (3, 4, 0), np.nan)),
    (43, "one-channel", EsijaxWarning, ("single channel",), lambda: _part(slice(1), slice(None))),
    (43, "one-source", EsijaxWarning, ("single location",), lambda: _part(slice(None), slice(1))),
    (44, "no-sources", InputError, ("empty",), lambda: _part(slice(None), slice(0))),
    (48, "positions-in-mm", InputError, ("metres",), lambda: arrays(positions=_points(1e3))),
    (48, "positions-in-km", InputError, ("metres",), lambda: arrays(positions=_points(1e-3))),
    (49, "gain-text", TypeError, ("gain", "numbers"), lambda: arrays(gain="gain")),
    (49, "gain-ragged", InputError, ("gain", "ragged"), lambda: arrays(gain=[[1, 2], [3]])),
    (
        49,
        "gain-of-4-orients",
        InputError,
        ("orients", "4"),
        lambda: arrays(gain=np.ones((20, 5, 4))),
    ),
    (49, "shapes", InputError, ("20", "19"), lambda: arrays(data=np.ones((19, 30)))),
    (49, "cov-shape", InputError, ("noise_cov", "19"), lambda: arrays(noise_cov=np.eye(19))),
    (49, "cov-text", TypeError, ("noise_cov", "numbers"), lambda: arrays(noise_cov="auto")),
    (49, "cov-negative", InputError, ("negative variance",), lambda: arrays(noise_cov=-1.0)),
    (49, "positions-shape", InputError, ("positions", "50"), lambda: arrays(positions=np.eye(3))),
    (49, "normals-zero", InputError, ("normals", "unit"), lambda: _normals(np.zeros((50, 3)))),
    (49, "edges-out", InputError, ("edges", "49"), lambda: arrays(edges=[[0, 50]])),
    (49, "sfreq-0", InputError, ("sfreq", "positive"), lambda: arrays(sfreq=0)),
    (49, "sfreq-text", InputError, ("sfreq", "positive"), lambda: arrays(sfreq="fast")),
    (49, "tmin-nan", InputError, ("tmin", "finite"), lambda: arrays(tmin=float("nan"))),
    (49, "names", InputError, ("ch_names", "20"), lambda: arrays(ch_names=["a"])),
    (51, "float32-data", WORKS, (), lambda: arrays(data=arrays()["data"].astype(np.float32))),
]
_PAIR = ((3, 4), (4, 3))
_COLUMN = (slice(None), 7)


def _coincident():
    points = _points()
    points[3] = points[4]
    return points


def _normals(normals):
    return arrays(positions=_points(), normals=normals)


def _part(channels, locations):
    full = arrays()
    return {
        "gain": full["gain"][channels, locations],
        "data": full["data"][channels],
        "noise_cov": full["noise_cov"][channels, channels],
    }


for _number, _name, _outcome, _says, _make in ARRAYS:

    def _through_arrays(x, make=_make):
        arguments = make()
        before = copy.deepcopy(arguments)

        def act():
            try:
                problem = ej.from_arrays(**arguments)
                return [ej.solve(problem, x.model, ej.inference.Linear("dSPM"))]
            finally:
                for name, value in before.items():
                    if isinstance(value, np.ndarray):
                        np.testing.assert_array_equal(value, arguments[name])

        return act

    row(_number, f"arrays-{_name}", _outcome, *_says)(_through_arrays)


@pytest.mark.parametrize("case", TABLE.params())
def test_bad_arrays(case, good_inputs, tmp_path):
    check_case(case, good_inputs, tmp_path)
