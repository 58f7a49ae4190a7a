"""Every view of a page in a real browser, by clicking. `pytest -m browser` in an environment with selenium, Chromium and its driver."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.types import shown_number
from tests.reports.page.pages import hostile_page, large_page, rich_page, several_page

selenium = pytest.importorskip("selenium", reason="needs the dependency group browser (CONTRIBUTING.md)")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("needs Debian's packages chromium and chromium-driver", allow_module_level=True)

from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


class Browser:
    """A page in Chromium, as a person uses it."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, view: str = "") -> None:
        self.driver.get("about:blank")
        self.driver.get(f"{page.as_uri()}{view}")
        self.wait(lambda: self.driver.execute_script("return document.documentElement.dataset.ready"))

    def wait(self, condition: Callable[[], Any]) -> Any:
        return WebDriverWait(self.driver, 20).until(lambda _: condition())

    def all(self, css: str) -> list[WebElement]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, css))

    def one(self, css: str) -> WebElement:
        return self.wait(lambda: self.all(css) or None)[0]

    def text(self, css: str = "main") -> str:
        return str(self.driver.execute_script("return document.querySelector(arguments[0]).textContent", css))

    def click(self, css: str, text: str) -> None:
        element = self.wait(lambda: next((found for found in self.all(css) if text in found.text), None))
        element.click()

    def sees(self, text: str, css: str = "main") -> None:
        self.wait(lambda: text in self.text(css))

    def press(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def problems(self) -> list[str]:
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(shutil.which("chromedriver")))
    yield Browser(driver)
    driver.quit()


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rich_page(tmp_path_factory.mktemp("rich") / "one")


@pytest.fixture
def page(browser: Browser, rich: Path) -> Iterator[Browser]:
    """The rich page, opened anew. No test may leave an error in the browser's console."""
    browser.open(rich)
    yield browser
    assert browser.problems() == []


def test_verdicts_say_what_is_red_and_why_first(page: Browser) -> None:
    titles = [heading.text for heading in page.all("main h2")]

    assert titles[:4] == ["Without a score", "Failed: 1", "Waived: 1", "Passed: 1"]
    failed = page.one("#outcome-failed article").text
    assert "REGRESSED" in failed
    assert "acc 1.000 -> 0.900  loss 10.0 points [5.0, 15.0]" in failed
    assert "a true loss of 1.9 points would have been found in four of five runs" in failed
    assert "Note: a subset was compared" in failed
    assert page.one("#outcome-failed svg.loss").get_attribute("aria-label") == (
        "loss 10.0 points, from 5.0 points to 15.0 points; allowed 2.0 points"
    )
    assert "Waived: known since the new tokenizer" in page.one("#outcome-waived article").text


def test_the_scores_are_the_figures_of_results_json(page: Browser, rich: Path) -> None:
    metrics = json.loads(rich.with_name("results.json").read_text("utf-8"))["metrics"]
    page.click("#tabs a", "Scores")
    page.click("main button", "open all groups")

    shown = {
        (row.find_element(By.CSS_SELECTOR, "th").text.lstrip("▾▸ "), cells[0].text): (cells[1].text, cells[2].text.strip(), cells[5].text)
        for row in page.all("table.scores tbody tr")
        if (cells := row.find_elements(By.CSS_SELECTOR, "td"))
    }
    for key, numbers in metrics.items():
        for metric, found in numbers.items():
            if key == "all" and metric != "acc":
                continue
            error = "" if found["stderr"] is None else f"± {shown_number(found['stderr'])}"
            assert shown[key, metric] == (shown_number(found["value"]), error, f"{found['n']:,}"), key


def test_scores_sort_filter_fold_and_lead_to_documents(page: Browser) -> None:
    page.click("#tabs a", "Scores")

    def names() -> list[str]:
        return [cell.text.lstrip("▾▸ ") for cell in page.all("table.scores tbody th")]

    folded = names()
    assert "leaderboard|mmlu:anatomy|5" not in folded
    page.click("table.scores tbody button", "▸")
    assert "leaderboard|mmlu:anatomy|5" in names()

    page.one("main input[type=search]").send_keys("choices")
    page.wait(lambda: names() == ["mini|choices|1", "mini|choices|5"])
    page.click("table.scores thead button", "fake")
    assert names() == ["mini|choices|1", "mini|choices|5"]
    page.click("table.scores thead button", "fake")
    assert names() == ["mini|choices|5", "mini|choices|1"]

    page.click("table.scores tbody a", "mini|choices|1")
    page.sees("600 documents of 602")


def test_documents_are_filtered_searched_and_read(page: Browser) -> None:
    page.click("#tabs a", "Documents")
    page.sees("602 documents of 602")
    assert len(page.all(".row")) < 60, "only the rows that are seen exist"
    page.click(".chip", "wrong")
    page.sees("4 documents of 602")
    page.click(".chip", "flipped")
    page.sees("4 documents of 602")
    page.click(".chip", "near ties")
    page.sees("1 document of 602")
    page.click(".chip", "cut by length")
    page.sees("1 document of 602")
    page.click(".row", "Question 0?")
    page.sees("cut at the limit of 8", ".pane")
    page.sees("the answer is no", ".pane")

    page.click(".chip", "all")
    page.press("/")
    page.press("perhaps no")
    page.sees("1 document of 602, searched in questions, choices and answers")
    page.click(".row", "Question 1?")
    page.sees("What was scored: yes", ".pane")
    page.click(".pane summary", "what the model wrote")
    page.click(".pane summary", "thoughts, 38 characters")
    page.sees("<think>perhaps yes, perhaps no</think>", ".pane")


def test_a_multiple_choice_document_shows_its_choices_and_folds_its_examples(page: Browser) -> None:
    page.click("#tabs a", "Documents")
    page.click(".chip", "wrong")
    page.click(".row", "Question 1?")
    page.sees("1 few-shot example before it", ".pane")
    assert "An example." not in page.text(".pane")
    page.click(".pane summary", "1 few-shot example before it")
    page.sees("An example.", ".pane")
    rows = [row.text.split() for row in page.all(".pane table.choices tbody tr")]
    assert [row[-2:] for row in rows] == [["-2.000", "2"], ["2", "greedy"], ["-3.000", "2"]]
    assert "-1.000" in rows[1]
    assert page.one(".pane tr.gold").text.startswith("✓")
    assert "▸" in page.one(".pane tr.chosen").text


def test_flips_have_reasons_counts_and_both_sides(page: Browser) -> None:
    page.click("#tabs a", "Flips")
    page.sees("fake beside base.")
    chips = [chip.text for chip in page.all(".reasons .chip")]
    assert sorted(chips) == ["cut by length: 1 lost, 0 won", "near tie: 1 lost, 0 won", "other choice: 2 lost, 0 won"]
    page.click(".reasons .chip", "cut by length")
    page.sees("1 flip of 4")
    page.click(".row", "Question 0?")
    page.sees("Both texts", ".pane")
    assert [mark.text for mark in page.all(".pane del")] == ["yes"]
    assert [mark.text for mark in page.all(".pane ins")] == ["no"]
    page.click(".reasons .chip", "cut by length")
    page.click(".row", "Question 3?")
    page.sees("Both sides' log-probabilities", ".pane")
    page.sees("+1.000", ".pane")


def test_plots_are_drawn_with_their_numbers(page: Browser) -> None:
    page.click("#tabs a", "Plots")
    titles = [title.text for title in page.all("main h3")]

    assert titles == [
        "acc against few-shot examples",
        "Lead of the right choice",
        "Calibration of multiple choice",
        "Length of answers",
        "Time by task",
        "Tokens by task",
    ]
    assert len(page.all("svg.plot")) == 4
    page.click("summary", "as a table")
    page.sees("0.5312")


def test_what_ran_has_the_command_and_the_facts(page: Browser) -> None:
    page.click("#tabs a", "What ran")

    assert page.one("pre.command").text == "pytest suites/mini --backend fake"
    text = page.text()
    for fact in (
        "f" * 64,
        "5 computed, 1 recalled from the cache, 2 equal to another one",
        "accuracy0.9",
        "pytest-lighteval0.1.0",
        "python3.11.7",
    ):
        assert fact in text


def test_everything_can_be_done_with_the_keyboard(page: Browser) -> None:
    page.one("#tabs a").send_keys(Keys.ARROW_RIGHT)
    page.wait(lambda: page.all("table.scores"))
    page.one("body").send_keys("3")
    page.one(".list").send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
    page.wait(lambda: "3 of 602" in page.text(".pane"))
    page.one(".list").send_keys(Keys.END, Keys.ENTER)
    page.wait(lambda: "602 of 602" in page.text(".pane"))
    page.press("/")
    assert page.driver.switch_to.active_element.get_attribute("id") == "search"
    page.press(Keys.ESCAPE)
    assert page.driver.switch_to.active_element.get_attribute("role") == "listbox"


def test_an_address_leads_to_a_document(browser: Browser, rich: Path) -> None:
    browser.open(rich, "#documents?task=mini%7Cchoices%7C1&id=test%3A450")
    browser.sees("test:450 mini|choices|1", ".pane")
    browser.wait(lambda: [row for row in browser.all(".row[aria-selected=true]") if row.is_displayed()])


def test_light_dark_and_a_phone(page: Browser) -> None:

    def ground() -> str:
        return str(page.driver.execute_script("return getComputedStyle(document.documentElement).backgroundColor"))

    before = ground()
    page.one("#theme").click()
    assert ground() != before
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 375, "height": 800, "deviceScaleFactor": 2, "mobile": True})
    try:
        for view in range(len(page.all("#tabs a"))):
            page.all("#tabs a")[view].click()
            page.wait(lambda: page.text() != "")
            assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 375
        page.click("#tabs a", "Documents")
        page.click(".row", "Question 1?")
        assert page.one(".pane").is_displayed()
        assert not page.one(".list").is_displayed()
        page.click(".close", "list")
        page.wait(lambda: page.one(".list").is_displayed())
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hostile_texts_are_shown_and_do_nothing(browser: Browser, tmp_path: Path) -> None:
    page = hostile_page(tmp_path / "one")
    for view in ("verdicts", "scores", "documents", "flips", "plots", "facts"):
        browser.open(page, f"#{view}")
        assert browser.all("main img, main script, main iframe") == []
    for view, rows in (("documents", 3), ("flips", 2)):
        browser.open(page, f"#{view}")
        for row in range(rows):
            browser.wait(lambda: browser.all(".row"))
            browser.all(".row")[row].click()
            browser.sees(f"{row + 1} of {rows}", ".pane")
            for summary in browser.all(".pane summary"):
                summary.click()
            browser.sees("</script><script>alert(1)</script>", ".pane")
            browser.sees("⟨U+202E⟩reversed⟨U+2066⟩⟨U+0000⟩⟨U+001B⟩[31m", ".pane")
            browser.sees("⟨U+E0041⟩⟨U+3164⟩", ".pane")
            assert not any(character in browser.text("body") for character in "\u202e\u2066\x1b\U000e0041\u3164")
            assert browser.all("main img, main script, main iframe") == []
    assert browser.problems() == []


def test_the_policy_holds_back_what_a_script_in_the_page_would_try(browser: Browser, rich: Path) -> None:
    browser.open(rich)
    try_markup = "try { document.body.innerHTML = '<b>x</b>'; return 'done' } catch (error) { return error.name }"
    assert browser.driver.execute_script(try_markup) == "TypeError"
    asked = "const done = arguments[0]; fetch('https://example.invalid/').then(() => done('asked'), () => done('refused'))"
    assert browser.driver.execute_async_script(asked) == "refused"
    assert any("Content Security Policy" in problem for problem in browser.problems())


def test_several_runs_are_a_matrix_and_checkpoints_are_curves(browser: Browser, tmp_path: Path) -> None:
    several_page(tmp_path / "several.html")
    browser.open(tmp_path / "several.html")
    assert [tab.text for tab in browser.all("#tabs a")][:2] == ["Curves", "Verdicts"]
    browser.sees("what a reader must know")
    assert len(browser.all("svg.plot .band")) == 4
    ticks = [
        [tick.text for tick in plot.find_elements(By.CSS_SELECTOR, "text.tick[text-anchor=middle]")] for plot in browser.all("svg.plot")
    ]
    assert ticks[0] == ["10", "15", "20", "25", "30"]
    assert (ticks[1][0], ticks[1][-1]) == ("2026-01-12", "2026-02-01")
    browser.click("summary", "as a table")
    browser.sees("-0.0500 [-0.0700, -0.0300]")
    browser.click("#tabs a", "Scores")
    cells = [str(cell.text) for cell in browser.all("table.matrix tbody td")]
    assert [" ".join(cell.split()) for cell in cells] == [
        "+1.0 points [-1.0, 3.0] ✓PASSED",
        "−10.0 points [-12.0, -8.0] ✕REGRESSED",
    ]
    browser.click("#tabs a", "Verdicts")
    browser.one("main select").send_keys("bad")
    browser.sees("Failed: 1")
    assert browser.problems() == []


def test_texts_that_are_left_out_are_said_to_be(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_lighteval.reports.page.write.TEXTS_LIMIT", 0)
    large_page(tmp_path / "large.html", 300)
    browser.open(tmp_path / "large.html", "#documents")
    browser.sees("Its texts are not in this page", ".pane")
    browser.one("#search").send_keys("200 plus")
    browser.sees("1 document of 300, searched in")
    assert browser.problems() == []


def test_a_hundred_thousand_documents_work(browser: Browser, tmp_path: Path) -> None:
    large_page(tmp_path / "large.html", 100_000)
    browser.open(tmp_path / "large.html", "#documents")
    browser.sees("100,000 documents of 100,000")
    browser.one(".list").send_keys(Keys.END, Keys.ENTER)
    browser.sees("test:99999", ".pane")
    browser.click(".chip", "wrong")
    browser.sees("33,334 documents of 100,000")
    assert len(browser.all(".row")) < 60
    browser.one("#search").send_keys("77777 plus")
    browser.wait(lambda: "searched in" in browser.text(".status"))
    assert browser.problems() == []
