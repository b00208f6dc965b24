"""The page in a real browser: the slider moves the map, the keyboard reaches all, no errors."""

import shutil
import time

import numpy as np
import pytest
from test_cortex import octahedron

import esijax as ej
from esijax.viz import cortex as viz
from esijax.viz import interactive

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = "--headless=new --no-sandbox --disable-gpu --enable-unsafe-swiftshader --disable-sync"
MOST = 12e6  # bytes, of a page with one condition and method

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromium-driver"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*FLAGS.split(), "--window-size=1300,1000", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def element(browser, name):
    return browser.find_element("id", name)


def shown(browser, **wanted):
    """Wait until the plot says that it shows this."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        found = element(browser, "plot")
        if all(found.get_attribute(f"data-{k}") == str(v) for k, v in wanted.items()):
            return
        time.sleep(0.05)
    raise AssertionError(f"never showed {wanted}")


def pixels(browser):
    import io

    from matplotlib.image import imread

    return imread(io.BytesIO(element(browser, "plot").screenshot_as_png))[..., :3]


def coloured(browser):
    return float((np.ptp(pixels(browser), axis=-1) > 0.3).mean())


def errors(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def page_of(tmp_path_factory, spheres):
    """Two balls; the first frame is bare, then ever more of the left one is coloured."""
    rr, faces = octahedron(3)
    n, apart = len(rr), np.array([1.2, 0.0, 0.0])
    positions = 0.035 * np.concatenate([rr - apart, rr + apart])
    surfaces = viz.cortex(
        positions, np.concatenate([faces, faces + n]), np.tile(np.arange(n), 2), "someone",
        np.repeat([0, 1], n),
    )  # fmt: skip
    outer = np.argsort(positions[:, 0])
    frames = np.zeros((6, 2 * n))
    for k in range(1, 6):
        frames[k, outer[: 8 * k]] = 1.0
    film = interactive.Film(
        viz.Map(frames[2], "nA m", 0.4, "plasma", (0, 1), spheres=spheres), frames
    )
    fixed = viz.Map(np.linspace(0, 1, 2 * n), "nA m", cmap="viridis")
    page = interactive.view_maps(
        surfaces,
        {"mean": film, "SD": interactive.Film(fixed, np.asarray(fixed.values)[None], True)},
        times=[10.0 * k for k in range(6)],
        start=2,
    )
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.mark.parametrize("spheres", [False, True])
def test_the_slider_moves_the_map(browser, tmp_path_factory, spheres):
    from selenium.webdriver.common.keys import Keys

    browser.get(page_of(tmp_path_factory, spheres).as_uri())
    shown(browser, frame=2, map="mean")
    assert element(browser, "now").text == "20 ms"
    element(browser, "map")
    browser.find_element("css selector", 'button[data-eye^="-1.8 0"]').click()
    slider, shares = element(browser, "time"), []
    for k in range(6):
        slider.send_keys(Keys.HOME if k == 0 else Keys.ARROW_RIGHT)
        shown(browser, frame=k)
        assert element(browser, "now").text == f"{10 * k} ms"
        assert slider.get_attribute("aria-valuetext") == f"{10 * k} ms"
        time.sleep(0.3)
        shares.append(coloured(browser))
    assert np.diff(shares).min() > 0, shares
    element(browser, "left").click()  # hides the hemisphere with all the colour
    time.sleep(1.0)
    assert coloured(browser) < (shares[0] + shares[1]) / 2
    element(browser, "map").send_keys("SD")
    shown(browser, map="SD")
    assert element(browser, "now").text == "all times"
    assert not slider.is_enabled()
    assert not errors(browser)


def test_all_that_can_be_chosen_is_reached_by_tab_and_has_a_name(browser, tmp_path_factory):
    from selenium.webdriver.common.keys import Keys

    browser.get(page_of(tmp_path_factory, False).as_uri())
    shown(browser, frame=2)
    reached = []
    for _ in range(20):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        now = browser.switch_to.active_element
        if now.tag_name == "body":
            break
        reached.append((now.get_attribute("id") or now.text, now.accessible_name.strip()))
    assert [who for who, _ in reached[:4]] == ["map", "time", "left", "right"]
    assert [who for who, _ in reached[4:9]] == ["left", "right", "above", "front", "behind"]
    names = [name for _, name in reached]
    assert names[1].startswith("time")
    assert names[2:4] == ["left hemisphere", "right hemisphere"]
    assert all(names)
    controls = browser.find_elements("css selector", "select, input, button, a[href], [onclick]")
    assert len(controls) == len(reached) == 9


def test_report_of_a_real_response(browser, evoked, forward, noise_cov, tmp_path):
    from selenium.webdriver.common.keys import Keys

    problem = ej.from_mne(evoked, forward, noise_cov)
    solved = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear("dSPM"))
    path = ej.report(solved, tmp_path / "report.html")
    assert path.stat().st_size < MOST
    browser.get(path.as_uri())
    frame = browser.find_element("css selector", "iframe[srcdoc]")
    assert frame.get_attribute("title")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", frame)
    browser.switch_to.frame(frame)
    shown(browser, map="posterior mean")
    before = int(element(browser, "plot").get_attribute("data-frame"))
    assert coloured(browser) > 2e-3
    element(browser, "time").send_keys(Keys.ARROW_LEFT)
    shown(browser, frame=before - 1)
    browser.switch_to.default_content()
    assert not errors(browser)
