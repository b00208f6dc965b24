"""Checks of the noise: before time zero, where no source reaches, channel by channel."""

import numpy as np
import scipy.stats

from esijax.trust.check import Check, graded
from esijax.trust.inputs import TrustInputs

INF = float("inf")
BEFORE = (0.8, 1.25), (0.65, 1.5)  # rms over the one stated: green, amber
UNEVEN = 1.15  # rms of whitened directions over that of channels: another shape, not another size
SILENT = 1.1, 1.75  # variance over that of the baseline
LEAK = 0.005  # of the response's power in a direction, in those that no source reaches
CHANCE = 4.0  # standard deviations
CHANNEL = 2.0, 4.0  # times what chance may do, of a channel over what is usual for its kind
SOURCES = 1 / 75  # of that ratio counts where there are sources: one may lie below one channel
CHANNEL_LEVEL = 1e-3  # false alarms over all channels together
FLAT = 0.05  # of the standard deviation of its noise
CONDITION = 1e8, 1e12


def before_zero(e: TrustInputs) -> list[Check]:
    """Compare the baseline with the noise that is stated, or learned."""
    record, level = e.record, np.sqrt(e.learned or 1.0)
    if record.rms_before is None or record.channel_before is None:
        return _nothing_shows(e)
    rms, channel = record.rms_before / level, record.channel_before / level
    light = graded(rms, *BEFORE)
    of = "that was learned with the map" if e.learned else "that noise_cov and nave state"
    told = f"before time zero the whitened data have {rms:.2f} times the rms {of}"
    return [Check("noise before time zero", rms, BEFORE[0], light, told, _why(e, rms, channel))]


def _why(e: TrustInputs, rms: float, channel: float) -> str:
    """What to do where the baseline is not as stated."""
    if BEFORE[0][0] <= rms <= BEFORE[0][1]:
        return ""
    uneven = rms / channel if rms > 1 else channel / rms
    if uneven < UNEVEN:
        return (
            "the noise is of another size, the same in all directions: check nave and the units of "
            "noise_cov, or let noise=PerType() learn its level"
        )
    band, nyquist = e.record.band, e.record.sfreq / 2
    below = f" (below {band:.0f} Hz it would fit)" if band and 2 < band < 0.9 * nyquist else ""
    return (
        f"the covariance is of another band or another recording{below}: filter the data as those "
        "that noise_cov was estimated from, or estimate it again from these; noise=PerType() "
        'learns a level for each sensor type, noise_time="auto" how samples go together'
    )


def _nothing_shows(e: TrustInputs) -> list[Check]:
    """Say so where neither a baseline nor silent directions show the noise."""
    if e.silent is not None:
        return []
    n = e.record.n_before
    told = f"{n} samples before time zero: nothing shows whether the noise is as stated"
    return [
        Check(
            "noise before time zero", float(n), (10.0, INF), "amber", told,
            "give the problem a baseline, and crop it afterwards (problem.crop)",
        )
    ]  # fmt: skip


def where_no_source_reaches(e: TrustInputs) -> list[Check]:
    """Compare the window, in directions that the lead field cannot explain, with the baseline."""
    if e.silent is None:
        return []
    ratio = float(np.mean(e.silent**2)) / e.noise
    response = max(float(np.mean(e.data**2)) / e.noise - 1, 0.0)
    chance = CHANCE * np.sqrt(2 / (len(e.silent) * e.n_effective))
    green, amber = (limit + chance + LEAK * response for limit in SILENT)
    light = graded(ratio, (-INF, green), (-INF, amber))
    told = (
        f"in {len(e.silent)} directions that no source reaches the window has {ratio:.2f} times "
        "the variance of the noise"
    )
    slow = (
        "the noise is slower than the baseline is long or the head sits elsewhere than the lead "
        'field says: high-pass the data or state noise_time="auto", check the co-registration '
        "and look for artefacts"
    )
    return [
        Check("where no source reaches", ratio, (-INF, green), light, told,
              "" if light == "green" else slow)
    ]  # fmt: skip


def channels(e: TrustInputs) -> list[Check]:
    """Find single channels that are unlike what all others foretell of them."""
    flat = _flat(e)
    ratio = _over_chance(e.channel_ratios, e.n_of_errors) * SOURCES
    if (before := e.channel_ratios_before) is not None:
        ratio = np.maximum(ratio, _over_chance(before, e.record.n_effective))
    loud = np.flatnonzero((ratio > CHANNEL[0]) | flat)
    loud = loud[np.lexsort((-ratio[loud], ~flat[loud]))][:5]
    worst, limit = float(ratio.max()), (-INF, CHANNEL[0])
    light = "red" if flat.any() else graded(worst, *((-INF, top) for top in CHANNEL))
    if light == "green":
        told = "no channel is unlike what the others foretell of it"
        return [Check("single channels", worst, limit, light, told)]
    names = e.problem.labels.ch_names
    named = ", ".join(names[i] if names else f"channel {i}" for i in loud)
    what = "no noise at all" if flat.any() else f"{worst:.1f} times the error that chance allows"
    told = f"{named}: {what}, foretold from all other channels"
    advice = "mark it bad (info['bads']) and compute the map again"
    return [Check("single channels", worst, limit, light, told, advice)]


def _over_chance(ratio: np.ndarray, n: float) -> np.ndarray:
    """Ratios of mean squares over what n samples of noise reach in one of a thousand data sets."""
    n = max(n, 1.0)
    return ratio / (scipy.stats.chi2.isf(CHANNEL_LEVEL / len(ratio), n) / n)


def _flat(e: TrustInputs) -> np.ndarray:
    """Channels without noise."""
    std = np.sqrt(np.sum(np.asarray(e.problem.whitener.colorer) ** 2, axis=1))
    heard = np.asarray(e.problem.recording)
    size = np.sqrt(
        np.mean(heard**2, axis=tuple(i for i in range(heard.ndim) if i != heard.ndim - 2))
    )
    return size < FLAT * std if heard.shape[-1] >= 5 else np.zeros(len(std), bool)


def conditioning(e: TrustInputs) -> list[Check]:
    """Condition number of the noise correlations, in the dimensions that are kept."""
    colorer = np.asarray(e.problem.whitener.colorer)
    std = np.sqrt(np.sum(colorer**2, axis=1, keepdims=True))
    values = np.linalg.svd(colorer / np.where(std > 0, std, 1.0), compute_uv=False)
    number = float((values[0] / values[-1]) ** 2) if values[-1] > 0 else INF
    light = graded(number, *((-INF, limit) for limit in CONDITION))
    told = f"the noise correlations have the condition number {number:.1e}"
    advice = "estimate noise_cov with shrinkage or from more samples, or state its rank"
    return [
        Check("conditioning", number, (-INF, CONDITION[0]), light, told,
              "" if light == "green" else advice)
    ]  # fmt: skip


def sensors(e: TrustInputs) -> list[Check]:
    """What the channels alone say of every map that is made of them."""
    n, remarks = e.problem.labels.n_eeg, e.problem.labels.remarks
    return [
        Check("sensors", float(n), (64.0, INF), "amber", remark.rstrip("."),
              "read the map no finer than that, or record with more electrodes")
        for remark in remarks
    ]  # fmt: skip
