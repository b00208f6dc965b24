"""Names of classes in saved files, and where each class lives now.

A file names a class by its entry here, so that moving a class changes one line of this table and
no file. An entry keeps its name for ever. Where two classes share a name, one entry has the name
of its package in front: ``noise.Diagonal`` is a noise model, ``Diagonal`` a source covariance.

Files of version 0.1.0 hold a module and a class, ``esijax.models.noise.diagonal:Diagonal``: they
are read by the name of the class and, for entries with a package, that package's name.
"""

import dataclasses
import importlib
from typing import Any

from esijax._types import InputError

HOMES = {
    # the estimate and its problem
    "Estimate": "esijax.estimate",
    "Problem": "esijax.problem",
    "Whitener": "esijax.whitener",
    "Geometry": "esijax.geometry",
    "Labels": "esijax.labels",
    "Record": "esijax.labels",
    "NoiseTime": "esijax.noise_time",
    "InBasis": "esijax.in_basis",
    # head and sensors
    "SphereModel": "esijax.forward.sphere",
    "BEMModel": "esijax.forward.bem",
    "Surface": "esijax.forward.surface",
    "Sensors": "esijax.forward.sensors",
    "Electrodes": "esijax.forward.sensors",
    "Coils": "esijax.forward.sensors",
    # posteriors
    "GaussianPosterior": "esijax.models.posteriors.gaussian",
    "MixturePosterior": "esijax.models.posteriors.mixture",
    "PointPosterior": "esijax.models.posteriors.point",
    "LinearPoint": "esijax.models.posteriors.point",
    "SeparablePosterior": "esijax.models.posteriors.separable",
    "DrawnPosterior": "esijax.models.posteriors.drawn",
    "Pair": "esijax._ops.separable",
    "Modes": "esijax._ops.separable",
    "FilterPosterior": "esijax.inference.linear.beamformer",
    "AtSamples": "esijax.at_samples",
    "WavesPosterior": "esijax.models.posteriors.waves",
    "WaveLaw": "esijax.models.posteriors.waves",
    "DrawnWaves": "esijax.models.temporal._drawn_waves",
    # diagnostics
    "Convergence": "esijax.inference.collapsed.em.em",
    "Ascent": "esijax.inference.collapsed.vb.vb",
    "Optimum": "esijax.inference.collapsed._maximise",
    "GaussianChecks": "esijax.inference.collapsed._weights",
    "GuideChecks": "esijax.inference.collapsed._weights",
    "ChainDiagnostics": "esijax.inference.collapsed.sampling._verdict",
    "SweepDiagnostics": "esijax.inference.collapsed.sampling._verdict",
    "FitCheck": "esijax.inference.learned.fit_check",
    "WeightChecks": "esijax.inference.learned.amortised",
    "Optimality": "esijax.inference.sparse.base.optimality",
    # source covariances
    "Diagonal": "esijax.models.source_cov",
    "BlockDiagonal": "esijax.models.source_cov",
    "GraphSmooth": "esijax.models.source_cov",
    "Factored": "esijax.models.source_cov",
    "Added": "esijax.models.source_cov",
    # priors
    "MinimumNorm": "esijax.models.priors.gaussian",
    "WeightedMinimumNorm": "esijax.models.priors.gaussian",
    "LORETA": "esijax.models.priors.gaussian",
    "ELORETA": "esijax.models.priors.gaussian",
    "Components": "esijax.models.priors.components",
    "Sum": "esijax.models.priors.linear",
    "ScaleMixture": "esijax.models.priors.scale_mixture",
    "ARD": "esijax.models.priors.scale_mixture",
    "StudentT": "esijax.models.priors.scale_mixture",
    "TemporalBasis": "esijax.models.temporal.basis",
    "Waves": "esijax.models.temporal.waves",
    "Horseshoe": "esijax.models.priors.scale_mixture",
    "GroupLaplace": "esijax.models.priors.scale_mixture",
    "Kronecker": "esijax.models.temporal.kronecker",
    "temporal.Given": "esijax.models.temporal._rows",
    "Cosines": "esijax.models.temporal._rows",
    "Largest": "esijax.models.temporal._rows",
    "Window": "esijax.models.temporal._rows",
    # covariances in time
    "time.White": "esijax.models.time.kernels",
    "SquaredExponential": "esijax.models.time.kernels",
    "Periodic": "esijax.models.time.kernels",
    "Matern": "esijax.models.time.matern",
    "Autoregressive": "esijax.models.time.autoregressive",
    "Oscillator": "esijax.models.time.oscillator",
    "time.Sum": "esijax.models.time.time",
    "Spanned": "esijax.models.temporal._rows",
    # hyper-priors
    "Flat": "esijax.models.hyperpriors",
    "Given": "esijax.models.hyperpriors",
    "HalfCauchyScale": "esijax.models.hyperpriors",
    "HierarchicalLogNormal": "esijax.models.hyperpriors",
    "SparseSimplex": "esijax.models.hyperpriors",
    "BlockNorm": "esijax.models.hyperpriors",
    # covariance components, and what they are once built
    "IID": "esijax.models.components.component",
    "Fixed": "esijax.models.components.component",
    "Weighted": "esijax.models.components.component",
    "Plus": "esijax.models.components.component",
    "Times": "esijax.models.components.component",
    "Kernels": "esijax.models.components.kernels",
    "components.Labels": "esijax.models.components.labels",
    "Covariance": "esijax.models.components.matrix",
    "Factor": "esijax.models.components.matrix",
    "Map": "esijax.models.components.matrix",
    "Patches": "esijax.models.components.patches",
    "Smooth": "esijax.models.components.smooth",
    "DepthWeighted": "esijax.models.components.weighted",
    "EBB": "esijax.models.components.weighted",
    "Separate": "esijax.models.parts",
    "Listed": "esijax.models.parts",
    "LowRank": "esijax.models.parts",
    "Whole": "esijax.models.parts",
    "Joined": "esijax.models.parts",
    # noise
    "White": "esijax.models.noise.noise",
    "Scalar": "esijax.models.noise.scalar",
    "noise.Diagonal": "esijax.models.noise.diagonal",
    "noise.LowRank": "esijax.models.noise.low_rank",
    "PerType": "esijax.models.noise.per_type",
    "InTime": "esijax.models.noise.in_time",
}


def stored_name(cls: type) -> str:
    """Name under which objects of a class are stored.

    Raises
    ------
    InputError
        For a class that is not in the table: a user's own, or one that no estimate holds.
    """
    name = _entry(cls.__module__, cls.__qualname__)
    if name is None or HOMES[name] != cls.__module__:
        raise InputError(f"cannot store an object of the class {cls.__qualname__}, {_reason(cls)}.")
    return name


def class_named(name: str) -> Any:
    """Class of a stored name; nothing but the classes of the table is ever imported or called.

    Raises
    ------
    InputError
        For a name that this version of esijax does not have.
    """
    module, colon, cls_name = name.rpartition(":")
    entry = _entry(module, cls_name) if colon else name
    if colon and not module.startswith("esijax."):
        raise InputError(f"the file names the foreign class {name!r}.")
    if entry not in HOMES:
        raise InputError(f"the file names {name!r}, which this version of esijax does not have.")
    return getattr(importlib.import_module(HOMES[entry]), entry.rpartition(".")[2])


def fill_defaults(cls: Any, stored: dict[str, Any]) -> dict[str, Any]:
    """All fields of a class: as stored, and by default where the file is older than the field.

    Raises
    ------
    InputError
        Naming fields that this version does not know, or that have no default.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(stored) - set(fields))
    if unknown:
        raise InputError(
            f"{cls.__name__} has {', '.join(unknown)} in the file, which this version of esijax "
            "does not know."
        )
    return {
        name: stored[name] if name in stored else _default(cls, fields[name]) for name in fields
    }


def _entry(module: str, cls_name: str) -> str | None:
    """Entry of a class in some module, wherever that was; entries with a package come first."""
    for package in reversed(module.split(".")):
        if f"{package}.{cls_name}" in HOMES:
            return f"{package}.{cls_name}"
    return cls_name if cls_name in HOMES else None


def _reason(cls: type) -> str:
    ours = cls.__module__.startswith("esijax.")
    return "which files do not hold" if ours else "which is not of esijax"


def _default(cls: Any, field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        raise InputError(f"{cls.__name__} has no {field.name} in the file.")
    return field.metadata.get("converter", lambda given: given)(value)
