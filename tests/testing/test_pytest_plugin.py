"""The plugin for pytest, tested in separate pytest processes."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from mellea_rx import MelleaSession, ScriptedBackend
from mellea_rx.testing import Recorder
from tests.docs.pages import blocks_of

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "mellea_rx.testing.pytest_plugin"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder for tests, which run with the plugin even if the package is not installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    return pytester


def outcomes(run: pytest.Pytester, code: str, *arguments: str) -> tuple[dict[str, int], str]:
    run.makepyfile(test_it=code)
    result = run.runpytest_subprocess("-p", PLUGIN, *arguments)
    return result.parseoutcomes(), result.stdout.str()


def test_it_is_registered_by_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (module,) = project["entry-points"]["pytest11"].values()
    assert module == PLUGIN
    assert {"scripted", "recorded", "virtual_time"} <= set(import_module(module).__all__)


def test_an_async_test_runs_in_virtual_time(run: pytest.Pytester) -> None:
    code = """
    import asyncio
    import pytest
    from mellea_rx import IdleTimeoutError
    from mellea_rx.testing import stalling

    @pytest.mark.parametrize("after", [1, 2])
    async def test_async(virtual_time, scripted, after):
        m = scripted(stalling("a b c", after=after))
        with pytest.raises(IdleTimeoutError):
            await (await m.ainstruct("Go."))
        assert virtual_time.now == 120

    async def test_fails(virtual_time):
        await asyncio.sleep(3600)
        assert virtual_time.now == 5, "this is shown"

    async def test_hangs(virtual_time):
        await asyncio.Event().wait()

    class TestClass:
        async def test_method(self, virtual_time):
            await asyncio.sleep(60)
            assert virtual_time.now == 60

    def test_sync(virtual_time):
        virtual_time.run(asyncio.sleep(60))
        assert virtual_time.now == 60
    """
    counts, shown = outcomes(run, code)
    assert counts == {"passed": 4, "failed": 2}
    assert "this is shown" in shown
    assert "assert 3600.0 == 5" in shown
    assert "nothing will ever happen" in shown


def test_scripted_makes_sessions_and_closes_them(run: pytest.Pytester) -> None:
    code = """
    import pytest
    from mellea_rx import SessionClosedError

    made = []

    def test_uses(scripted):
        m = scripted("Hello.", "Bye.", model_id="m")
        made.append(m)
        assert [m.instruct("Go.").value for _ in range(2)] == ["Hello.", "Bye."]
        assert len(m.backend.requests) == 2
        made.append(scripted())

    def test_closed():
        for m in made:
            with pytest.raises(SessionClosedError):
                m.instruct("Go.")
    """
    counts, shown = outcomes(run, code)
    assert counts == {"passed": 2}, shown


RECORDED = """
    import pytest
    from mellea_rx import RecordingError, ScriptedBackend

    def real():
        return ScriptedBackend("told", delay=0.001)

    @pytest.mark.parametrize("name", ["a/b", "c"])
    def test_says(recorded, name):
        assert recorded(real).instruct(f"Go, {name}.").value == "told"
        assert recorded(real, speed=0).instruct("Go.").value == "told"
"""


def test_recorded_plays_what_was_saved_with_the_option(run: pytest.Pytester) -> None:
    counts, shown = outcomes(run, RECORDED)
    assert counts == {"failed": 2}
    assert "RecordingError" in shown

    counts, shown = outcomes(run, RECORDED, "--mellea-rx-record")
    assert counts == {"passed": 2}, shown
    saved = sorted(p.name for p in (run.path / "recordings" / "test_it").iterdir())
    assert saved == [f"test_says_{n}{more}.jsonl" for n in ("a_b", "c") for more in ("-2", "")]

    offline = RECORDED.replace("return ScriptedBackend", "assert 0, ScriptedBackend")
    counts, shown = outcomes(run, offline)
    assert counts == {"passed": 2}, shown


def test_the_fixtures_say_what_they_are(run: pytest.Pytester) -> None:
    result = run.runpytest_subprocess("-p", PLUGIN, "--fixtures", "-v")
    text = result.stdout.str()
    for name in ("scripted", "recorded", "virtual_time"):
        assert name in text


def test_the_tests_of_the_page_pass(run: pytest.Pytester) -> None:
    page = [block.text for block in blocks_of("docs/testing.md") if "def test_" in block.text]
    saved = run.path / "recordings" / "test_it" / "test_the_capital.jsonl"
    saved.parent.mkdir(parents=True)
    with MelleaSession(Recorder(ScriptedBackend("Paris."), saved)) as m:
        m.instruct("The capital of France?")
    counts, shown = outcomes(run, "\n".join(page))
    assert counts == {"passed": 3}, shown
