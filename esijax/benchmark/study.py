"""What a benchmark is run on: sensors, noise, the forward inverted and the one that makes data."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mne
import numpy as np

from esijax import io, simulate
from esijax._types import InputError
from esijax.problem import Problem
from esijax.simulate import Head, PatchTable

SFREQ, N_TIMES = 200.0, 60
LARGEST_PATCH = 12e-4  # m2
N_WRONG = 4  # heads; seeds take them in turn
STD = {"eeg": 1e-6, "mag": 1.5e-14, "grad": 3e-13}  # sensor noise of single trials, V, T, T/m


@dataclass(frozen=True)
class Study:
    """Sensors, noise and heads.

    Parameters
    ----------
    info : mne.Info
        Sensors, projectors, bad channels.
    forward : mne.Forward
        Inverted; free orientation.
    truth_forward : mne.Forward
        Makes the data: a finer grid, so that no inverse crime flatters anyone.
    noise_cov : mne.Covariance
        Of single trials.
    bem : mne.bem.ConductorModel | None
        Head model of `truth_forward`, for scenarios in which the head is wrong.
    nave : int
        Averages.
    """

    info: mne.Info
    forward: mne.Forward
    truth_forward: mne.Forward
    noise_cov: mne.Covariance
    bem: "mne.bem.ConductorModel | None" = None
    nave: int = 20

    @classmethod
    def template(cls) -> "Study":
        """64 EEG and 306 MEG channels on the template head; ico4 makes the data, oct5 inverts.

        The noise is independent activity of 1 nA m at every location of the cortex, plus sensor
        noise.
        """
        coarse = io.template("biosemi64", meg=True, spacing="oct5")
        fine = io.template("biosemi64", meg=True, spacing="ico4", bem=coarse.bem)
        fixed = mne.convert_forward_solution(fine.forward, force_fixed=True, verbose="ERROR")
        gain = 1e-9 * fixed["sol"]["data"].astype(float)
        std = np.array([STD[kind] for kind in coarse.info.get_channel_types()])
        names = list(coarse.info["ch_names"])
        cov = mne.Covariance(gain @ gain.T + np.diag(std**2), names, [], [], nfree=10_000)
        return cls(coarse.info, coarse.forward, fine.forward, cov, coarse.bem, nave=100)

    def problem(
        self, picks: Any = None, loose: Any = "auto", depth: Any = 0.8, noise_cov: Any = None
    ) -> Problem:
        """Problem of some channels with noise as its data, to be replaced by simulated ones."""
        noise_cov = self.noise_cov if noise_cov is None else noise_cov
        rng = np.random.default_rng(0)
        types = self.info.get_channel_types()
        scale = np.array([STD.get(kind, 1.0) for kind in types])[:, None] / np.sqrt(self.nave)
        noise = scale * rng.standard_normal((len(types), N_TIMES))
        info = self.info.copy()
        with info._unlock():
            info["sfreq"] = SFREQ
        evoked = mne.EvokedArray(noise, info, tmin=0.0, nave=self.nave, verbose="ERROR")
        return io.from_mne(evoked, self.forward, noise_cov, loose, depth, picks=picks)

    def head(self, problem: Problem) -> Head:
        """Head that makes the data of a problem, sources along the cortical normals."""
        return io.simulation_head(self.truth_forward, problem, fixed=True)

    def wrong_heads(self, problem: Problem) -> list[Head]:
        """The same head with errors that are typical of a co-registration, drawn a few times."""
        return [io.simulation_head(f, problem, fixed=True) for f in self.perturbed]

    @cached_property
    def perturbed(self) -> list[mne.Forward]:
        """Lead fields of `truth_forward` with a skull 1.7 times as conductive, all things moved.

        4 mm and 3 degrees of co-registration error, electrodes off by 5 mm.
        """
        import jax

        if self.bem is None:
            raise InputError(
                "a wrong head needs the head model of the forward: give --bem, a -bem-sol.fif."
            )
        skull = (0.3, 0.01, 0.3) if len(self.bem["surfs"]) == 3 else None
        bem = self.bem if skull is None else io.with_conductivity(self.bem, skull)
        return [
            io.perturbed_forward(
                self.truth_forward,
                bem,
                key=jax.random.key(i),
                shift_mm=4.0,
                rotation_deg=3.0,
                electrode_mm=5.0,
            )
            for i in range(N_WRONG)
        ]

    @cached_property
    def patches(self) -> PatchTable:
        """Patches of up to 12 cm2 on the grid that makes the data."""
        return simulate.patch_table(io.geometry(self.truth_forward), LARGEST_PATCH)

    @cached_property
    def deep(self) -> np.ndarray:
        """Locations of that grid 3 cm below the hull of the cortex and deeper."""
        return simulate.deep(io.geometry(self.truth_forward))

    @cached_property
    def electrodes(self) -> list[str]:
        """Names of 32 EEG channels that are spread evenly; of as many MEG channels without EEG."""
        types, bads = np.array(self.info.get_channel_types()), set(self.info["bads"])
        kind = next(k for k in ("eeg", "mag", "grad") if (types == k).any())
        index = [i for i in np.flatnonzero(types == kind) if self.info["ch_names"][i] not in bads]
        where = np.array([self.info["chs"][i]["loc"][:3] for i in index])
        chosen = simulate.spread_channels(where, min(32, len(index)))
        return [self.info["ch_names"][index[c]] for c in chosen]
