"""The picture of calibration."""

import doctest

import matplotlib.pyplot as plt
import numpy as np
import pytest

import esijax as ej
from esijax.metrics import Calibration
from esijax.viz import sbc
from esijax.viz._style import LINES
from esijax.viz.sbc import plot_ecdf


def made(n_quantities, narrow=()):
    u = np.random.default_rng(0).uniform(size=(400, n_quantities))
    for i in narrow:
        u[:, i] = np.where(u[:, i] < 0.5, u[:, i] ** 2 * 2, 1 - 2 * (1 - u[:, i]) ** 2)
    names = tuple(f"gamma[{i}]" for i in range(n_quantities))
    return Calibration(names, (99,) * n_quantities, 100 * u, np.zeros(n_quantities))


def test_panels_and_colours():
    result = made(6, narrow=[4])
    figure = plot_ecdf(result)
    figure.canvas.draw()
    assert len(figure.axes) == 6
    colours = [ax.lines[-1].get_color() for ax in figure.axes]
    assert [c == LINES[1] for c in colours] == [i == 4 for i in range(6)]
    assert figure.axes[4].get_title().startswith("gamma[4]: p = ")
    z, shares = figure.axes[2].lines[-1].get_data()
    at = len(z) // 3
    want = (result.pit[:, 2] <= z[at]).mean() - z[at]
    assert shares[at] == pytest.approx(want)
    plt.close("all")


def test_the_worst_are_shown_where_there_are_many():
    figure = plot_ecdf(made(30, narrow=[7, 22]))
    titles = [ax.get_title() for ax in figure.axes]
    assert len(titles) == 16
    assert any(t.startswith("gamma[7]:") for t in titles)
    assert any(t.startswith("gamma[22]:") for t in titles)
    assert "14 more not shown" in figure.get_suptitle()
    plt.close("all")


def test_choice_of_quantities():
    figure = plot_ecdf(made(5), names=["gamma[3]"])
    assert len(figure.axes) == 1
    plt.close("all")
    with pytest.raises(ej.InputError, match=r"names must be among .* got \['mu'\]"):
        plot_ecdf(made(2), names=["mu"])


def test_example():
    done = doctest.testmod(sbc)
    assert done.attempted > 0
    assert done.failed == 0
    plt.close("all")
