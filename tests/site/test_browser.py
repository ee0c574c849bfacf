"""The site in a browser, from disk: sorting, filters, links and charts, on a phone and a desk, in light and dark."""

import shutil

import numpy as np
import pytest
from made import EACH, EVIL, site

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium")

SLOW = 60_000
"""Milliseconds: the library of the charts takes its time where many tests share a processor."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield site(tmp_path_factory.mktemp("made"), patch)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        yield (one := driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]))
        one.close()


@pytest.fixture
def opened(browser, folder):
    """Opens a page of the site. A word on the console, a request beyond the disk, or a script out of a record that ran
    fails the test.
    """
    faults, contexts = [], []

    def open_(path, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 500}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: None if on_disk(request.url) else faults.append(request.url))
        page.route(lambda url: not on_disk(url), lambda route: route.abort())
        page.goto((folder / path).as_uri())
        page.wait_for_selector("html[data-tables=ready]", timeout=SLOW)
        return page

    yield open_
    ran = [page.evaluate("window.hacked ?? null") for context in contexts for page in context.pages]
    for context in contexts:
        context.close()
    assert (faults, set(ran) - {None}) == ([], set())


def on_disk(url):
    return url.partition(":")[0] in ("file", "data", "blob")


def until(page, expression):
    """Waits for what is said to come true; `wait_for_function` evaluates inside the page, whose policy forbids that."""
    for _ in range(SLOW // 50):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {expression}")


def names(page, table="board"):
    return page.locator(f"#{table} tbody th").all_inner_texts()


def drawn(page, figure=0):
    """What the chart in a figure was drawn from, once it was scrolled to and is there."""
    chart = page.locator("figure[data-chart]").nth(figure)
    chart.scroll_into_view_if_needed()
    chart.locator(".main-svg").first.wait_for(timeout=SLOW)
    return chart.locator(".plot").evaluate(
        "plot => plot.data.map(({x, y, z, error_x, text}) => ({x, y, z, error_x, text}))"
    )


def test_a_column_sorts_both_ways_and_missing_scores_stay_last(opened):
    page = opened("boards/words.html")
    head = page.locator("#board thead th").nth(3)
    head.click()
    playwright.expect(head).to_have_attribute("aria-sort", "descending")
    best = names(page)
    assert (best[0], best[-1]) == ("learned", "floor")
    head.locator("[role=button]").press("Enter")
    playwright.expect(head).to_have_attribute("aria-sort", "ascending")
    assert names(page) == [*best[:-1][::-1], "floor"]


def test_filters_leave_what_fits_and_can_be_taken_back(opened):
    page = opened("boards/words.html")
    everybody = names(page)
    form = page.locator("form.filters")
    form.get_by_label("Family").select_option("HuBERT")
    assert set(names(page)) == {"learned", "learned~random"}
    form.get_by_label("Search").fill("random")
    assert names(page) == ["learned~random"]
    form.get_by_label("Licence").select_option(EVIL)
    assert names(page) == []
    form.get_by_role("button", name="Reset").click()
    until(page, "document.querySelectorAll('#board tbody th').length > 1")
    assert names(page) == everybody
    form.get_by_label("Parameters").select_option("none")
    assert names(page) == ["floor"]


def test_an_encoder_is_a_click_away_with_its_layers_on_a_map(opened):
    page = opened("boards/words.html")
    page.get_by_role("link", name="learned", exact=True).click()
    page.wait_for_selector("html[data-tables=ready]", timeout=SLOW)
    assert page.locator("h1").inner_text() == "learned"
    (scores,), (weights,) = drawn(page), drawn(page, 1)
    assert scores["z"] == [[0.4, 0.7, 0.55]]
    assert scores["text"] == [["40.0", "70.0", "55.0"]]
    assert weights["z"][0] == [0.2, 0.4, 1]
    page.locator(".hm").first.wait_for(state="attached")
    page.locator("summary").first.click()
    shown = page.locator("#layer-scores tbody td").all_inner_texts()
    assert shown[0] == "0 to 100"
    assert [float(text) for text in shown[1:]] == list(EACH)
    page.get_by_role("link", name="learned~random").first.click()
    assert page.locator("h1").inner_text() == "learned~random"


def test_a_task_has_bars_of_error_and_scores_over_costs(opened):
    page = opened("tasks/ks.html", scheme="dark")
    (bars,) = drawn(page)
    assert len(bars["x"]) == 4
    assert bars["x"] == sorted(bars["x"])
    assert all(one > 0 for one in bars["error_x"]["array"] + bars["error_x"]["arrayminus"])
    front = drawn(page, 1)[2]
    assert len(front["x"]) == 2
    said = page.locator(".front").inner_text()
    assert said == "On the front, cheapest first: floor, learned."
    named = page.locator("figure[data-chart=pareto] .annotation-text").all_text_contents()
    assert len(named) == 4
    assert {"floor", "learned", "learned~random"} < set(named)
    page.locator("figure[data-chart=pareto] select[name=cost]").select_option("parameters")
    until(
        page,
        "document.querySelector('figure[data-chart=pareto] .plot').layout.xaxis.title.text === 'parameters'",
    )
    assert page.locator("figure[data-chart=pareto] .xtick").first.text_content() == "0"


def test_charts_show_what_the_filters_of_their_table_leave(opened):
    page = opened("tasks/ks.html")
    drawn(page), drawn(page, 1)
    page.locator("form.filters").get_by_label("Licence").select_option("MIT")
    until(page, "document.querySelector('figure[data-chart=intervals] .plot').data[0].x.length === 2")
    until(page, "document.querySelector('.front').textContent === 'On the front, cheapest first: learned.'")
    page.locator("form.filters").get_by_role("button", name="Reset").click()
    until(page, "document.querySelector('.front').textContent.includes('floor, learned')")


def test_the_front_is_exactly_what_nobody_beats(opened):
    random = np.random.default_rng(0)
    clouds = [
        [{"cost": int(cost), "value": int(value)} for cost, value in random.integers(0, 6, (count, 2))]
        for count in (*range(13), *range(13))
    ]
    page = opened("tasks/ks.html")
    for sign in (1, -1):
        said = page.evaluate("([clouds, higher]) => clouds.map((one) => front(one, higher))", [clouds, sign > 0])
        for cloud, found in zip(clouds, said, strict=True):
            costs = [one["cost"] for one in found]
            assert costs == sorted(costs)
            unbeaten = [one for one in cloud if not any(beats(other, one, sign) for other in cloud)]
            assert sorted(map(str, found)) == sorted(map(str, unbeaten))


def beats(one, other, sign):
    no_worse = one["cost"] <= other["cost"] and sign * one["value"] >= sign * other["value"]
    return no_worse and one != other


def test_an_axis_of_costs_has_few_ticks_however_far_they_lie_apart(opened):
    page = opened("tasks/ks.html")
    for values in ([1e-7, 1e4], [0, 1e12], [0.1], [], [0.001, 0.002], [1e-3, 1]):
        axis = page.evaluate("(values) => costAxis(values).ticks", values)
        assert len(axis["tickvals"]) <= 9, values
        assert all(np.isfinite(axis["range"])), values


@pytest.mark.parametrize("path", ["index.html", "boards/words.html", "tasks/ks.html", "upstreams/learned-*.html"])
def test_no_page_is_wider_than_its_screen_and_colours_are_those_of_the_system(path, opened, folder):
    page = opened(next(folder.glob(path)).relative_to(folder))
    page.add_style_tag(content=".wide .plot { min-width: 60rem !important }")  # as many layers have it
    for width, scheme in ((390, "dark"), (1280, "light")):
        page.set_viewport_size({"width": width, "height": 500})
        page.emulate_media(color_scheme=scheme)
        until(page, f"document.documentElement.scrollWidth === {width}")  # charts follow
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_what_scrolls_sideways_is_named_and_reached_by_the_keyboard(opened):
    page = opened("boards/words.html", width=390)
    region = page.get_by_role("region", name="Scores of 4 encoders")
    region.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.dt-layout-table').scrollLeft > 0")
    playwright.expect(page.locator(".scroll").first).to_have_class("scroll ready more")
    page.evaluate("document.querySelector('.dt-layout-table').scrollLeft = 1e6")
    playwright.expect(page.locator(".scroll").first).to_have_class("scroll ready")
    left = page.locator("#board tbody th").first.bounding_box()["x"]
    assert left == pytest.approx(region.bounding_box()["x"], abs=1)
