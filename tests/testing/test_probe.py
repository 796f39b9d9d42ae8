"""The probe: recorded notifications, and their differences from a diagram."""

from __future__ import annotations

import asyncio

import pytest
import reactivex as rx

from mellea_rx import Chunk, MelleaSession, ScriptedBackend, ServerError
from mellea_rx.testing import Probe, assert_marbles, marbles, run_virtual
from tests.core.hand import STREAM


def difference(source: str, expected: str, **how: object) -> str:
    async def main() -> str:
        with pytest.raises(AssertionError) as caught:
            await assert_marbles(marbles(source).cold(), expected, **how)  # type: ignore[arg-type]
        return str(caught.value)

    return run_virtual(main())


def test_a_probe_notes_items_terminal_threads_and_text() -> None:
    probe: Probe[str] = Probe()
    probe.to(rx.of("a", "b"))
    assert (probe.items, probe.text, probe.terminals) == (["a", "b"], "ab", ["completed"])
    assert probe.threads == {"MainThread"}
    assert probe.ended.is_set()
    assert probe.error is None


def test_a_probe_notes_a_failure() -> None:
    error = ServerError("it broke", status=500)
    probe: Probe[str] = Probe()
    probe.to(rx.throw(error))
    assert (probe.error, probe.terminals) == (error, ["error"])


def test_a_probe_waits_on_the_engine_too() -> None:
    async def main() -> str:
        m = MelleaSession(ScriptedBackend("a b"))
        probe: Probe[Chunk] = Probe()
        probe.to(await m.ainstruct("Go.", model_options=STREAM))
        await probe.end(30)
        return probe.text

    assert asyncio.run(main()) == "a b"


def test_waiting_for_the_end_can_be_limited() -> None:
    async def main() -> float:
        probe: Probe[Chunk] = Probe()
        probe.to(marbles("a").cold())
        await probe.end(5)
        assert not probe.ended.is_set()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 5.0


def test_the_difference_is_shown_where_it_is() -> None:
    assert difference("-a-b-|", "-a-c-|") == (
        "the marbles differ at 3 s: expected c, seen b\n"
        "  expected: -a-c-|\n"
        "  seen:     -a-b-|\n"
        "               ^"
    )


def test_an_end_that_comes_late_or_never_is_a_difference() -> None:
    assert "at 5 s: expected |, seen nothing" in difference("-a-b--|", "-a-b-|")
    assert "at 4 s: expected nothing, seen |" in difference("-a-b|", "-a-b-|")
    assert "at 2 s: expected |, seen nothing" in difference("-a", "-a|")
    told = difference("-a#", "-a|")
    assert "at 2 s: expected |, seen #" in told
    assert "the error is GenerationFailedError: the model crashed" in told


def test_names_and_the_length_of_a_frame_are_told() -> None:
    text = difference("-a-|", "-b-|", values={"a": "a", "b": "Once "}, frame=1.0)
    assert "  b is 'Once '" in text
    assert "  a is 'a'" in text

    async def main() -> str:
        with pytest.raises(AssertionError) as caught:
            await assert_marbles(marbles("-a|", frame=0.5).cold(), "-b|", frame=0.5)
        return str(caught.value)

    assert "differ at 0.5 s" in (told := run_virtual(main()))
    assert "a character is 0.5 s" in told


def test_more_than_a_diagram_has_room_for_is_listed() -> None:
    assert "word at 0 s, b at 2 s" in difference_of_words()


def difference_of_words() -> str:
    async def main() -> str:
        with pytest.raises(AssertionError) as caught:
            await assert_marbles(marbles("word(b|)", frame=0.5).cold(), "a-b")
        return str(caught.value)

    return run_virtual(main())


def test_an_error_of_another_type_is_a_difference() -> None:
    text = difference("-#", "-#", error=ServerError)
    assert text == "it failed with GenerationFailedError, not ServerError: the model crashed"


def test_a_diagram_without_an_end_is_compared_as_far_as_it_goes() -> None:
    async def main() -> None:
        await assert_marbles(marbles("-a-b-c-d").cold(), "-a-b-")
        with pytest.raises(AssertionError, match="at 3 s"):
            await assert_marbles(marbles("-a-b-c-d").cold(), "-a---")

    run_virtual(main())


def test_a_probe_can_be_used_again() -> None:
    async def main() -> str:
        probe: Probe[Chunk] = Probe()
        await asyncio.sleep(5)
        probe.to(marbles("-a|").cold())
        await probe.end()
        return str(probe.marbles())

    assert run_virtual(main()) == "-a|"
