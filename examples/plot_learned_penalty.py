"""
A penalty that is learned: shrinkage from simulations, by derivatives through the solver
========================================================================================

Which penalty is best depends on what sources are like. `Learned` leaves its slope open at a few
amplitudes, and `jax.grad` goes through `solve`: gradient descent on simulated data, whose truth is
known, finds the slopes and the weight. Amplitudes are relative to the data, so that what was
learned can be used on any.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import esijax as ej
from esijax.inference import MAP

jax.config.update("jax_enable_x64", True)

# %%
# The lead field of MNE's sample subject (or of its stand-in), thinned to 150 locations; data sets
# of two to six sources, weak and strong, in white noise.

subject = ej.io.sample_subject()
print(subject.about)
evoked = subject.evoked("Right visual", 0.08, 0.1)
real = ej.from_mne(evoked, subject.forward, subject.noise_cov, loose=0.0)
rng = np.random.default_rng(0)
some = np.sort(rng.choice(real.n_locations, 150, replace=False))
weighted = np.asarray(real.gain * real.prior_scale)[:, some, 0]


def simulated(n_times=5):
    """Sources (locations, orients, times) in normalised units, and data."""
    z = np.zeros((150, 1, n_times))
    for place in rng.choice(150, rng.integers(2, 7), replace=False):
        course = rng.standard_normal(n_times)
        power = (
            rng.choice([3.0, 12.0]) / np.linalg.norm(weighted[:, place]) / np.linalg.norm(course)
        )
        z[place, 0] = power * course
    field = weighted @ z[:, 0]
    return z, field + rng.standard_normal(field.shape)


test = [simulated() for _ in range(40)]
problem = ej.from_arrays(weighted, test[0][1], noise_cov=1.0)

# %%
# The error of one data set as a function of the penalty. Everything is an argument, so that one
# compiled function serves all sets and steps.


@jax.jit
def error(penalty, truth, recording):
    """Squared error of the sources over the square of the truth."""
    estimate = ej.solve(problem.with_data(recording), penalty, MAP(tol=1e-7))
    return jnp.sum((estimate.mean - truth) ** 2) / jnp.sum(truth**2)


def learned(theta):
    """Weight as a share of alpha_max, and slopes that are positive."""
    return ej.models.Learned(ej.relative(jax.nn.sigmoid(theta[0])), jnp.exp(theta[1:]))


slope = jax.jit(jax.value_and_grad(lambda theta, *rest: error(learned(theta), *rest)))
theta = jnp.array([-1.0, 0.0, 0.0, 0.0, 0.0])  # the mixed norm
adam = optax.adam(optax.cosine_decay_schedule(0.3, 40))
state, course = adam.init(theta), []
for _ in range(40):  # each step on data that were never seen
    values, slopes = zip(*(slope(theta, *simulated()) for _ in range(8)), strict=True)
    course.append(float(np.mean(values)))
    update, state = adam.update(jnp.mean(jnp.stack(slopes), axis=0), state)
    theta = optax.apply_updates(theta, update)

# %%
# Against penalties that have names, at the weight that is best for the very data they are tried on.

errors = {"learned": [float(error(learned(theta), z, y)) for z, y in test]}
names = {"mixed norm": ej.models.L21, "MCP": ej.models.MCP, "LogSum": ej.models.LogSum}
for name, cls in names.items():
    each = [
        [float(error(cls(ej.relative(share)), z, y)) for z, y in test]
        for share in np.geomspace(0.6, 0.03, 7)
    ]
    errors[name] = min(each, key=np.mean)
for name, found in errors.items():
    print(f"{name}: mean error on new data {np.mean(found):.3f}")

figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
axes[0].plot(course, ".-")
axes[0].set(title="training", xlabel="step", ylabel="squared error / square of the truth")
final = learned(theta)
knots = np.concatenate([[0], np.asarray(final.knots), [4]])
axes[1].plot(knots, np.concatenate([[1], final.slopes, final.slopes[-1:]]), "o-", label="learned")
axes[1].plot(knots, np.ones(6), color="0.6", label="mixed norm")
axes[1].plot([0, 1, 4], [1, 0, 0], color="0.6", ls="--", label="MCP")
axes[1].set(title="slope of the penalty", xlabel="amplitude of a location / tau", ylim=(0, None))
axes[1].legend()
axes[2].boxplot(list(errors.values()), tick_labels=list(errors))
axes[2].set(title="error on new data")
plt.show()

# %%
# Left: the error falls as slopes are learned. Middle: the learned slope begins like the mixed
# norm's and falls with the amplitude, as that of a concave penalty does. Right: what that is
# worth on data that training has not seen.
