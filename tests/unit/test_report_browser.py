"""What a person sees of a report in a browser: figures, colours, tables that sort, on wide and narrow screens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from run_examples import write_methods
from test_report import finding, write_diagnosis

from headstart.report import page

LABELS = ["calql", "cql-with-a-name-that-does-not-fit-on-a-phone-at-all"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of two methods with long names, one of them diagnosed."""
    folder = tmp_path_factory.mktemp("report")
    write_methods(folder / "runs", **dict(zip(LABELS, (1, 0), strict=True)))
    write_diagnosis(folder / "runs" / "calql" / "finetune", finding(verdict="word" * 60))
    return page.write([folder / "runs"], folder / "report").page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra test)")
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("there is no Chromium with its driver (on Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


def show(browser, page: Path, width: int, scheme: str) -> None:
    """Open the report, from disk, on a screen of that width."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get(page.absolute().as_uri())


@pytest.mark.parametrize(("width", "size"), [(1280, "wide"), (360, "narrow")])
def test_page_fits_the_screen_and_shows_its_figures(browser, report, width, size):
    show(browser, report, width, "light")
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    boxes = browser.execute_script(
        """return [...document.querySelectorAll("figure")].map(figure => [...figure.querySelectorAll(".figure")]
            .map(part => [part.className.split(" ")[0], part.clientWidth, part.firstChild.clientHeight]))"""
    )
    assert len(boxes) > 5
    for parts in boxes:
        # Exactly one size of every figure is shown, and it has a size.
        (seen,) = [part for part in parts if part[1] > 0]
        assert seen[0] in (size, "any")
        assert min(seen[1:]) > 60
    # Text in figures stays readable: at least 9 pixels as shown.
    smallest = browser.execute_script(
        """return Math.min(...[...document.querySelectorAll("svg text")].filter(text => text.getClientRects().length)
            .map(text => parseFloat(getComputedStyle(text).fontSize)
                * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b)))"""
    )
    assert smallest >= 9.0


def test_colours_follow_the_scheme(browser, report):
    found = {}
    for scheme in ("light", "dark"):
        show(browser, report, 1280, scheme)
        found[scheme] = browser.execute_script(
            """const tick = document.querySelector("svg text");
            return [getComputedStyle(document.body).backgroundColor, getComputedStyle(tick).fill,
                    getComputedStyle(document.querySelector("svg path[style*='series-1']")).stroke]"""
        )
    (paper, text, line), (dark_paper, dark_text, dark_line) = found["light"], found["dark"]
    assert paper == "rgb(255, 255, 255)"
    assert len({paper, dark_paper, text, dark_text}) == 4
    assert line != dark_line


def test_tables_sort_by_mouse_and_by_keyboard(browser, report):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, report, 1280, "light")
    table = browser.find_element(By.CSS_SELECTOR, "#results table.sortable")
    columns = [head.text for head in table.find_elements(By.CSS_SELECTOR, "thead th")]

    def state(name: str) -> tuple[str | None, list[str], list[float]]:
        at = columns.index(name)
        rows = [
            row.find_elements(By.CSS_SELECTOR, "th, td") for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")
        ]
        head = table.find_elements(By.CSS_SELECTOR, "thead th")[at]
        keys = [row[at].get_attribute("data-key") for row in rows]
        return head.get_attribute("aria-sort"), [row[0].text for row in rows], keys

    def button(name: str):
        return table.find_elements(By.CSS_SELECTOR, "thead th button")[columns.index(name)]

    assert state("method")[:2] == (None, LABELS)
    button("method").click()
    assert state("method")[:2] == ("ascending", LABELS)
    button("method").click()
    assert state("method")[:2] == ("descending", LABELS[::-1])
    for key, order in ((Keys.ENTER, "ascending"), (Keys.SPACE, "descending")):
        button("after").send_keys(key)
        found, _, keys = state("after")
        assert found == order
        assert [float(k) for k in keys] == sorted(map(float, keys), reverse=order == "descending")
    # One column at a time, told to screen readers.
    assert state("method")[0] is None
    assert browser.find_element(By.ID, "said").get_attribute("textContent") == "sorted by after, descending"


def test_table_is_copied(browser, report):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    show(browser, report, 1280, "light")
    browser.find_element(By.CSS_SELECTOR, "details.copy summary").click()
    button = browser.find_element(By.CSS_SELECTOR, "button[data-copy]")
    assert button.text == "Copy Markdown"
    button.click()
    WebDriverWait(browser, 10).until(lambda _: button.text != "Copy Markdown")
    assert button.text in ("copied", "selected; press Ctrl+C to copy")
    assert browser.get_log("browser") == []
