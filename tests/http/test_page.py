"""The page in a real browser (headless Chromium): picks, clicks, scores, the picture; offline, and ids stay text."""

from __future__ import annotations

import shutil
from itertools import pairwise

import pytest
from serving import HOSTILE, LIMITS, TITLES, running

from easrec_jax.http.app import create_app
from easrec_jax.serving.recommend import Recommender

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `test`)")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    with playwright.sync_playwright() as p:
        try:
            browser = p.chromium.launch(executable_path=found)
        except playwright.Error as error:
            reason = error.message.splitlines()[0][:120]
            pytest.skip(f"no Chromium here (apt-get install chromium, or playwright install chromium): {reason}")
        yield browser
        browser.close()


@pytest.fixture
def page(browser, client):
    """The page, opened; nothing but the service itself may be asked for anything, and no script may fail."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    elsewhere, failures = [], []
    page.on("request", lambda r: elsewhere.append(r.url) if not r.url.startswith(own) else None)
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda m: failures.append(m.text) if m.type == "error" and "401" not in m.text else None)
    own = (str(client.base_url), "data:", f"blob:{client.base_url}")
    page.goto(str(client.base_url))
    yield page
    page.close()
    assert not elsewhere and not failures


def pick(page, text: str, item: str) -> None:
    """Type, and click on a title that was found."""
    with page.expect_response(lambda r: r.url.endswith("/recommend")):
        page.fill("#query", text)
        page.click(f'#found button[title="add {item}"]')


def shown(page) -> list[tuple[str, float]]:
    names = page.locator("#results .title").all_text_contents()
    return list(zip(names, map(float, page.locator("#results .score").all_text_contents()), strict=True))


def settled(page, steps: int) -> None:
    """Wait until the answer to click number `steps` is on the page (the page itself asks once)."""
    page.wait_for_selector(f"#times li:nth-child({steps + 1})")


def test_each_click_changes_the_recommendations(page, folder, tmp_path):
    library = Recommender.load(folder)
    page.wait_for_selector("#results li")
    assert "popularity" in page.text_content("#note")
    assert "recent_linrec" in page.text_content("#about")
    seen = [shown(page)]
    history = ["i1", "i4", "i3"]
    for step, (text, item) in enumerate(zip(("long", "boardw", "WALK"), history, strict=True), 1):
        pick(page, text, item)
        settled(page, step)
        seen.append(shown(page))
        (expected,) = library.recommend([history[:step]], 10)
        assert [name for name, _ in seen[-1]] == [TITLES.get(raw, raw) for raw, _ in expected]
        assert [score for _, score in seen[-1]] == pytest.approx([score for _, score in expected], abs=6e-4)
        assert page.text_content("#note") == ""
    assert all(before != after for before, after in pairwise(seen))
    assert " ms, of which " in page.text_content("#time")
    assert page.locator("#times li").count() == 4
    assert page.locator("#history .title").all_text_contents() == [TITLES[item] for item in history]
    page.wait_for_selector("#network[src^=blob]")
    assert page.evaluate("network.decode().then(() => network.naturalWidth)") > 100
    page.screenshot(path=str(tmp_path / "page.png"), full_page=True)

    first = page.locator("#results .title").first.text_content()
    page.locator("#results button").first.click()  # a recommendation is taken
    settled(page, 4)
    assert page.locator("#history .title").all_text_contents()[-1] == first
    assert first not in [name for name, _ in shown(page)]
    page.locator("#history button").last.click()  # and given back
    settled(page, 5)
    assert shown(page) == seen[-1]
    page.click("#clear")
    settled(page, 6)
    assert shown(page) == seen[0]


def test_the_page_waits_for_the_warm_up_and_for_a_server_that_went(browser, folder):
    """What is wrong is said, a search that succeeds does not hide it, and the answers come by themselves."""
    page = browser.new_page()
    with running(create_app(folder, LIMITS), ready=False) as client:
        page.route("**/recommend", lambda route: route.abort())
        page.goto(str(client.base_url))
        page.wait_for_selector("#problem:visible")
        assert "cannot be reached" in page.text_content("#problem")
        page.fill("#query", "walk")
        page.wait_for_selector("#found button")
        assert page.is_visible("#problem")
        page.unroute("**/recommend")
        page.fill("#query", "")
        page.wait_for_selector("#results li", timeout=60_000)
        page.wait_for_selector("#problem", state="hidden")
        assert "Bars: interactions" in page.text_content("#scale")
        page.wait_for_selector("#warm", state="hidden", timeout=60_000)
    page.fill("#query", "x")
    page.wait_for_selector("#problem:visible")
    assert "cannot be reached, or was stopped" in page.text_content("#problem")
    page.close()


def test_ids_and_titles_are_text(page):
    page.wait_for_selector("#results li")
    with page.expect_response(lambda r: r.url.endswith("/recommend")):
        page.fill("#query", "<img")
        page.click("#found button")
    settled(page, 1)
    assert page.locator("#history .title").all_text_contents() == [HOSTILE[2]]
    pick(page, "<b>", "i2")
    settled(page, 2)
    assert page.locator("#history b, #history img, #found img, #results img").count() == 0
    assert page.locator("#times bdi").all_text_contents() == [TITLES["i2"], HOSTILE[2]]  # no id turns the line around
    assert page.title() == "easrec_jax"
    page.fill("#query", "nothing has this name")
    page.wait_for_selector("#found >> text=nothing by that name")


def test_the_docs_page_works_offline(page, client):
    page.goto(f"{client.base_url}/docs")
    page.wait_for_selector("text=/recommend", timeout=20_000)


def test_the_page_asks_for_the_token(browser, folder):
    with running(create_app(folder, LIMITS, token="sesame")) as client:
        page = browser.new_page()
        page.goto(str(client.base_url))
        page.wait_for_selector("#token:visible")
        assert "header Authorization" in page.text_content("#problem")
        page.fill("#token-text", "sesame")
        page.click("#token button")
        page.wait_for_selector("#results li")
        assert page.is_hidden("#problem") and page.is_hidden("#token")
        page.close()
