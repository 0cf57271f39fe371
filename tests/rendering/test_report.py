"""The page of a drill's report as a browser shows it: nothing to complain of, nothing cut off, at any width."""

import pytest

from tests.support import reports
from tests.support.browser import browser

FAILOVER = {"stopped": 0.7, "released": 0.4, "lock_taken": 0.8, "promoted": 0.85, "haproxy_up": 0.95}
NEVER = float("inf")
PAGES = {
    "one": {"switchover": ([1.6], FAILOVER)},
    "thirty": {"postgres-crash": ([1.0 + 0.05 * number for number in range(30)], FAILOVER)},
    "failed": {"haproxy-kill": ([0.1, 0.9, NEVER], {"virtual_ip": 1.0}), "balancer-power": ([0.8], None)},
    "no gap": {"patroni-kill": ([0.0] * 3, None)},
}
# Of all texts in the pictures that are shown, those that end outside of their picture.
CUT_OFF = """
[...document.querySelectorAll("svg")].filter(svg => svg.getClientRects().length).flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1;
  }).map(text => text.textContent);
})
"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SHOWN = "['wide', 'narrow'].filter(name => document.querySelector('.' + name).getClientRects().length)"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def page(request, tmp_path_factory):
    made = {
        name: reports.fault(name, found, marks=marks) for name, (found, marks) in PAGES[request.param].items()
    }
    return reports.page(tmp_path_factory.mktemp("report"), made)


@pytest.mark.parametrize("page", PAGES, indirect=True)
def test_it_is_whole_in_any_window(chromium, page):
    for width, shown in ((390, "narrow"), (800, "wide"), (1280, "wide")):
        for scheme in ("light", "dark"):
            chromium.open(page, width, scheme=scheme)
            case = f"{width} px, {scheme}"
            assert chromium.ask(OVERFLOW) == 0, case
            assert chromium.ask("document.title").startswith("Drill report: "), case
            assert chromium.ask(SHOWN) == [shown], case
            assert chromium.ask(CUT_OFF) == [], case
            assert chromium.requested() == [page.as_uri()], case
            assert chromium.errors() == [], case


@pytest.mark.parametrize("page", ["one"], indirect=True)
def test_light_and_dark_differ(chromium, page):
    def colours(scheme):
        chromium.open(page, 1280, scheme=scheme)
        return chromium.ask(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )

    assert colours("light") == ["rgb(31, 35, 40)", "rgb(255, 255, 255)"]
    assert colours("dark") == ["rgb(230, 237, 243)", "rgb(13, 17, 23)"]


@pytest.mark.parametrize("page", ["one"], indirect=True)
def test_what_a_page_complains_of_is_seen(chromium, page, tmp_path):
    """The checks above would see it: a script that throws, a picture from elsewhere, a line that is too long."""
    wrong = (
        "<script>throw Error('x')</script><img src='missing.png'><p style='white-space: nowrap'>"
        + "wide " * 200
    )
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("default-src 'none'", "default-src * 'unsafe-inline'") + wrong)
    chromium.open(broken, 390)
    assert chromium.ask(OVERFLOW) > 0
    assert len(chromium.requested()) == 2
    assert len(chromium.errors()) >= 2
