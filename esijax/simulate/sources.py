"""Where the sources are: dipoles and cortical patches, drawn by a key, with fixed shapes."""

import abc
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from esijax._types import InputError, Scalar, is_traced
from esijax.simulate._ranges import Range, as_range, positive_count
from esijax.simulate.head import Head
from esijax.simulate.patches import PatchTable

Orientation = Literal["normal", "random"]


class Placement(eqx.Module):
    """Where the sources of one data set are, and how they point.

    Parameters
    ----------
    seeds : (sources,)
        Location in the middle of each source.
    index : (sources, members)
        Locations that each source is made of.
    moment : (sources, members, orients)
        Moment of each member per unit of the source's wave, along the orient axes of the head;
        the norms of a source's members sum to 1; zero for members that are not used.
    """

    seeds: Int[Array, " sources"]
    index: Int[Array, "sources members"]
    moment: Float[Array, "sources members orients"]


class Sources(eqx.Module):
    """What draws a `Placement`; implement `draw`."""

    n: eqx.AbstractVar[int]

    @abc.abstractmethod
    def draw(self, key: PRNGKeyArray, head: Head) -> Placement:
        """Place the sources in a head."""

    def check(self, head: Head) -> None:
        """Raise InputError for what a compiled draw cannot see."""
        region = getattr(self, "region", None)
        if region is not None and not is_traced(region) and int(region.max()) >= head.n_locations:
            raise InputError(
                f"region names location {int(region.max())}, the head has {head.n_locations}."
            )


class Dipoles(Sources):
    """Single locations, uniformly among all or among those of a region.

    Parameters
    ----------
    n : int
        Number of sources; they are at different locations.
    min_distance : float
        m, straight lines between sources. Each is drawn uniformly among the locations that
        lie farther than this from the earlier ones; where there is none, at the farthest.
    region : array of int, optional
        Locations to draw from, as `deep` gives; all by default.
    orientation : "normal" | "random"
        Along the surface normal, or uniform on the sphere.

    Raises
    ------
    InputError
        For a number, distance, region or orientation that makes no sense; when drawn, if the
        head lacks what the orientation needs.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> positions = ej.Geometry(positions=jnp.asarray(rng.standard_normal((50, 3))))
    >>> head = ej.simulate.Head(rng.standard_normal((8, 50, 1)), positions)
    >>> ej.simulate.Dipoles(3).draw(jax.random.key(0), head).index.shape
    (3, 1)
    """

    n: int = eqx.field(static=True)
    min_distance: Scalar
    region: Int[Array, " candidates"] | None
    orientation: Orientation = eqx.field(static=True)

    def __init__(
        self,
        n: Any = 1,
        *,
        min_distance: Any = 0.0,
        region: Any = None,
        orientation: Any = "normal",
    ):
        self.n = positive_count(n, "the number of sources")
        self.min_distance = as_range(min_distance, "min_distance (m)")[0]
        self.region = _candidates(region)
        self.orientation = _orientation(orientation)

    def draw(self, key: PRNGKeyArray, head: Head) -> Placement:
        """Place the sources in a head."""
        where, how = jax.random.split(key)
        uniform = jax.random.uniform(where, (self.n,))
        seeds = _scattered(uniform, head, self.min_distance, self.region)
        index = seeds[:, None]
        return Placement(seeds, index, _directions(how, head, index, self.orientation))


class Patches(Sources):
    """Areas of cortex, grown along the mesh around seeds drawn as for `Dipoles`.

    Parameters
    ----------
    table : PatchTable
        Of the head's mesh, from `patch_table`.
    n : int
        Number of patches.
    area : float | (float, float)
        m2, or a range from which each patch draws its own, uniformly. EEG sees 6 to 10 cm2 and
        more (Tao et al. 2005, doi:10.1111/j.1528-1167.2005.11404.x); MEG 3 cm2 and more.
    profile : "smooth" | "flat"
        Whether the density falls towards the rim, as in `patch`.
    min_distance : float
        m between the seeds; patches of 10 cm2 are about 3.6 cm wide and may overlap below that.
    region : array of int, optional
        Locations to draw the seeds from.
    orientation : "normal" | "random"
        Each member along its own normal, or one direction, uniform on the sphere, for all.

    Raises
    ------
    InputError
        As for `Dipoles`; for an area above that of the table; when drawn, if the table is of
        another grid.

    Examples
    --------
    >>> import esijax as ej
    >>> table = ej.simulate.patch_table(head.geometry, 10e-4)  # doctest: +SKIP
    >>> two = ej.simulate.Patches(table, 2, area=(6e-4, 10e-4))  # doctest: +SKIP
    """

    table: PatchTable
    n: int = eqx.field(static=True)
    area: Range
    profile: Literal["smooth", "flat"] = eqx.field(static=True)
    min_distance: Scalar
    region: Int[Array, " candidates"] | None
    orientation: Orientation = eqx.field(static=True)

    def __init__(
        self,
        table: PatchTable,
        n: Any = 1,
        area: Any = (6e-4, 10e-4),
        *,
        profile: Any = "smooth",
        min_distance: Any = 0.0,
        region: Any = None,
        orientation: Any = "normal",
    ):
        if profile not in ("smooth", "flat"):
            raise InputError(f"profile must be 'smooth' or 'flat', got {profile!r}.")
        self.table = table
        self.n = positive_count(n, "the number of patches")
        self.area = as_range(area, "the area of patches (m2)", open_end=True)
        if not is_traced(self.area) and float(self.area[1]) > table.max_area * (1 + 1e-9):
            raise InputError(
                f"patches of {1e4 * float(self.area[1]):g} cm2 need a table that reaches as far: "
                f"patch_table(geometry, max_area={float(self.area[1]):g}); this one has "
                f"{1e4 * table.max_area:g} cm2."
            )
        self.profile = profile
        self.min_distance = as_range(min_distance, "min_distance (m)")[0]
        self.region = _growing(_candidates(region), table)
        self.orientation = _orientation(orientation)

    def draw(self, key: PRNGKeyArray, head: Head) -> Placement:
        """Place the patches in a head."""
        if len(self.table.members) != head.n_locations:
            raise InputError(
                f"the patch table is of {len(self.table.members)} locations, the head has "
                f"{head.n_locations}: make it from the head's own geometry."
            )
        where, how = jax.random.split(key)
        uniform, size = jax.random.uniform(where, (2, self.n))
        seeds = _scattered(uniform, head, self.min_distance, self.region)
        areas = self.area[0] + (self.area[1] - self.area[0]) * size
        grow = jax.vmap(lambda s, a: self.table.grow(s, a, smooth=self.profile == "smooth"))
        index, share = grow(seeds, areas)
        direction = _directions(how, head, index, self.orientation)
        return Placement(seeds, index, share[..., None] * direction)


def _candidates(region: Any) -> Any:
    """Candidate locations as integers, or None for all."""
    if region is None or is_traced(region):
        return region
    found = np.asarray(region)
    if found.ndim != 1 or len(found) == 0 or found.dtype.kind not in "iu" or found.min() < 0:
        raise InputError("region must be a list of locations (whole numbers), at least one.")
    return jnp.asarray(found)


def _growing(region: Any, table: PatchTable) -> Any:
    """Candidates from which a patch can grow; those without a triangle are left out."""
    if is_traced((region, table)):
        return region
    grows = np.asarray(table.areas).sum(axis=1) > 0
    if region is None:
        return None if grows.all() else jnp.asarray(np.flatnonzero(grows))
    kept = np.asarray(region)
    kept = kept[(kept >= len(grows)) | grows[np.minimum(kept, len(grows) - 1)]]
    if len(kept) == 0:
        raise InputError("no location of the region has any cortical area: no patch can grow.")
    return jnp.asarray(kept)


def _orientation(orientation: Any) -> Orientation:
    if orientation not in ("normal", "random"):
        raise InputError(f"orientation must be 'normal' or 'random', got {orientation!r}.")
    return orientation


def _scattered(
    uniform: Float[Array, " sources"], head: Head, min_distance: Scalar, region: Any
) -> Int[Array, " sources"]:
    """Distinct locations, one after the other, each far enough from the earlier ones."""
    n = len(uniform)
    candidates = jnp.arange(head.n_locations) if region is None else region
    if n > len(candidates):
        raise InputError(f"{n} sources do not fit into {len(candidates)} locations.")
    where = head.positions[candidates]

    def pick(nearest, u):
        # that share of those allowed: exact, and no draw per location
        allowed = jnp.cumsum(nearest > min_distance)
        rank = jnp.floor(u * allowed[-1]) + 1
        chosen = jnp.where(allowed[-1] > 0, jnp.searchsorted(allowed, rank), jnp.argmax(nearest))
        apart = jnp.linalg.norm(where - where[chosen], axis=1)
        return jnp.minimum(nearest, apart), candidates[chosen]

    start = jnp.full(len(candidates), jnp.inf)
    return jax.lax.scan(pick, start, uniform)[1]


def _directions(
    key: PRNGKeyArray, head: Head, index: Int[Array, "sources members"], orientation: Orientation
) -> Float[Array, "sources members orients"]:
    """Unit vectors in the head's orient axes, one per member."""
    frames, normals = head.geometry.frames, head.geometry.normals
    if orientation == "normal":
        if head.n_orients == 1:
            return jnp.ones((*index.shape, 1))
        if normals is None:
            raise InputError("orientation 'normal' needs normals in the head's geometry.")
        along = normals[index]
    else:
        if head.n_orients == 1:
            raise InputError(
                "the head's lead field has fixed orientations: orientation 'random' needs three."
            )
        along = jax.random.normal(key, (len(index), 1, 3))
        along = along / jnp.linalg.norm(along, axis=-1, keepdims=True)
        along = jnp.broadcast_to(along, (*index.shape, 3))
    return along if frames is None else jnp.einsum("smod,smd->smo", frames[index], along)
