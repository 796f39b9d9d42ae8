"""Every client of ours and by hand gets the right texts; what is made of their figures is right."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import pytest

from benchmarks.chart import LABEL, Bar, Panel, svg
from benchmarks.clients import CLIENTS
from benchmarks.quick import CASES, KNOWN_MISS, verdict
from benchmarks.rows import Row, costs, markdown
from benchmarks.steps import ALL, STEPS, measured
from benchmarks.turns import Ratio, measure, of_pairs, ratio, server, to_cheapest
from benchmarks.work import Work

OWN = [name for name, each in CLIENTS.items() if each.venv == "project"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server() as url:
        yield url


@pytest.mark.parametrize("client", OWN)
def test_a_client_streams_what_the_server_says(client: str, url: str) -> None:
    numbers = measure("cost", client, Work("burst-30", streams=3, repeats=2), url)
    assert numbers["cpu"] > 0
    assert numbers["seconds"] > 0


def test_the_first_text_is_timed_from_its_leaving_the_server(url: str) -> None:
    numbers = measure("first text", "astream", Work("stamped-2-1", repeats=10), url)
    assert 0 < numbers["median"] <= numbers["p99"]


def test_live_streams_are_weighed(url: str) -> None:
    assert measure("memory", "astream", Work("paced-3-1", streams=20), url)["kilobytes"] >= 0


@pytest.mark.alone
def test_streaming_is_measured_without_its_beginning_and_end(url: str) -> None:
    numbers = measure("streaming", "astream", Work("paced-3000-2", streams=20, repeats=1), url)
    assert numbers["cpu"] > 0
    assert 0.5 < numbers["taken"] < 1.5


def test_each_chunk_is_timed_from_its_leaving_the_server(url: str) -> None:
    numbers = measure("latency", "astream", Work("timed-5-2", streams=10), url)
    assert 0 < numbers["median"] <= numbers["p99"]


def test_calls_are_timed_while_streams_are_read(url: str) -> None:
    work = Work("burst-10", repeats=5)
    numbers = measure("among", "default call and astream", work, url)
    assert 0 < numbers["median"] <= numbers["p99"]


def test_the_beginning_of_a_stream_is_measured_without_its_end(url: str) -> None:
    assert measure("start", "astream", Work("paced-600-100", streams=20), url)["cpu"] > 0


def test_the_cheaper_loop_of_each_round_is_the_one_to_beat() -> None:
    runs = {
        "ours": [{"cpu": 4.0}, {"cpu": 4.0}],
        "asyncio": [{"cpu": 8.0}, {"cpu": 4.0}],
        "uvloop": [{"cpu": 5.0}, {"cpu": 8.0}],
    }
    figure = to_cheapest(runs, "ours", ["asyncio", "uvloop"], "cpu")
    assert (figure.low, figure.high) == (0.8, 1.0)


def test_a_ratio_compares_figures_of_the_same_round() -> None:
    # The second round was twice as slow for both.
    figure = of_pairs([2.0, 4.0, 3.0], [4.0, 8.0, 4.0])
    assert (figure.low, figure.middle, figure.high) == (0.5, 0.5, 0.75)
    assert str(figure) == "0.50 (0.50 to 0.75)"


def test_a_table_has_each_client_by_the_base() -> None:
    runs = {
        "by hand": [{"cpu": 10.0, "seconds": 6.0}],
        "astream": [{"cpu": 5.0, "seconds": 5.5}],
    }
    assert ratio(runs, "astream", "by hand", "cpu").middle == 0.5
    table = costs("Paced", runs, "by hand", ideal=5.0)
    assert table.lines[1] == ["astream", "5.00", "0.50 (0.50 to 0.50)", "5.50 (1.10x the ideal)"]
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


@pytest.mark.parametrize(("met", "word"), [(True, "met"), (False, "MISSED"), (None, "skipped")])
def test_a_row_has_its_verdict(met: bool | None, word: str) -> None:
    assert Row("case", "1.0", "0.9", met).verdict == word


@pytest.mark.parametrize(
    ("figure", "taken", "said"),
    [
        (0.80, 0.0, "met"),
        (0.80, 1.5, "met"),
        (0.96, 0.0, "MISSED"),
        (0.96, 0.8, "not judged: others took 0.8 processors"),
    ],
)
def test_the_guard_holds_the_goal(figure: float, taken: float, said: str) -> None:
    assert verdict(CASES["paced"], 0.7, Ratio(figure, figure, figure), taken) == said


def test_a_goal_that_was_missed_before_is_told_and_held_to_the_record() -> None:
    paced = CASES["paced"]
    assert verdict(paced, 1.2, Ratio(1.3, 1.2, 1.4), 0.0) == KNOWN_MISS
    assert verdict(paced, 1.2, Ratio(1.6, 1.5, 1.7), 0.0) == "MISSED"
    assert verdict(paced, 1.2, Ratio(0.9, 0.8, 0.9), 0.0) == "met"


def test_the_guard_holds_what_was_recorded() -> None:
    good, worse = Ratio(0.25, 0.2, 0.3), Ratio(0.26, 0.2, 0.3)
    assert verdict(CASES["bursts"], 0.2, good, 0.0) == "met"
    assert verdict(CASES["bursts"], 0.2, worse, 0.0) == "WORSE"


def test_a_chart_has_a_bar_for_each_client_as_long_as_its_figure() -> None:
    bars = [Bar("peer & co", 40.0, "peer"), Bar("mellea_rx", 10.0, "ours")]
    drawn = ElementTree.fromstring(svg([Panel("Bursts", "microseconds", bars)]))
    rects = list(drawn.iter("{http://www.w3.org/2000/svg}rect"))
    assert [each.get("class") for each in rects] == ["ours", "peer"]
    assert all(each.get("x") == str(LABEL) for each in rects)
    ours, peer = (float(each.get("width", "0")) for each in rects)
    assert ours * 4 == pytest.approx(peer)


def test_a_calls_steps_are_timed_and_their_functions_counted(url: str) -> None:
    costs = asyncio.run(measured(url, 3))
    assert [each.name for each in costs if each.name != ALL] == [each.name for each in STEPS]
    assert [each.thread for each in costs if each.name == ALL] == ["caller", "engine"]
    assert all(each.functions > 0 for each in costs)
