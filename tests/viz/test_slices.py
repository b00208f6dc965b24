"""Volumes on slices: the right value at the right place, in the right coordinates."""

import nibabel
import numpy as np
import pytest

from esijax._types import InputError
from esijax.viz import slices
from esijax.viz._style import Map


@pytest.fixture(autouse=True)
def _closed():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def turned_grid(spacing=10.0, n=5):
    """A lattice that is turned against the axes, mm."""
    steps = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    a, b = np.deg2rad(25), np.deg2rad(-10)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    return spacing * steps @ turn.T + [3.0, -20.0, 40.0]


def test_every_voxel_has_the_value_of_its_nearest_source():
    points = turned_grid()
    values = np.random.default_rng(0).random(len(points)) + 1.0
    image = slices.grid_of(points).image(values)
    shown = image.get_fdata()
    at = np.argwhere(np.ones(shown.shape, dtype=bool))
    mm = at @ image.affine[:3, :3].T + image.affine[:3, 3]
    away = np.linalg.norm(mm[:, None] - points[None], axis=-1)
    near = away.min(axis=1) < slices.FILLED * 10.0
    want = np.where(near, values[away.argmin(axis=1)], 0.0)
    clear = np.abs(np.sort(away, axis=1)[:, 0] - np.sort(away, axis=1)[:, 1]) > 1e-9
    np.testing.assert_array_equal(shown.ravel()[clear], want[clear])


def test_the_middle_of_each_cell_is_covered():
    """Without holes: half the diagonal of a cell is within reach."""
    assert slices.FILLED > np.sqrt(3) / 2


def test_grids_are_known_from_clouds():
    rng = np.random.default_rng(1)
    assert slices.is_grid(turned_grid())
    assert slices.is_grid(turned_grid()[rng.permutation(125)[:110]])  # some are left out
    assert not slices.is_grid(rng.random((125, 3)))
    assert not slices.is_grid(turned_grid()[:5])


def test_picture_has_a_row_a_map_and_their_units():
    points = turned_grid() / 1e3
    values = np.zeros(len(points))
    values[[30, 31]] = 2.0, 1.0
    maps = {"mean": Map(values, "nA m", 0.5, "plasma", (0, 2)), "SD": Map(values + 1, "nA m")}
    figure = slices.plot_slices(points, maps, title="a volume")
    bars = {a.get_label(): a.get_ylabel() for a in figure.axes if a.get_label() in maps}
    assert bars == {"mean": "nA m", "SD": "nA m"}
    texts = [t.get_text() for t in figure.texts]
    assert "a volume" in texts
    assert "mm, head\ncoordinates" in texts
    cuts = [t.get_text() for a in figure.axes for t in a.texts if "=" in t.get_text()]
    x, y, z = 1e3 * points[30]
    wanted = [f"x={x:.0f}", f"y={y:.0f}", f"z={z:.0f}"]
    assert [c.split("=")[0] for c in cuts] == ["x", "y", "z"] * 2
    for cut, want in zip(cuts, wanted * 2, strict=True):
        assert abs(int(cut.split("=")[1]) - int(want.split("=")[1])) <= 1


def test_freesurfer_images_are_in_the_coordinates_of_their_surfaces():
    """The origin of a surface is the middle of the image, wherever the scanner has it."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 100.0, -50.0, 7.0
    image = nibabel.MGHImage(np.zeros((10, 12, 14), np.uint8), affine)
    found = slices.anatomy(image)
    np.testing.assert_allclose(found.affine @ [5, 6, 7, 1], [0, 0, 0, 1], atol=1e-6)
    plain = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.float32), affine)
    np.testing.assert_array_equal(slices.anatomy(plain).affine, affine)


def test_head_to_mri_in_either_direction():
    import mne

    matrix = np.eye(4)
    matrix[:3, 3] = 0.01, 0.02, -0.03
    points = np.array([[1.0, 2.0, 3.0]])
    wanted = np.array([[11.0, 22.0, -27.0]])
    forth = mne.Transform("head", "mri", matrix)
    back = mne.Transform("mri", "head", np.linalg.inv(matrix))
    for trans in (matrix, forth, back):
        np.testing.assert_allclose(slices.in_mri(points, trans), wanted, atol=1e-12)


def test_bad_input_is_named(tmp_path):
    import matplotlib.pyplot as plt

    points, values = turned_grid() / 1e3, np.ones(125)
    with pytest.raises(InputError, match="nothing to draw"):
        slices.plot_slices(points, {})
    with pytest.raises(InputError, match="one value per location"):
        slices.plot_slices(points, {"m": values[:3]})
    with pytest.raises(InputError, match="whole matplotlib Figure"):
        slices.plot_slices(points, {"m": values}, ax=plt.figure().subfigures(1, 2)[0])
    with pytest.raises(InputError, match="several panels"):
        slices.plot_slices(points, {"m": values}, ax=plt.figure().subplots())
    with pytest.raises(InputError, match="no image that nibabel reads"):
        slices.anatomy(tmp_path / "none.mgz")
    with pytest.raises(InputError, match="head-to-MRI"):
        slices.in_mri(points, None)
    with pytest.raises(InputError, match=r"\(4, 4\)"):
        slices.in_mri(points, np.eye(3))
