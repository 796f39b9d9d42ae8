"""`stream_judge`: a model judges units while the answer streams; and what validations are given."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from mellea_rx import (
    BackendError,
    Chunk,
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ScriptedBackend,
    ToolCall,
)
from mellea_rx.backends import Pause, Request
from mellea_rx.events import Validated
from mellea_rx.stdlib.requirements import (
    StreamContext,
    UnitVerdict,
    ValidationResult,
    check,
    stream_judge,
)
from mellea_rx.stdlib.sampling import BestOfN, RejectionSampling
from mellea_rx.testing import run_virtual
from tests.core.hand import STREAM


def unit_of(request: Request) -> str:
    """The unit that a judge was asked about."""
    found = re.search(r"The next part:\n(.*?)\n\nRequirement:", request.prompt, re.DOTALL)
    assert found is not None
    return found[1].strip()


class Judge(ScriptedBackend):
    """Says no to units with "Bad"; takes a second for each, and more for the first.

    Attributes:
        asked: The units, in order.
        most: The largest number of units that were judged at once.
    """

    def __init__(self, *answers: Any) -> None:
        super().__init__(*(answers or (self.verdict,)))
        self.asked: list[str] = []
        self.most = 0

    def verdict(self, request: Request) -> list[Any]:
        unit = unit_of(request)
        self.asked.append(unit)
        self.most = max(self.most, self.running)
        word = "no" if "Bad" in unit else "yes"
        pause = Pause(3 if len(self.asked) == 1 else 1)
        return [pause, f'{{"verdict": "{word}", "reason": "so says the judge of {unit}"}}']


WHOLE = ["One. ", "Two. ", "Three. ", "Four. ", "Five. "]


def test_units_are_judged_at_once_and_their_verdicts_taken_in_order() -> None:
    async def main() -> None:
        judge = Judge()
        calm = stream_judge("Calm.", backend=judge, max_concurrent=3)
        m = MelleaSession(ScriptedBackend(WHOLE))
        thunk = await m.ainstruct(
            "Go.", requirements=[calm], release="validated", model_options=STREAM
        )
        pieces = [piece async for piece in thunk.astream()]
        assert "".join(pieces) == "".join(WHOLE)
        assert pieces[0].startswith("One. Two. Three. "), "the first verdict came last"
        assert thunk.sampling.success
        assert judge.asked == [each.strip() for each in WHOLE]
        assert judge.most == 3
        assert [each.result for each in await validated(thunk)] == [True] * 5 + [True]

    run_virtual(main())


async def validated(thunk: Any) -> list[Validated]:
    seen: list[Any] = []
    thunk.events.subscribe(seen.append)
    await asyncio.sleep(1)
    return [each for each in seen if isinstance(each, Validated)]


def test_the_judges_words_are_the_reason_and_no_request_of_it_is_left() -> None:
    async def main() -> None:
        judge = Judge()
        backend = ScriptedBackend(["One. ", "Bad. ", "Two. ", *["More. "] * 50], WHOLE, delay=0.5)
        calm = stream_judge("Calm.", backend=judge)
        thunk = await MelleaSession(backend).ainstruct("Go.", requirements=[calm])
        assert await thunk.avalue() == "".join(WHOLE)
        first = thunk.sampling.attempts[0]
        assert first.reasons == ("Calm.: sentence 2 ('Bad.'): so says the judge of Bad.",)
        assert len(first.text) < 120
        assert judge.running == 0

    run_virtual(main())


def test_by_default_the_calls_own_model_judges() -> None:
    async def main() -> None:
        judge = Judge()

        def either(request: Request) -> Any:
            return judge.verdict(request) if "The next part" in request.prompt else WHOLE

        m = MelleaSession(ScriptedBackend(either))
        thunk = await m.ainstruct("Go.", requirements=[stream_judge("Calm.")])
        assert await thunk.avalue() == "".join(WHOLE)
        assert judge.asked == [each.strip() for each in WHOLE]

    run_virtual(main())


def test_a_judge_that_fails_fails_the_call_with_its_own_error() -> None:
    async def main() -> None:
        judge = ScriptedBackend(GenerationFailedError("out of memory"))
        calm = stream_judge("Calm.", backend=judge)
        m = MelleaSession(ScriptedBackend(WHOLE))
        thunk = await m.ainstruct("Go.", requirements=[calm], retries=0)
        with pytest.raises(BackendError, match="out of memory"):
            await thunk

    run_virtual(main())


def test_a_cancel_ends_the_judges_requests() -> None:
    async def main() -> None:
        judge = ScriptedBackend([Pause(1000)])
        calm = stream_judge("Calm.", backend=judge, max_concurrent=2)
        thunk = await MelleaSession(ScriptedBackend(WHOLE)).ainstruct("Go.", requirements=[calm])
        await asyncio.sleep(1)
        assert judge.running == 2
        thunk.cancel()
        await asyncio.sleep(1)
        assert judge.running == 0

    run_virtual(main())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"backend": "ollama"}, "backend"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"unit": "page"}, "page"),
    ],
)
def test_a_judge_that_cannot_be_is_refused_by_name(wrong: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        stream_judge("Calm.", **wrong)


def test_a_validation_with_a_second_parameter_gets_the_answer_so_far() -> None:
    seen: list[tuple[str, list[str], str, int, float]] = []

    def look(unit: str, so_far: StreamContext) -> bool:
        known = (list(so_far.units), so_far.text, so_far.attempt, so_far.seconds)
        seen.append((unit, *known))
        return "Bad" not in unit

    async def main() -> None:
        backend = ScriptedBackend(["One. ", "Bad. "], ["One. ", "Two. "], delay=1.0)
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", requirements=[check("x", stream_validate=look)])
        assert await thunk.avalue() == "One. Two. "

    run_virtual(main())
    assert [each[:4] for each in seen] == [
        ("One. ", [], "", 1),
        ("Bad. ", ["One. "], "One. ", 1),
        ("One. ", [], "", 2),
        ("Two. ", ["One. "], "One. ", 2),
    ]
    assert [each[4] for each in seen] == [2.0, 2.0, 2.0, 2.0]


def test_it_gets_the_tool_calls_so_far_and_views_that_do_not_change() -> None:
    contexts: list[StreamContext] = []

    async def look(unit: str, so_far: StreamContext) -> bool:
        contexts.append(so_far)
        return True

    call = ToolCall("search", {"q": "x"})
    backend = ScriptedBackend(["One. ", Chunk(tool_calls=(call,)), "Two. ", "Three. "])
    MelleaSession(backend).instruct("Go.", requirements=[check("x", stream_validate=look)])
    assert contexts[-1].tool_calls == (call,)
    assert [len(each.units) for each in contexts] == [0, 1, 2]
    last = contexts[-1].units
    assert (last[0], last[-1], last[:1], list(last)) == (
        "One. ",
        "Two. ",
        ["One. "],
        ["One. ", "Two. "],
    )
    with pytest.raises(IndexError):
        last[2]


def test_going_on_from_a_text_it_knows_the_units_of_it() -> None:
    seen: list[list[str]] = []

    def look(unit: str, so_far: StreamContext) -> bool:
        seen.append(list(so_far.units))
        return "Bad" not in unit

    backend = ScriptedBackend(["One. ", "Bad. "], [" Two. "])
    strategy = RejectionSampling(2, repair="continue")
    requirement = check("x", stream_validate=look)
    m = MelleaSession(backend)
    assert m.instruct("Go.", requirements=[requirement], strategy=strategy).value == "One. Two. "
    assert seen == [[], ["One. "], ["One. "]]


class Scored:
    """Gives a score for each unit."""

    def __call__(self, unit: str) -> UnitVerdict:
        return UnitVerdict(True, score=float(len(unit.split())))


def test_the_score_of_a_requirement_is_the_mean_of_its_units() -> None:
    backend = ScriptedBackend(["One two three. ", "Four."])
    scored = check("words", stream_validate=Scored())
    thunk = MelleaSession(backend).instruct("Go.", requirements=[scored])
    assert thunk.sampling.attempts[0].validations == ((scored, ValidationResult(True, score=2.0)),)


def test_best_of_n_takes_the_scores_of_units() -> None:
    backend = ScriptedBackend("One.", "One two three four.", "One two.")
    strategy = BestOfN(3, max_concurrent=1)
    scored = check("words", stream_validate=Scored())
    thunk = MelleaSession(backend).instruct("Go.", requirements=[scored], strategy=strategy)
    assert thunk.value == "One two three four."
