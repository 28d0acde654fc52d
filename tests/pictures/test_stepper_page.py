"""The page that steps through backpropagation, and what notebooks show, in a real browser.

Needs Chromium or Chrome with its driver (Debian: chromium and chromium-driver) and Selenium (the
extra "browser"); skips without them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbackprop import SGD, Activation, Cost, Network
from cbackprop.drawing import PICTURES, THEMES

pytest.importorskip("selenium", reason="Selenium is not installed: pip install '.[browser]'")
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60  # seconds until something that never happens counts as a failure

XOR_X = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
XOR_Y = np.array([[0.0], [1.0], [1.0], [0.0]])

PHONE, DESKTOP = (390, 844), (1280, 900)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with a driver: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = program
    for switch in (
        "--headless=new",
        "--no-sandbox",  # which root has none of, in a container
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    try:
        chrome.set_page_load_timeout(PATIENCE)
        yield chrome
    finally:
        chrome.quit()


class Stepper:
    """A page in the browser."""

    def __init__(self, browser: Chrome, path: Path) -> None:
        self.browser = browser
        self.path = path

    def open(self, net: Network, X: Any, Y: Any, address: str = "", **arguments: Any) -> Stepper:
        self.path.write_text(net.stepper_html(X, Y, **arguments), encoding="utf-8")
        self.size(DESKTOP)
        self.theme("light")
        self.browser.get("about:blank")  # so that another # is another page
        self.browser.get(self.path.as_uri() + address)
        return self

    def size(self, size: tuple[int, int]) -> None:
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False},
        )

    def theme(self, theme: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": theme}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def find(self, selector: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def click(self, *ids: str) -> None:
        for name in ids:
            self.find(f"#{name}").click()

    def text(self, selector: str) -> str:
        return str(self.find(selector).get_property("textContent"))

    def all_digits(self) -> None:
        self.find('#digits option[value="all"]').click()
        # A busy browser answers the click before the page has heard of it.
        self.wait(lambda: self.find("#digits").get_property("value") == "all")

    def press(self, *keys: str) -> None:
        """Keys for whatever has the focus when they come: the page may have drawn it anew."""
        ActionChains(self.browser).send_keys(*keys).perform()

    def table(self, i: int = 0) -> list[list[str]]:
        """The texts of all cells of a table's body."""
        script = (
            "return [...document.querySelectorAll('#values table')[arguments[0]].tBodies[0].rows]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        return list(self.browser.execute_script(script, i))

    def under(self) -> list[str]:
        """The texts of the second row of a table's head: the factors of its columns."""
        script = (
            "return [...document.querySelectorAll('#values tr.under td')].map((c) => c.textContent)"
        )
        return list(self.browser.execute_script(script))

    def result(self) -> float:
        return number(self.text("#result"))

    def state(self) -> str:
        """All that is shown, the picture included."""
        script = "return document.querySelector('main').innerHTML"
        return str(self.browser.execute_script(script)).replace(' class=""', "")

    def place(self) -> list[int]:
        """Step and phase, from 1."""
        words = self.text("#where").replace(",", " ").replace(".", " ").split()
        return [int(words[1]), int(words[5])]

    def wait(self, condition: Any) -> None:
        WebDriverWait(self.browser, PATIENCE, poll_frequency=0.05).until(lambda _: condition())

    def complaints(self) -> list[Any]:
        return list(self.browser.get_log("browser"))


@pytest.fixture
def stepper(browser: Chrome, tmp_path: Path) -> Iterator[Stepper]:
    page = Stepper(browser, tmp_path / "step.html")
    yield page
    assert page.complaints() == []


def number(text: str) -> float:
    return float(text.strip("=·() ").replace("−", "-").replace("∞", "inf"))


def numbers(rows: list[list[str]], first: int = 1) -> np.ndarray:
    """The cells from column ``first`` on as numbers."""
    return np.array([[number(cell) for cell in row[first:]] for row in rows])


def equal(found: Any, *columns: Any) -> None:
    """Every digit: what is shown, parsed, is the library's number."""
    expected = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])
    np.testing.assert_array_equal(np.asarray(found), expected)


def softmax_network(dtype: str = "float64") -> tuple[Network, np.ndarray, np.ndarray]:
    net = Network([3, 4, 2, 3], ["tanh", "relu", "softmax"], "cross_entropy", dtype=dtype, seed=4)
    X = np.random.default_rng(0).normal(size=(3, 3))
    return net, X, np.eye(3)[[2, 0, 1]]


def own_network(dtype: str = "float64") -> tuple[Network, np.ndarray, np.ndarray]:
    activation = Activation(np.arctan, lambda z: 1 / (1 + z * z), name="arctan")
    cost = Cost(lambda a, y: ((a - y) ** 4).sum(axis=1), lambda a, y: 4 * (a - y) ** 3, "quartic")
    net = Network([2, 3, 2], activation, cost, dtype=dtype, seed=4)
    return net, XOR_X, np.column_stack([XOR_Y, 1 - XOR_Y])


def xor_network(dtype: str = "float64") -> tuple[Network, np.ndarray, np.ndarray]:
    return Network([2, 3, 1], seed=0, dtype=dtype), XOR_X, XOR_Y


# ---- the numbers shown ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (xor_network, "float64"),
        (xor_network, "float32"),
        (softmax_network, "float64"),
        (own_network, "float64"),
    ],
    ids=["xor", "float32", "softmax", "own"],
)
def test_every_phase_shows_the_library_s_numbers(stepper, make, dtype):
    """Two steps by clicks: the table of each phase against the library's calls, digit by digit."""
    net, X, Y = make(dtype)
    stepper.open(net, X, Y, learning_rate=0.8, steps=3)
    stepper.all_digits()
    L = len(net.sizes) - 1
    for i in range(2):
        x, y = X[i], Y[i]
        backward, gradient = net.backward(x, y), net.gradient(x, y)
        before = net.copy()
        net.partial_fit(x, y, optimizer=SGD(0.8))

        assert stepper.text("#phase") == f"Example {i + 1} of {len(X)} comes in"
        for l in range(1, L + 1):
            equal(numbers(stepper.table(l - 1)), before.weights[l - 1], before.biases[l - 1])
        stepper.click("step")
        for l in range(1, L + 1):
            assert stepper.text("#phase") == f"Layer {l}: weighted inputs z"
            W, b = before.weights[l - 1], before.biases[l - 1]
            equal(numbers(stepper.table()), W, b, backward.z[l])
            equal([[number(cell)] for cell in stepper.under()[1:-2]], backward.a[l - 1])
            assert stepper.result() == backward.z[l][0]
            stepper.click("step")
            equal(numbers(stepper.table()), backward.z[l], backward.a[l])
            assert stepper.result() == backward.a[l][0]
            stepper.click("step")
        assert stepper.text("#phase") == "The cost C of this example"
        equal(numbers(stepper.table()), backward.a[L], y)
        assert stepper.result() == backward.cost
        stepper.click("step")
        for l in range(L, 0, -1):
            assert stepper.text("#phase").startswith(f"Layer {l}: ∂C/∂a, ")
            if l == L:
                equal(numbers(stepper.table()), backward.a[l], y, backward.dC_da[l])
            else:
                equal(numbers(stepper.table()), before.weights[l].T, backward.dC_da[l])
                equal([[number(cell)] for cell in stepper.under()[1:-1]], backward.delta[l + 1])
            assert stepper.result() == backward.dC_da[l][0]
            stepper.click("step")
            assert stepper.text("#phase") == f"Layer {l}: δ = ∂C/∂z"
            da_dz, dC_da, delta = backward.da_dz[l], backward.dC_da[l], backward.delta[l]
            if net.activations[l - 1] == "softmax":
                equal(numbers(stepper.table()), da_dz.T, delta)
            else:
                equal(numbers(stepper.table()), backward.z[l], da_dz, dC_da, delta)
            assert stepper.result() == delta[0]
            stepper.click("step")
            W, b = gradient.weights[l - 1], gradient.biases[l - 1]
            equal(numbers(stepper.table()), delta, W, b)
            assert stepper.result() == W[0, 0]
            stepper.click("step")
        assert stepper.text("#phase") == "The update: a step downhill"
        equal(numbers(stepper.table()), before.parameters, gradient.vector, net.parameters)
        assert stepper.result() == net.weights[-1][0, 0]
        for cost in (backward.cost, net.cost(x, y), before.cost(X, Y), net.cost(X, Y)):
            shown = [element.text for element in stepper.all(".note .number")]
            assert float(cost) in map(number, shown)
        stepper.click("step")
    assert stepper.place() == [3, 1]


def test_a_formula_s_numbers(stepper):
    """The factors in the formula of a weight, in the order of the lesson's product."""
    net, X, Y = xor_network()
    stepper.open(net, X, Y, "#step=1&phase=12")
    stepper.all_digits()
    backward = net.backward(X[0], Y[0])
    factors = [number(element.text) for element in stepper.all(".lines p:nth-child(2) .number")]
    assert factors == [backward.a[0][0], backward.da_dz[1][0], backward.dC_da[1][0]]
    named = [number(element.text) for element in stepper.all(".factor .number")]
    assert named == factors


def test_rounding_is_for_show(stepper):
    net, X, Y = xor_network()
    stepper.open(net, X, Y, "#step=1&phase=2")
    z = float(net.forward(X[0]).z[1][0])
    assert stepper.result() == float(f"{z:.4g}")
    stepper.find('#digits option[value="6"]').click()
    assert stepper.result() == float(f"{z:.6g}")


def test_infinity_is_shown(stepper):
    net = Network([1, 1], "sigmoid", "cross_entropy")
    net.weights[0][...] = 1.0
    stepper.open(net, [800.0], [0.0], "#step=1&phase=5", steps=1)
    assert stepper.text("#result") == "= ∞"
    stepper.click("step")
    assert stepper.text("#result") == "= 1"
    assert "before rounding" in stepper.text(".note")


# ---- going on and back ---------------------------------------------------------------------------


def test_back_undoes_every_step(stepper):
    stepper.open(*xor_network(), steps=2)
    states = [stepper.state()]
    for _ in range(25):
        stepper.click("step")
        states.append(stepper.state())
    assert len(set(states)) == 26
    assert stepper.find("#step").get_attribute("aria-disabled") == "true"
    stepper.click("step")  # nothing is left: nothing happens
    assert stepper.state() == states[-1]
    for state in reversed(states[:-1]):
        stepper.click("back")
        assert stepper.state() == state
    assert stepper.find("#back").get_attribute("aria-disabled") == "true"
    stepper.click("back")
    assert stepper.state() == states[0]


def test_next_example_and_restart(stepper):
    stepper.open(*xor_network(), steps=3)
    stepper.click("step", "step", "next")
    assert stepper.place() == [2, 1]
    assert stepper.text("#phase") == "Example 2 of 4 comes in"
    stepper.click("next")
    assert stepper.place() == [3, 1]
    assert stepper.find("#next").get_attribute("aria-disabled") == "true"
    stepper.click("next")
    assert stepper.place() == [3, 1]
    stepper.click("restart")
    assert stepper.place() == [1, 1]


def test_phases_can_be_chosen(stepper):
    stepper.open(*xor_network())
    buttons = stepper.all("#phases button")
    assert len(buttons) == 13
    buttons[7].click()
    assert stepper.place() == [1, 8]
    assert stepper.text("#phases [aria-current=step]") == buttons[7].get_property("textContent")


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("#step=7", [7, 1]),
        ("#step=2&phase=13", [2, 13]),
        ("#step=99&phase=99", [20, 13]),
        ("#step=-1&phase=x", [1, 1]),
        ("#<script>", [1, 1]),
    ],
)
def test_address_chooses_the_place(stepper, address, place):
    stepper.open(*xor_network(), address)
    assert stepper.place() == place


def test_address_can_change(stepper):
    stepper.open(*xor_network())
    stepper.browser.execute_script("location.hash = 'step=4&phase=2'")
    stepper.wait(lambda: stepper.place() == [4, 2])


def test_play_and_pause(stepper):
    stepper.open(*xor_network(), steps=1)
    stepper.find('#pace option[value="500"]').click()
    stepper.click("play")
    assert stepper.text("#play") == "Pause"
    # While it plays, nobody wants it read out.
    assert stepper.find("#live").get_attribute("aria-live") == "off"
    stepper.wait(lambda: stepper.place()[1] >= 3)
    stepper.click("play")
    assert stepper.text("#play") == "Play"
    assert stepper.find("#live").get_attribute("aria-live") == "polite"
    place = stepper.place()
    stepper.browser.execute_async_script("setTimeout(arguments[0], 1500)")
    assert stepper.place() == place
    stepper.click("play")
    stepper.wait(lambda: stepper.place() == [1, 13] and stepper.text("#play") == "Play")


def test_any_button_pauses(stepper):
    stepper.open(*xor_network())
    stepper.click("play", "step")
    assert stepper.text("#play") == "Play"


# ---- choosing what is explained ------------------------------------------------------------------


def test_neurons_are_chosen_by_click(stepper):
    net, X, Y = xor_network()
    stepper.open(net, X, Y, "#step=1&phase=2")
    stepper.all_digits()
    z = net.forward(X[0]).z[1]
    for j in (2, 0, 1):
        stepper.all("#network .neuron.choosable")[j].click()
        assert stepper.result() == z[j]
        assert stepper.text("#values tr.chosen th") == str(j)
    stepper.all("#values tbody tr")[2].click()
    assert stepper.result() == z[2]
    (chosen,) = stepper.all('#network [aria-checked="true"]')
    assert chosen.get_attribute("aria-label") == "neuron 2 of layer 1"


def test_weights_and_biases_are_chosen_by_click(stepper):
    net, X, Y = xor_network()
    stepper.open(net, X, Y, "#step=1&phase=12")
    stepper.all_digits()
    gradient = net.gradient(X[0], Y[0])
    expected = np.column_stack([gradient.weights[0], gradient.biases[0]]).ravel()
    assert len(set(expected.tolist())) == 3  # x = (1, 1): ∂C/∂w = ∂C/∂b = δ in each row
    assert len(stepper.all('#network [role="radio"]')) == 9
    for i in (5, 2, 7):
        stepper.all("#values td.choosable")[i].click()
        assert stepper.result() == expected[i]
        (chosen,) = stepper.all("#values td.chosen")
        assert chosen.get_property("cellIndex") == 2 + i % 3
    for j, k, what in [
        (0, 0, "weight from neuron 0 of layer 0 to neuron 0 of layer 1"),
        (2, 1, "weight from neuron 1 of layer 0 to neuron 2 of layer 1"),
        (1, 2, "bias of neuron 1 of layer 1"),
    ]:
        part = f'#network [aria-label="{what}"]'
        stepper.find(part).click()
        assert stepper.find(part).get_attribute("aria-checked") == "true"
        assert stepper.result() == expected[3 * j + k]
        whole = f"∂C/∂b(1){j}" if k == 2 else f"∂C/∂w(1){j},{k}"
        assert stepper.text(".lines p").startswith(f"{whole} = ")


def test_keys(stepper):
    """Arrows step; in the picture, which Tab reaches, they choose, and the focus stays."""
    net, X, Y = xor_network()
    stepper.open(net, X, Y)
    stepper.all_digits()
    body = stepper.find("body")
    body.send_keys(Keys.ARROW_RIGHT)
    assert stepper.place() == [1, 2]
    body.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert stepper.place() == [1, 3]
    stepper.find("#phases li:last-child button").send_keys("")
    stepper.press(Keys.TAB)
    focused = stepper.browser.switch_to.active_element
    assert focused.get_attribute("aria-label") == "neuron 0 of layer 1"
    a = net.forward(X[0]).a[1]
    for key, j in [(Keys.ARROW_DOWN, 1), (Keys.ARROW_RIGHT, 2), (Keys.ARROW_DOWN, 0)]:
        stepper.press(key)
        focused = stepper.browser.switch_to.active_element
        assert focused.get_attribute("aria-label") == f"neuron {j} of layer 1"
        assert focused.get_attribute("aria-checked") == "true"
        assert stepper.result() == a[j]
    assert stepper.place() == [1, 3]


def test_keys_reach_every_parameter(stepper):
    """Arrow right goes through all weights and biases in the order of the gradient, and round."""
    net, X, Y = xor_network()
    gradient = net.gradient(X[0], Y[0])
    updated = net.copy()
    updated.partial_fit(X[0], Y[0], optimizer=SGD(0.5))
    for phase, expected in [
        (12, np.column_stack([gradient.weights[0], gradient.biases[0]]).ravel()),
        (9, [*gradient.weights[1][0], gradient.biases[1][0]]),
        (
            13,
            np.concatenate(
                [
                    np.column_stack(pair).ravel()
                    for pair in zip(updated.weights, updated.biases, strict=True)
                ]
            ),
        ),
    ]:
        stepper.open(net, X, Y, f"#step=1&phase={phase}")
        stepper.all_digits()
        start = stepper.find('#network [aria-checked="true"]')
        start.send_keys(Keys.ENTER)
        results = [stepper.result()]
        for _ in expected:
            stepper.press(Keys.ARROW_RIGHT)
            results.append(stepper.result())
        assert results[-1] == results[0]  # once round
        first = list(expected).index(results[0])
        assert results[:-1] == [*expected[first:], *expected[:first]]
        stepper.press(Keys.ARROW_LEFT)
        assert stepper.result() == results[-2]


# ---- for every reader ----------------------------------------------------------------------------


def test_every_phase_is_announced(stepper):
    net, X, Y = xor_network()
    stepper.open(net, X, Y)
    assert stepper.find("#live").get_attribute("role") == "status"
    assert stepper.find("#live").get_attribute("aria-live") == "polite"
    stepper.click("step")
    z = float(net.forward(X[0]).z[1][0])
    said = stepper.text("#live")
    assert said.startswith("Step 1, phase 2 of 13. Layer 1: weighted inputs z.")
    assert said.endswith(f"= {z:.4g}".replace("-", "−"))


def test_signs_show_without_colour(stepper):
    """Negative weights and neurons are dashed, the others are not."""
    net, X, Y = xor_network()
    stepper.open(net, X, Y)
    script = (
        "return [...document.querySelectorAll('#network .line line:last-child')]"
        ".map((line) => getComputedStyle(line).strokeDasharray)"
    )
    dashed = [dash != "none" for dash in stepper.browser.execute_script(script)]
    weights = np.concatenate([W.ravel() for W in net.weights])
    assert dashed == (weights < 0).tolist()
    assert 0 < sum(dashed) < len(dashed)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_fits_the_width(stepper, size, theme):
    """Nothing sticks out at any phase: what is wide scrolls within itself."""
    for make in (xor_network, softmax_network):
        net, X, Y = make()
        stepper.open(net, X, Y, steps=1)
        stepper.size(size)
        stepper.theme(theme)
        for _ in range(13):
            width = stepper.browser.execute_script("return document.documentElement.scrollWidth")
            assert width <= size[0]
            (top,) = stepper.browser.execute_script(
                "return [document.querySelector('#step').getBoundingClientRect().top]"
            )
            assert top >= 0
            stepper.click("step")
    ground = stepper.browser.execute_script(
        "return getComputedStyle(document.body).backgroundColor"
    )
    levels = [int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (min(levels) > 200) if theme == "light" else (max(levels) < 60)


def test_buttons_stay_in_reach(stepper):
    """On a phone, far down in the table of an update, Step is still on the screen."""
    stepper.open(*xor_network(), "#step=1&phase=13")
    stepper.size(PHONE)
    stepper.browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    box = stepper.browser.execute_script(
        "const box = document.querySelector('#step').getBoundingClientRect();"
        "return [scrollY, box.top, box.bottom, innerHeight]"
    )
    assert box[0] > 100
    assert 0 <= box[1] < box[2] <= box[3]


def test_nothing_is_loaded(stepper):
    stepper.open(*xor_network())
    loaded = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert stepper.browser.execute_script(loaded) == []


def test_hostile_names_are_text(stepper):
    """A name that tries to be markup is shown as it is, in every phase."""
    name = "</script><img src=x onerror=\"document.title='broken'\"> _{⟦` &amp;"
    net = Network(
        [2, 2, 1],
        Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2, name=name),
        Cost(lambda a, y: ((a - y) ** 2).sum(axis=1), lambda a, y: 2 * (a - y), name=name),
        seed=0,
    )
    stepper.open(net, XOR_X, XOR_Y, title=name, steps=1)
    assert stepper.text("h1") == name
    assert name in stepper.text("#about")
    for _ in range(13):
        assert stepper.all("img") == []
        stepper.click("step")
    assert stepper.browser.title == name.strip()


@pytest.mark.parametrize("sizes", [[4, 5, 3], [2, 6, 6, 2]])
def test_no_line_crosses_a_label_under_a_neuron(stepper, sizes):
    net = Network(sizes, seed=0)
    X = np.random.default_rng(0).normal(size=(1, sizes[0]))
    stepper.open(net, X, np.full((1, sizes[-1]), 0.5), steps=1)
    stepper.size((1280, 1600))
    script = """
        const crossed = [];
        for (const text of document.querySelectorAll("#network .name")) {
          if (!text.textContent.includes("=")) continue;
          const { left, top: above, width, height } = text.getBoundingClientRect();
          for (let i = 1; i < 24; i++) {
            for (let j = 1; j < 6; j++) {
              const at = [left + (width * i) / 24, above + (height * j) / 6];
              // A letter's whole cell counts as the text, seen through as it is.
              const tags = document.elementsFromPoint(...at).map((one) => one.tagName);
              const line = tags.indexOf("line");
              if (line < 0 || tags.slice(0, line).includes("rect")) continue;
              crossed.push(text.textContent);
            }
          }
        }
        return [crossed, document.querySelectorAll("#network .name").length];
    """
    for _ in range(6 * (len(sizes) - 1) - 1):
        crossed, labels = stepper.browser.execute_script(script)
        assert crossed == []
        assert labels >= sum(sizes[:1])
        stepper.click("step")


def test_the_heads_of_the_update_say_what_they_are(stepper):
    stepper.open(*xor_network(), "#step=1&phase=13")
    assert [cell.text for cell in stepper.all("#values thead th")] == [
        "parameter",
        "before",
        "∂C/∂w, ∂C/∂b",
        "after",
    ]


# ---- in notebooks --------------------------------------------------------------------------------

AROUND = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><style>
html { overflow-y: scroll; }
body { color: rgb(1, 2, 3); font: 17px serif; }
svg { fill: none; stroke: red; }
svg text, text { font-size: 40px; font-weight: 900; text-anchor: end; stroke: red; fill: red; }
main svg tspan { letter-spacing: 9px; }
line, svg circle, rect { stroke-width: 9px; stroke-dasharray: 1 2; stroke: red; fill: red; }
.node, .chosen, .paper, .point, .ink-text { fill: lime; }
</style></head><body><main><h1>A</h1><h2>B</h2><p>Text <var>v</var><sub>1</sub></p>
<table><caption>c</caption><thead><tr><th>a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>
<nav><button>b</button></nav><footer><ul class="factors"><li class="result">r</li></ul></footer>
<svg width="90" height="90" class="own"><text class="value" y="20">t</text>
<line class="positive" x2="9"/><circle class="ring" r="3"/><rect class="node paper"/></svg>
<details><summary>s</summary>d</details><pre>p</pre></main><section id="output"></section>
</body></html>"""

STYLES = """
    return [...document.querySelectorAll(arguments[0])].map((element) => {
      const style = getComputedStyle(element);
      return [...style]
        .filter((name) => !/^(perspective-origin|transform-origin|block-size|height)$/.test(name))
        .map((name) => `${element.tagName} ${name}: ${style[name]}`);
    });
"""


LOOKS = """
    const shape = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity"];
    const text = ["fill", "stroke", "font-family", "font-size", "font-style", "font-weight"]
      .concat(["text-anchor", "letter-spacing", "word-spacing", "opacity"]);
    const parts = "text, tspan, line, polyline, polygon, circle, rect";
    return [...document.querySelectorAll(`#output svg :is(${parts})`)].map((element) => {
      const style = getComputedStyle(element);
      const seen = element.tagName.startsWith("t") ? text : shape;
      // How wide the edge is of what has none is not seen.
      const names = style.stroke === "none" ? seen.filter((one) => !/stroke-/.test(one)) : seen;
      return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(name)]));
    });
"""


@pytest.fixture
def notebook(browser: Chrome, tmp_path: Path) -> Iterator[Stepper]:
    """A page with styles of its own, into whose section our output goes as a notebook puts it."""
    page = Stepper(browser, tmp_path / "notebook.html")
    page.path.write_text(AROUND, encoding="utf-8")
    page.size(DESKTOP)
    page.theme("light")
    browser.get(page.path.as_uri())
    yield page
    assert page.complaints() == []


def outputs() -> dict[str, str]:
    """All that a notebook shows."""
    net, X, Y = softmax_network()
    history = net.fit(X, Y, epochs=3, metrics=["accuracy"], validation_data=(X, Y))
    rule = net.chain_rule(X[0], Y[0])
    terms = [rule.weight(1, 2, 1), rule.bias(2, 1), rule.activation(1, 0)]
    shown: list[Any] = [net, history, rule, *terms, terms[0].nudges(), net.gradient(X, Y)]
    shown += [net.backward(X, Y), net.check_gradient(X, Y), history.plot()]
    for kind in PICTURES:
        for theme in THEMES:
            shown.append(terms[1].svg(kind, theme=theme))
    shown.append(net.stepper_html(X, Y, steps=1))
    return {f"{i} {type(one).__name__}": one._repr_html_() for i, one in enumerate(shown)}


def put(notebook: Stepper, html: str) -> None:
    script = "document.querySelector('#output').innerHTML = arguments[0]"
    notebook.browser.execute_script(script, html)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_output_changes_the_notebook_around_it(notebook, theme):
    notebook.theme(theme)
    around = "html, body, main, main *"
    before = notebook.browser.execute_script(STYLES, around)
    made = outputs()
    for name, html in [*made.items(), ("all", "".join(made.values()))]:
        put(notebook, html)
        assert notebook.browser.execute_script(STYLES, around) == before, name


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_notebook_changes_a_picture(notebook, theme):
    """Every property of every element is as on a page without rules; so among other pictures."""
    notebook.theme(theme)
    net, X, Y = softmax_network()
    rule = net.chain_rule(X[0], Y[0])
    pictures = [rule.svg(kind, theme=which) for kind in PICTURES for which in THEMES]
    pictures.append(net.fit(X, Y, epochs=3).plot())

    def styles() -> list[dict[str, str]]:
        return list(notebook.browser.execute_script(LOOKS))

    alone: list[dict[str, str]] = []
    notebook.browser.execute_script("document.styleSheets[0].disabled = true")
    for picture in pictures:
        put(notebook, picture)
        alone += styles()
    put(notebook, "".join(pictures))
    assert styles() == alone
    assert len(alone) > 500
    notebook.browser.execute_script("document.querySelector('style').sheet.disabled = false")
    changed = [pair for pair in zip(styles(), alone, strict=True) if pair[0] != pair[1]]
    assert changed == []


def test_the_page_of_steps_works_in_its_frame(notebook):
    net, X, Y = xor_network()
    put(notebook, net.stepper_html(X, Y, steps=2)._repr_html_())
    frame = notebook.find("iframe")
    size = notebook.browser.execute_script(
        "const { width, height } = arguments[0].getBoundingClientRect();"
        "return [width, height, document.documentElement.scrollWidth, innerWidth]",
        frame,
    )
    assert size[0] > 1000
    assert size[1] == 720
    assert size[2] <= size[3]
    notebook.browser.switch_to.frame(frame)
    try:
        notebook.wait(lambda: notebook.all("#phases button"))
        notebook.all_digits()
        notebook.click("step")
        assert notebook.result() == net.forward(X[0]).z[1][0]
        notebook.all("#network .neuron.choosable")[2].click()
        assert notebook.result() == net.forward(X[0]).z[1][2]
        notebook.press(Keys.ARROW_DOWN)
        notebook.click("next", "back")
        assert notebook.place() == [1, 13]
        # It cannot reach what is around it.
        reach = "try { return parent.document.title } catch (error) { return error.name }"
        assert notebook.browser.execute_script(reach) == "SecurityError"
        loaded = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
        assert notebook.browser.execute_script(loaded) == []
    finally:
        notebook.browser.switch_to.default_content()
