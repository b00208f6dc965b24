"""Heads of triangulated spheres."""

import numpy as np

from esijax.forward import Surface

SIGMA = np.array([0.3, 0.006, 0.3])
RADII = np.array([0.065, 0.078, 0.092])


def icosphere(radius, level=1, centre=(0.0, 0.0, 0.0)):
    """A sphere of 20 x 4^level triangles, normals outwards."""
    g = (1 + np.sqrt(5)) / 2
    rr = [(a, b * g, 0) for a in (-1, 1) for b in (-1, 1)]
    rr = np.array([np.roll(v, k) for k in range(3) for v in rr], dtype=float)
    rr /= np.linalg.norm(rr, axis=1, keepdims=True)
    near = np.linalg.norm(rr[:, None] - rr, axis=2).round(6)
    link = near == np.unique(near)[1]
    n = len(rr)
    tris = [
        (i, j, k)
        for i in range(n)
        for j in range(i)
        for k in range(j)
        if link[i, j] and link[j, k] and link[i, k]
    ]
    for _ in range(level):
        cut, middle = [], {}
        points = list(rr)
        for t in tris:
            for a, b in ((0, 1), (1, 2), (2, 0)):
                key = tuple(sorted((t[a], t[b])))
                if key not in middle:
                    middle[key] = len(points)
                    points.append(rr[t[a]] + rr[t[b]])
            m = [middle[tuple(sorted((t[a], t[b])))] for a, b in ((0, 1), (1, 2), (2, 0))]
            cut += [(t[0], m[0], m[2]), (m[0], t[1], m[1]), (m[2], m[1], t[2]), tuple(m)]
        rr = np.array([p / np.linalg.norm(p) for p in points])
        tris = cut
    tris = np.array(tris)
    a, b, c = (rr[tris[:, i]] for i in range(3))
    inside_out = np.sum(a * np.cross(b, c), axis=1) < 0
    tris[inside_out] = tris[inside_out][:, ::-1]
    return Surface(np.asarray(centre) + radius * rr, tris)


def three(level=1, radii=RADII):
    return [icosphere(r, level) for r in radii]
