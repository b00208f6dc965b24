"""What heads refuse: each bad input by an error that names what and where, in both heads."""

import jax
import numpy as np
import pytest
from round_heads import RADII, SIGMA, icosphere, three

import esijax as ej
from esijax.forward import BEMModel, Coils, Sensors, SphereModel, Surface

DEEP = [0.0, 0.0, 0.02]
TOP = np.array([[0.0, 0.0, 0.092], [0.0, 0.092, 0.0]])


@pytest.fixture(scope="module")
def bem():
    """Three spheres of 80 triangles."""
    return BEMModel(three(), SIGMA)


@pytest.fixture(scope="module", params=["sphere", "bem"])
def head(request, bem):
    """The same head as spheres and as surfaces."""
    return bem if request.param == "bem" else SphereModel(np.zeros(3), RADII, SIGMA)


def innermost(head):
    """What a message calls the surface that sources must be inside of."""
    return "inner skull" if isinstance(head, BEMModel) else r"innermost sphere \(radius 65.0 mm\)"


def cap(*more):
    return Sensors.eeg([*TOP, *more], ch_names=["Cz", "Nz", "Oz"][: 2 + len(more)])


def opm(*places, size=0.0):
    return Sensors.opm(places, [[0.0, 0.6, 0.8]] * len(places), size=size)


# ------------------------------------------------------------------ sources
@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([DEEP, [0, 0, 0.01], DEEP], "1 sources coincide with another: 0 and 2"),
        ([DEEP, [0, 0, 0.02 + 3e-8]], "1 sources coincide with another: 0 and 1"),
        ([DEEP, [np.nan, 0, 0], [0, np.inf, 0]], "sources 1, 2 are NaN or infinite"),
        (1e3 * np.array([DEEP, [0, 0, 30e-3]]), "2 of 2 .* 30 m .*: 0, 1; .*mm instead of m"),
        ([DEEP, [0, 0, 3.0]], "1 of 2 sources lie up to 3 m .*: 1; are positions in mm"),
        (np.zeros((0, 3)), r"at least one, got \(0, 3\)"),
        (np.zeros((3, 2)), r"must be \(locations, 3\).*got \(3, 2\)"),
    ],
)
def test_bad_positions(head, places, message):
    with pytest.raises(ej.InputError, match=message):
        head.leadfield(places, None, cap())


@pytest.mark.parametrize(
    ("depth", "by_surfaces", "by_spheres"),
    [
        (0.0715, "between the inner skull and the outer skull", "71.5 mm from .* in shell 2"),
        (0.083, "between the inner skull and the outer skin", "83.0 mm from .* in shell 3"),
        (0.3, "outside the head", "300.0 mm from its centre, outside the head"),
    ],
)
def test_sources_outside_the_innermost(head, depth, by_surfaces, by_spheres):
    where = by_surfaces if isinstance(head, BEMModel) else by_spheres
    message = f"1 of 2 sources are not inside the {innermost(head)}: 1; the first lies {where}"
    with pytest.raises(ej.InputError, match=message):
        head.leadfield([DEEP, [0.0, depth, 0.0]], None, cap())


@pytest.mark.parametrize("off", [0.0, 1e-9, -1e-9, 5e-7])
@pytest.mark.parametrize("corners", [1, 2, 3])
def test_sources_on_the_innermost(head, off, corners):
    """On a corner, an edge and a face; within a micrometre of it, on either side."""
    some = np.asarray(icosphere(0.065).triangles)[3][:corners]
    on = np.asarray(icosphere(0.065).vertices)[some].mean(axis=0)
    length = np.linalg.norm(on) if isinstance(head, BEMModel) else 0.065
    on *= (length - off) / np.linalg.norm(on)
    message = f"1 of 2 sources lie on the {innermost(head)}.*: 1"
    with pytest.raises(ej.InputError, match=message):
        head.leadfield([DEEP, on], None, cap())


def test_sources_just_inside_are_taken(head):
    on = np.asarray(icosphere(0.065).vertices)[5]
    assert np.isfinite(head.leadfield([(1 - 1e-3) * on], None, cap()).gain).all()


def test_bad_orientations(head):
    with pytest.raises(ej.InputError, match="orientations must be"):
        head.leadfield([DEEP], np.eye(3), cap())
    for bad in (0.0, np.nan):
        with pytest.raises(ej.InputError, match="orientations at 1"):
            head.leadfield([DEEP, [0, 0, 0.01]], [[0, 0, 1.0], [0, 0, bad]], cap())


# ------------------------------------------------------------------ sensors
def test_sensors_at_a_source(bem):
    """An electrode, a reference and a coil; the sphere would project them outwards."""
    sphere = SphereModel(np.zeros(3), [0.085, 0.092], [0.3, 0.3])
    thin = BEMModel([icosphere(r, 2) for r in (0.085, 0.088, 0.092)], SIGMA)
    place = [0.0, 0.0, 0.08]
    message = r"source 1 and sensor {} are at the same place, \(0.0, 0.0, 80.0\) mm"
    for model in (sphere, thin):
        with pytest.raises(ej.InputError, match=message.format("Oz")):
            model.leadfield([DEEP, place], None, cap(place))
        with pytest.raises(ej.InputError, match=message.format("reference 1")):
            model.leadfield([DEEP, place], None, Sensors.eeg(TOP, reference=place))
        assert model.leadfield([DEEP, [0.0, 0.001, 0.08]], None, cap(place)).gain.shape[1] == 2
    with pytest.raises(ej.InputError, match=message.format("OPM 002")):
        sphere.leadfield([DEEP, place], None, opm([0, 0, 0.12], place))
    with pytest.raises(ej.InputError, match="1 MEG sensors lie inside the outer skin: OPM 002"):
        thin.leadfield([DEEP, place], None, opm([0, 0, 0.12], place))


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        (cap([0.0, 0.0, 0.03]), "1 electrodes .*: Oz"),
        (cap([0.0, 0.3, 0.0]), "1 electrodes .*: Oz"),
        (Sensors.eeg(1e3 * TOP), "2 sensors are up to 92 m .*: EEG 001, EEG 002; .*mm instead"),
        (opm([0, 0, 0.12], [0, 0, 0.08]), "1 MEG sensors lie inside the .*: OPM 002"),
        (opm([0, 0, 0.0925], size=5e-3), "1 MEG sensors lie inside the .*: OPM 001"),
        (opm([0, 0, 0.12], [0, 0, 120.0]), "1 sensors are up to 120 m .*: OPM 002; .*mm instead"),
    ],
)
def test_bad_sensors(head, sensors, message):
    with pytest.raises(ej.InputError, match=message):
        head.leadfield([DEEP], None, sensors)


def test_a_device_transform_in_mm(head):
    coils = opm([0, 0, 0.12]).coils
    moved = np.eye(4)
    moved[2, 3] = 30.0
    far = Coils(coils.points, coils.normals, coils.weights, jax.numpy.asarray(moved))
    with pytest.raises(ej.InputError, match="MEG 0111; are positions in mm"):
        head.leadfield([DEEP], None, Sensors(None, far, ("MEG 0111",), ("mag",)))


def test_one_layer_has_no_scalp():
    one = BEMModel([icosphere(0.08)], [0.3])
    with pytest.raises(ej.InputError, match=r"EEG 001; a one-layer.*EEG needs three layers"):
        one.leadfield([DEEP], None, Sensors.eeg([[0.0, 0.0, 0.095]]))
    with pytest.raises(ej.InputError, match="MEG sensors lie inside the inner skull: OPM 001"):
        one.leadfield([DEEP], None, opm([0.0, 0.0, 0.07]))
    with pytest.raises(ej.InputError, match="inside the inner skull: 0; the first lies outside of"):
        one.leadfield([[0.0, 0.0, 0.09]], None, opm([0.0, 0.0, 0.12]))


def test_nothing_is_looked_at_under_a_transformation(head):
    """Traced positions pass, right or wrong."""
    run = jax.jit(lambda p: head.leadfield(p, None, cap()).gain)
    assert run(np.array([DEEP, [0.0, 0.0, 3.0]])).shape == (2, 2, 3)


# ------------------------------------------------------------------ spheres
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(radii=[0.07, 0.065, 0.09]), r"grow outwards, got \[0.07, 0.065, 0.09\]"),
        (dict(radii=[0.07, 0.07, 0.09]), "grow outwards"),
        (dict(radii=[0.0, 0.07, 0.09]), "positive"),
        (dict(radii=[0.07, np.nan, 0.09]), "positive"),
        (dict(radii=[70, 78, 85.0]), "radius of 85 is no head's: .*metres"),
        (dict(radii=[0.08, 0.09]), "as many conductivities"),
        (dict(conductivities=[0.3, 0.0, 0.3]), r"shell 2 \(from the inside\) is 0 S/m"),
        (dict(conductivities=[0.3, 0.1, -0.1]), r"shell 3 \(from the inside\) is -0.1 S/m"),
        (dict(conductivities=[np.nan, 0.1, 0.1]), r"shell 1 \(from the inside\) is nan S/m"),
        (dict(centre=[0.0, np.nan, 0.0]), r"centre must be .*nan"),
        (dict(centre=[0.0, 0.0, 40.0]), r"centre must be .*40"),
    ],
)
def test_bad_spheres(change, message):
    good = dict(centre=np.zeros(3), radii=RADII, conductivities=SIGMA)
    with pytest.raises(ej.InputError, match=message):
        SphereModel(**{**good, **change})


# ------------------------------------------------------------------ surfaces
NAMES = ("inner skull", "outer skull", "outer skin")


def without_a_triangle(s):
    return Surface(s.vertices, s.triangles[1:])


def inside_out(s):
    return Surface(s.vertices, s.triangles[:, ::-1])


def one_turned(s):
    tris = np.array(s.triangles)
    tris[0] = tris[0, ::-1]
    return Surface(s.vertices, tris)


def with_vertex(s, vertex, place):
    rr = np.array(s.vertices)
    rr[vertex] = place
    return Surface(rr, s.triangles)


def two_at_one_place(s):
    a, b = np.asarray(s.triangles)[0, :2]
    return with_vertex(s, a, s.vertices[b])


def with_a_loose_vertex(s):
    return Surface(np.concatenate([s.vertices, np.zeros((1, 3))]), s.triangles)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_triangle, "is open .*3 edges have no partner .*-.*, as vertex numbers"),
        (one_turned, "do not all turn the same way: 3 edges"),
        (inside_out, "is inside out"),
        (lambda s: Surface(1e3 * s.vertices, s.triangles), "is 1.. m wide: .*in metres"),
        (lambda s: with_vertex(s, 7, np.nan), "has NaN or infinite vertices: 7"),
        (two_at_one_place, "has triangles without an area: 0, .*coincide"),
        (with_a_loose_vertex, "has vertices without a triangle: 42"),
        (lambda s: Surface(s.vertices, s.triangles + 5), "triangles without vertices"),
    ],
)
def test_bad_surfaces(layer, change, message):
    surfaces = three()
    surfaces[layer] = change(surfaces[layer])
    with pytest.raises(ej.InputError, match=f"the {NAMES[layer]} .*{message}"):
        BEMModel(surfaces, SIGMA)


def with_a_dent():
    """A finger of the skull into the middle of a large triangle of the brain, past its corners."""
    brain, skull = icosphere(0.065, 0), icosphere(0.078, 2)
    middle = np.asarray(brain.vertices)[np.asarray(brain.triangles)[0]].mean(axis=0)
    finger = int(np.argmax(np.asarray(skull.vertices) @ middle))
    return {0: brain, 1: with_vertex(skull, finger, 0.8 * middle)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {0: icosphere(0.092), 2: icosphere(0.065)},
            "outer skull is not inside the outer skin: 42",
        ),
        ({1: icosphere(0.078, centre=(0.02, 0, 0))}, r"outer skull .*: 13 of .* out \(2, 3, 9, 11"),
        ({2: icosphere(0.078)}, "outer skull is not inside the outer skin: 42"),
        ({1: icosphere(0.065)}, "inner skull is not inside the outer skull: 42"),
        ({0: with_vertex(three()[0], 7, [0, 0, 0.08])}, r"inner skull .*: 1 of .* out \(7\)"),
        (
            {0: icosphere(0.065, centre=(0, 0, 0.4))},
            "inner skull is not inside the outer skull: 42",
        ),
        (with_a_dent(), "the outer skull crosses the inner skull: 1 of its vertices lie inside"),
    ],
)
def test_crossing_surfaces(change, message):
    surfaces = [change.get(i, s) for i, s in enumerate(three())]
    with pytest.raises(ej.InputError, match=message):
        BEMModel(surfaces, SIGMA)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_surfaces_that_cross_themselves(layer):
    """A vertex is pulled over its neighbour, or through the whole surface."""
    surfaces = three()
    rr = np.asarray(surfaces[layer].vertices)
    away = np.linalg.norm(rr - rr[7], axis=1)
    other = int(np.argsort(away)[1])
    for place in (1.3 * rr[other] - 0.3 * rr[7], -1.1 * rr[7]):
        surfaces[layer] = with_vertex(three()[layer], 7, place)
        message = rf"the {NAMES[layer]} crosses itself: \d of its vertices .*7"
        with pytest.raises(ej.InputError, match=message):
            BEMModel(surfaces, SIGMA)


def test_as_many_surfaces_as_layers():
    with pytest.raises(ej.InputError, match=r"one or three surfaces .* got 2"):
        BEMModel(three()[:2], SIGMA)


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        ([0.3, 0.0, 0.3], "of the skull is 0 S/m"),
        ([-0.3, 0.006, 0.3], "of the brain is -0.3"),
        ([0.3, 0.006, np.inf], "of the scalp is inf"),
    ],
)
def test_bad_conductivities(bem, sigma, message):
    with pytest.raises(ej.InputError, match=message):
        BEMModel(three(), sigma)
    with pytest.raises(ej.InputError, match=message):
        bem.with_conductivities(sigma)


def shifted(by):
    motion = np.eye(4)
    motion[0, 3] = by
    return motion


@pytest.mark.parametrize(
    ("trans", "message"),
    [
        (2 * np.eye(4), "rotation is not orthogonal"),
        (np.diag([-1.0, 1.0, 1.0, 1.0]), "a mirror"),
        (shifted(10.0), "it moves by 10 m"),
        (shifted(0.02).T, "last row is not 0, 0, 0, 1"),
        (shifted(np.nan), "NaN or Inf"),
    ],
)
def test_bad_transforms(trans, message):
    with pytest.raises(ej.InputError, match=rf"trans .* must be a rigid motion .*{message}"):
        BEMModel(three(), SIGMA, trans)


def test_bad_solutions():
    with pytest.raises(ej.InputError, match=r"solution is .*for 126 vertices"):
        BEMModel(three(), SIGMA, solution=np.eye(5))
    with pytest.raises(ej.InputError, match="solution holds NaN"):
        BEMModel(three(), SIGMA, solution=np.full((126, 126), np.nan))
