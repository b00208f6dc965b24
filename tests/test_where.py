"""Which locations: indices, masks, labels; what would be taken for something else is refused."""

import dataclasses
import warnings

import mne
import numpy as np
import pytest

import esijax as ej
from esijax._where import indices, pair, region_of

LEFT, RIGHT, DEEP = np.array([3, 5, 8, 13, 21, 34]), np.array([1, 5, 7, 21]), np.arange(100, 110)


@pytest.fixture
def spaces(fixed):
    """Twenty locations as those of the source spaces asked for."""

    def made(kinds, vertices, subject="held"):
        labels = dataclasses.replace(
            fixed.labels, vertices=tuple(vertices), kinds=tuple(kinds), subject=subject
        )
        return dataclasses.replace(fixed, labels=labels)

    return made


@pytest.fixture
def mixed(spaces):
    return spaces(("surface", "surface", "volume"), (LEFT, RIGHT, DEEP))


def label(vertices, hemi, subject="held"):
    return mne.Label(vertices, hemi=hemi, subject=subject, name="V1")


# ------------------------------------------------------------------ numbers
@pytest.mark.parametrize(
    ("which", "right"),
    [
        (None, np.arange(5)),
        (2, [2]),
        (-1, [4]),
        ([3, -5, 3], [3, 0, 3]),
        (range(2), [0, 1]),
        (slice(3, 99), [3, 4]),
        ([True, False, True, False, False], [0, 2]),
        (np.array([3], dtype=np.uint8), [3]),
    ],
)
def test_numbers_masks_and_slices(which, right):
    np.testing.assert_array_equal(indices(which, 5, "locations"), right)


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ([True, 2], "numbers or a mask, not both"),
        ([True, False], "must have 5 entries"),
        (True, "must have 5 entries"),
        ([1.0, 2.0], "must be integers below 5"),
        ("lh", "must be integers below 5, got 'lh'"),
        ({1, 2}, "must be integers"),
        ([[1, 2], [3, 4]], "one row of numbers"),
        ([[1], [2, 3]], "must be integers"),
        ([2**70], "must be integers"),
        ([4, 5, -6], "integers below 5, got 5, -6"),
        (slice("a", None), "no slice of 5 locations"),
        (slice(None, None, 0), "no slice of 5 locations"),
        ([], "selects no locations of 5"),
        ([False] * 5, "selects no locations of 5"),
    ],
)
def test_anything_else_is_refused(which, told):
    with pytest.raises(ej.InputError, match=told):
        indices(which, 5, "locations")


def test_pairs():
    assert pair(None) == (None, None)
    assert pair(([1], None)) == ([1], None)
    for at in (3, [1, 2, 3], "ab", np.arange(2)):
        with pytest.raises(ej.InputError, match=r"must be \(locations, times\)"):
            pair(at)


# ------------------------------------------------------------------ regions
def test_each_location_counts_once(fixed):
    with pytest.warns(ej.EsijaxWarning, match="2 of 5 locations are repeated: counted once"):
        found = region_of([3, 4, 4, 7, -13], fixed)
    np.testing.assert_array_equal(found, [3, 4, 7])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(region_of([7, 3], fixed), [7, 3])


def test_labels_of_either_and_of_both_hemispheres(mixed):
    left, right = label([5, 6, 13], "lh"), label([5, 21], "rh")
    np.testing.assert_array_equal(region_of(left, mixed), [1, 3])
    np.testing.assert_array_equal(region_of(right, mixed), [7, 9])
    np.testing.assert_array_equal(region_of(left + right, mixed), [1, 3, 7, 9])


def test_surfaces_after_a_volume(spaces):
    problem = spaces(("volume", "surface", "surface"), (DEEP, LEFT, RIGHT))
    np.testing.assert_array_equal(region_of(label([3], "lh"), problem), [10])
    np.testing.assert_array_equal(region_of(label([1], "rh"), problem), [16])


def test_an_absent_hemisphere(spaces):
    none = np.zeros(0, dtype=int)
    problem = spaces(("surface", "surface"), (none, np.arange(20)))
    np.testing.assert_array_equal(region_of(label([2, 4], "rh"), problem), [2, 4])
    with pytest.raises(ej.InputError, match="'V1' holds none of the source locations"):
        region_of(label([2, 4], "lh"), problem)


def test_labels_of_another_subject(mixed, spaces):
    with pytest.raises(ej.InputError, match="of the subject 'another', the source space of 'held'"):
        region_of(label([3], "lh", "another"), mixed)
    both = label([3], "lh", "another") + label([1], "rh", "another")
    with pytest.raises(ej.InputError, match="of the subject 'another'"):
        region_of(both, mixed)
    np.testing.assert_array_equal(region_of(label([3], "lh", None), mixed), [0])
    unknown = spaces(("surface", "surface"), (LEFT, np.arange(14)), None)
    np.testing.assert_array_equal(region_of(label([3], "lh", "another"), unknown), [0])


def test_labels_without_a_cortex(spaces, fixed):
    volumes = spaces(("volume", "volume"), (np.arange(10), np.arange(10)))
    with pytest.raises(ej.InputError, match="the problem has volume, volume source spaces"):
        region_of(label([3], "lh"), volumes)
    with pytest.raises(ej.InputError, match="the problem has discrete source spaces: give numbers"):
        region_of(label([3], "lh"), fixed)
    nowhere = spaces((), ())
    with pytest.raises(ej.InputError, match="the problem has no source spaces: give numbers"):
        region_of(label([3], "lh"), nowhere)
