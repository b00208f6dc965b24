"""
What a point estimate hides: patches of cortex, optimised and sampled
=====================================================================

Two responses of one subject, a strong one (right visual field) and a weak one (left ear, three
averages). The cortex is cut into a hundred patches whose variances are unknown, and so is the
strength of the noise of MEG and of EEG. Expectation maximisation answers with one map. Sampling
answers with all maps that the data allow: for the strong response they agree on the hemisphere, for
the weak one they do not, and only the sampler tells.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np

import esijax as ej

jax.config.update("jax_enable_x64", True)

# %%
# The data: EEG and MEG of one subject, or of its simulated stand-in.

subject = ej.io.sample_subject()
print(subject.about)
peaks = {"Right visual": 0.10, "Left Auditory": 0.09}  # s

# %%
# One prior, two inferences. Laplace's approximation gives the sampler its start and its metric.

patches = ej.models.Components(ej.models.components.Patches(100))
noise = ej.models.noise.PerType()
figure, axes = plt.subplots(2, 3, figsize=(12, 6.5), layout="constrained")
for row, (condition, peak) in zip(axes, peaks.items(), strict=True):
    evoked = subject.evoked(condition, peak - 0.02, peak + 0.02)
    problem = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0)
    prior, kinds = patches.prepare(problem), noise.prepare(problem).types
    mode = ej.solve(problem, prior, ej.inference.EM(), noise=noise)
    laplace = ej.inference.Laplace(num_maps=5)
    rough = ej.solve(problem, prior, laplace, noise=noise, key=jax.random.key(0))
    sampler = ej.inference.NUTS(150, 500, 4, num_maps=100)
    whole = ej.solve(problem, prior, sampler, noise=noise, init=rough, key=jax.random.key(1))
    print(
        condition, whole.verdict()["result"], {k: whole.verdict()[k] for k in ("rhat", "ess_bulk")}
    )

    # the strongest patches: their variance by EM, and what the sampler allows
    draws = np.asarray(whole.hyper["gamma"])
    first = np.argsort(-np.median(draws, axis=0))[:15]
    low, middle, high = np.quantile(draws[:, first], (0.05, 0.5, 0.95), axis=0)
    row[0].errorbar(
        range(15), middle, np.stack([middle - low, high - middle]), fmt=".", label="NUTS, 90 %"
    )
    row[0].plot(range(15), np.asarray(mode.hyper["gamma"])[first], "r_", ms=9, label="EM")
    row[0].set(yscale="log", xlabel="strongest patches", ylabel="$\\gamma$", title=condition)
    row[0].legend(frameon=False, fontsize=8)

    # where the map peaks: one answer, or one per posterior draw
    n_left = len(problem.labels.vertices[0])
    middle_time = problem.n_times // 2
    maps = np.abs(
        np.asarray(whole.sample(jax.random.key(1), 400, at=(None, [middle_time])))[:, :, 0, 0]
    )
    one = np.abs(np.asarray(mode.mean)[:, 0, middle_time])
    share = np.mean(maps[:, :n_left].max(axis=1) > maps[:, n_left:].max(axis=1))
    side = "left" if one[:n_left].max() > one[n_left:].max() else "right"
    row[1].bar(["left", "right"], [share, 1 - share], color=["C0", "C1"])
    row[1].set(ylim=(0, 1), title=f"Pr(hemisphere of the peak); EM says {side}")

    # the noise, relative to the noise covariance of the file
    for i, kind in enumerate(kinds):
        scale = np.asarray(whole.hyper["noise_scale"])[:, i]
        row[2].hist(scale, bins=40, density=True, histtype="step", color=f"C{i}", label=kind)
        row[2].axvline(float(mode.hyper["noise_scale"][i]), color=f"C{i}", ls="--", lw=1)
    row[2].set(xlabel="noise scale (dashed: EM)", title="noise, per kind of sensor")
    row[2].legend(frameon=False, fontsize=8)
plt.show()

# %%
# For the strong response the bars of the hemisphere leave no doubt; for the weak one EM names a
# side and the sampler gives the other nearly half. Left: EM's variances (dashes) lie in the lower
# half of their intervals.
