"""Triangle meshes: refine, smooth, close holes; normals and brightness."""

from itertools import pairwise

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

LONGEST_LOOP = 60  # open edges; a larger gap is meant
GREY = 0.72  # of a gyrus; a sulcus is darker


def edges(faces):
    """All directed edges (3 faces, 2)."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def with_loose(positions, faces):
    """Show a location outside the mesh too: its nearest vertex takes the average with it."""
    used = np.unique(faces)
    loose = np.setdiff1d(np.arange(len(positions)), used)
    near = used[KDTree(positions[used]).query(positions[loose])[1]]
    extra = sparse.csr_array((np.ones(len(loose)), (near, loose)), (len(positions),) * 2)
    weights = (sparse.eye_array(len(positions)) + extra).tocsr()
    return sparse.diags_array(1.0 / weights.sum(axis=1)) @ weights


def without_crumbs(n: int, faces):
    """Leave out pieces of a few triangles that hang nowhere."""
    _, piece = sparse.csgraph.connected_components(uniform_laplacian(n, faces))
    size = np.bincount(piece[faces[:, 0]], minlength=piece.max() + 1)
    return faces[size[piece[faces[:, 0]]] > 0.01 * len(faces)]


def close_holes(positions, faces):
    """Fill the gaps that left-out locations leave, around a loose location where one is inside."""
    loose = np.setdiff1d(np.arange(len(positions)), faces)
    fans = []
    for loop in open_loops(faces):
        centre = positions[loop].mean(axis=0)
        reach = np.linalg.norm(positions[loop] - centre, axis=1).max()
        away = np.linalg.norm(positions[loose] - centre, axis=1)
        if away.min(initial=np.inf) < reach:
            hub, loose = loose[away.argmin()], np.delete(loose, away.argmin())
            fans += [(hub, i, j) for i, j in zip(loop, loop[1:] + loop[:1], strict=True)]
        else:
            fans += [(loop[0], i, j) for i, j in pairwise(loop[1:])]
    return np.concatenate([faces, np.array(fans, dtype=faces.dtype).reshape(-1, 3)])


def open_loops(faces) -> list[list[int]]:
    """Follow the edges that have a triangle on one side only, against its direction."""
    directed = {tuple(e) for e in edges(faces).tolist()}
    follow: dict[int, list[int]] = {}
    for a, b in sorted(directed):
        if (b, a) not in directed:
            follow.setdefault(b, []).append(a)
    loops = []
    for start in follow:
        path = [start]
        while follow.get(path[-1]):
            there = follow[path[-1]].pop()
            if there in path:  # a loop is closed, perhaps a smaller one on the way
                loops.append(path[path.index(there) :])
                path = path[: path.index(there)]
            path.append(there)
        loops.append(path)  # what is left of it, where edges with three triangles cut the walk
    return [loop for loop in loops if 3 <= len(loop) <= LONGEST_LOOP]


def refine(n: int, faces):
    """Split each triangle into four; weights (n + edges, n) that put vertices at midpoints."""
    pairs, back = np.unique(np.sort(edges(faces), axis=1), axis=0, return_inverse=True)
    ab, bc, ca = n + back.reshape(3, -1)
    a, b, c = faces.T
    quads = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    rows = np.repeat(np.arange(len(pairs)), 2)
    half = sparse.csr_array((np.full(pairs.size, 0.5), (rows, pairs.ravel())), (len(pairs), n))
    finer = sparse.vstack([sparse.eye_array(n), half]).tocsr()
    return finer, np.concatenate([np.stack(q, axis=1) for q in quads])


def uniform_laplacian(n: int, faces):
    i, j = edges(faces).T
    adjacency = sparse.csr_array((np.ones(len(i)), (i, j)), (n, n))
    return sparse.csgraph.laplacian(((adjacency + adjacency.T) > 0).astype(float)).tocsc()


def relax(coords, stiffness, amount: float):
    """Smooth a surface by one implicit step of diffusion."""
    return splu((sparse.eye_array(len(coords)) + amount * stiffness).tocsc()).solve(coords)


def face_normals(coords, faces):
    a, b, c = coords[faces[:, 0]], coords[faces[:, 1]], coords[faces[:, 2]]
    return np.cross(b - a, c - a)


def normals(coords, faces):
    """Give each vertex its unit normal, (vertices, 3)."""
    area = np.repeat(face_normals(coords, faces), 3, axis=0)
    total = np.stack([np.bincount(faces.ravel(), x, len(coords)) for x in area.T], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def outward(coords, faces):
    """Order the triangles so that the enclosed volume is positive."""
    centred = coords - coords.mean(axis=0)
    volume = (centred[faces[:, 0]] * face_normals(centred, faces)).sum()
    return faces if volume > 0 else faces[:, ::-1]


def brightness(height):
    """Grey of gyri (positive height) and sulci."""
    return GREY + 0.16 * np.tanh(1.5 * (height - np.median(height)) / np.std(height))
