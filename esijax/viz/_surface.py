"""Surfaces on which maps are shown, and the way from source locations to them.

A map has one value per location. It is interpolated linearly over the triangles of the source
space, so that each location shows its own value and nothing exceeds the largest one.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.spatial import KDTree

from esijax._types import InputError
from esijax.io.subject import on_fsaverage
from esijax.viz import _mesh

__all__ = ["SIDES", "Cortex", "Hemisphere", "cortex"]

SIDES = ("left", "right")


class Hemisphere(NamedTuple):
    """A displayed surface and the way from locations to it.

    Parameters
    ----------
    coords : (vertices, 3)
        Display positions, mm (x right, y anterior, z superior).
    faces : (faces, 3)
        Triangles, outward.
    background : (vertices,)
        Brightness, from dark (sulci) to light (gyri), in [0, 1].
    spread : sparse (vertices, locations)
        Interpolation weights; an empty row where no location is near.
    """

    coords: np.ndarray
    faces: np.ndarray
    background: np.ndarray
    spread: sparse.csr_array


class Cortex(NamedTuple):
    """The two hemispheres; None where a source space has only one.

    Parameters
    ----------
    left, right : Hemisphere | None
        Surface, and the way from locations to it.
    """

    left: Hemisphere | None
    right: Hemisphere | None


def cortex(positions, triangles, vertno, subject, hemi) -> Cortex:
    """Prepare the surfaces on which maps are shown.

    On fsaverage (vertex numbers below 10242) this is the inflated fsaverage5; on any other
    subject the mesh of the source space itself, refined and smoothed until sulci open up.

    Parameters
    ----------
    positions : (locations, 3)
        Where the sources are, m, head or MRI coordinates.
    triangles : (triangles, 3)
        Mesh over the locations.
    vertno : (locations,)
        Vertex numbers on the subject's surfaces; None where unknown.
    subject : str | None
        Name of the subject.
    hemi : (locations,)
        0 left, 1 right; others are not shown.

    Returns
    -------
    Cortex
        Both hemispheres.

    Raises
    ------
    InputError
        Without triangles on a subject other than fsaverage (see `glass_points`).
    """
    positions, hemi = np.asarray(positions, float), np.asarray(hemi)
    triangles = np.zeros((0, 3), int) if triangles is None else np.asarray(triangles)
    known = vertno is not None and on_fsaverage(subject, np.asarray(vertno)[hemi >= 0])
    if not known and not len(triangles):
        raise InputError("a map on the cortex needs triangles; show glass_points instead.")
    sides = []
    for side in (0, 1):
        where = np.flatnonzero(hemi == side)
        own = np.full(len(positions), -1)
        own[where] = np.arange(len(where))
        tris = own[triangles]
        tris = tris[(tris >= 0).all(axis=1)]
        if known:
            made = _fsaverage(np.asarray(vertno)[where], tris, SIDES[side]) if len(where) else None
        else:
            made = _smooth_subject(positions[where], tris) if len(tris) else None
        if made is not None:
            to_own = sparse.csr_array(
                (np.ones(len(where)), (np.arange(len(where)), where)), (len(where), len(positions))
            )
            made = made._replace(spread=(made.spread @ to_own).tocsr())
        sides.append(made)
    return Cortex(*sides)


def _fsaverage(vertno, tris, side: str) -> Hemisphere:
    """Inflated fsaverage5 with its sulcal depth; interpolated on the sphere."""
    from nibabel.gifti.gifti import GiftiImage
    from nilearn.datasets import fetch_surf_fsaverage

    files = fetch_surf_fsaverage("fsaverage5")

    def arrays(name: str) -> list[np.ndarray]:
        return [a.data for a in GiftiImage.from_filename(files[f"{name}_{side}"]).darrays]

    coords, faces = arrays("infl")
    coords = coords.astype(float)
    spread = _on_sphere(arrays("sphere")[0].astype(float), vertno, tris)
    grey = _mesh.brightness(-arrays("sulc")[0])
    return Hemisphere(coords, _mesh.outward(coords, faces), grey, spread)


def _on_sphere(sphere, vertno, tris) -> sparse.csr_array:
    """Barycentric weights of all vertices in the triangles of a few; the nearest one in gaps."""
    nodes, rows = sphere[vertno], np.arange(len(sphere))
    gap, near = KDTree(nodes).query(sphere)
    spacing = np.median(KDTree(nodes).query(nodes, k=min(2, len(nodes)))[0][..., -1])
    corner = np.repeat(near[:, None], 3, axis=1)
    weight = np.tile([1.0, 0.0, 0.0], (len(sphere), 1)) * (gap < 2 * spacing + 5)[:, None]
    if len(tris):
        centre = nodes[tris].mean(axis=1)
        few = min(16, len(tris))
        _, cand = KDTree(centre).query(sphere, k=few)
        cand = cand.reshape(len(sphere), few)
        a, b, c = np.moveaxis(nodes[tris[cand]], 2, 0)
        p = sphere[:, None]
        w = np.stack([(p * np.cross(*e)).sum(-1) for e in ((b, c), (c, a), (a, b))], axis=-1)
        w /= w.sum(axis=-1, keepdims=True)
        best = np.argmax(w.min(axis=-1), axis=1)
        w, cand = w[rows, best], cand[rows, best]
        inside = w.min(axis=1) > -0.02
        corner[inside] = tris[cand[inside]]
        weight[inside] = np.maximum(w[inside], 0) / np.maximum(w[inside], 0).sum(1, keepdims=True)
    index = (np.repeat(rows, 3), corner.ravel())
    out = sparse.csr_array((weight.ravel(), index), (len(sphere), len(nodes)))
    out.eliminate_zeros()
    return out


def _smooth_subject(positions, tris) -> Hemisphere:
    """Refine and smooth the source mesh; what stood out of the smooth surface is a gyrus."""
    faces = _mesh.close_holes(positions, _mesh.without_crumbs(len(positions), tris))
    spread = _mesh.with_loose(positions, faces)
    while spread.shape[0] < 9000:
        finer, faces = _mesh.refine(spread.shape[0], faces)
        spread = (finer @ spread).tocsr()
    used, faces = np.unique(faces, return_inverse=True)
    faces, spread = faces.reshape(-1, 3), spread[used]
    folded = 1e3 * (spread @ positions)
    laplacian = _mesh.uniform_laplacian(len(folded), faces)
    folded = _mesh.relax(folded, laplacian, 0.5 * len(folded) / len(positions))  # rounds the facets
    smooth = _mesh.relax(folded, laplacian, 2e-3 * len(folded))  # the same width (mm) on any mesh
    size = np.ptp(folded, axis=0) / np.ptp(smooth, axis=0)
    smooth = (smooth - smooth.mean(axis=0)) * size + folded.mean(axis=0)
    faces = _mesh.outward(smooth, faces)
    height = ((folded - smooth) * _mesh.normals(smooth, faces)).sum(axis=1)
    return Hemisphere(smooth, faces, _mesh.brightness(height), spread)
