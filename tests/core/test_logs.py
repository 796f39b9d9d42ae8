"""The log: what each record says, when, at which level, and what never stands in one."""

from __future__ import annotations

import asyncio
import gc
import linecache
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reactivex import operators as ops

import mellea_rx
from mellea_rx import (
    ChatContext,
    Chunk,
    MelleaSession,
    ModelOption,
    OllamaBackend,
    ScriptedBackend,
    wait_for_all_mots,
)
from mellea_rx.core.runtime.logs import log
from mellea_rx.errors import GenerationFailedError, MelleaRxError, RequirementsNotMetError
from mellea_rx.logs import (
    AttemptRejected,
    CallEnded,
    CallStarted,
    FailureUnseen,
    LogEvent,
    LoopHeld,
    RequestRetried,
)
from mellea_rx.stdlib.requirements import check, simple_validate
from tests.support.server_process import ServerProcess

SECRET = "sk-secret-0123456789"


class Kept(logging.Handler):
    """Keeps every record."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.came = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self.came:
            self.records.append(record)
            self.came.notify_all()

    def events(self, kind: type[LogEvent]) -> list[Any]:
        return [event for each in self.records if isinstance(event := each.__dict__["event"], kind)]

    def wait_for(self, kind: type[LogEvent], count: int = 1) -> list[Any]:
        with self.came:
            assert self.came.wait_for(lambda: len(self.events(kind)) >= count, 30), self.text
        return self.events(kind)

    @property
    def text(self) -> str:
        return "\n".join(each.getMessage() for each in self.records)


@pytest.fixture
def kept() -> Iterator[Kept]:
    logger = logging.getLogger("mellea_rx")
    handler = Kept()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before[0])
    logger.propagate = before[1]


def failing() -> ScriptedBackend:
    return ScriptedBackend(GenerationFailedError("out of memory"))


def test_a_call_has_a_line_for_its_start_and_one_for_its_end(
    server: ServerProcess, kept: Kept
) -> None:
    server.script("m", chunks=["Hel", "lo"])
    with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
        thunk = m.instruct("Greet me.")
    (ended,) = kept.wait_for(CallEnded)
    (started,) = kept.events(CallStarted)
    assert started == CallStarted(ended.call, "ollama", "m")
    assert (ended.backend, ended.model, ended.outcome) == ("ollama", "m", "stop")
    assert thunk.usage is not None
    assert ended.prompt_tokens == thunk.usage.prompt_tokens
    assert ended.completion_tokens == thunk.usage.completion_tokens
    assert (ended.ttft, ended.duration) == (thunk.ttft, thunk.duration)
    assert {each.levelno for each in kept.records} == {logging.DEBUG}
    assert f"call {ended.call} ends: backend ollama, model m, stop" in kept.text


def test_each_call_has_a_number_of_its_own(kept: Kept) -> None:
    with MelleaSession(ScriptedBackend("a")) as m:
        for _ in range(3):
            m.instruct("Go.")
    starts = [each.call for each in kept.wait_for(CallStarted, 3)]
    assert len(set(starts)) == 3
    assert sorted(each.call for each in kept.wait_for(CallEnded, 3)) == starts


def test_a_call_that_fails_ends_in_the_log_too(kept: Kept) -> None:
    with MelleaSession(failing()) as m, pytest.raises(GenerationFailedError):
        m.instruct("Go.", model_options={ModelOption.RETRIES: 0})
    assert kept.wait_for(CallEnded)[0].outcome == "GenerationFailedError"


def test_a_retry_is_a_line_of_its_call(server: ServerProcess, kept: Kept) -> None:
    busy = {
        "status": 503,
        "body": {"error": f"busy with {SECRET}"},
        "headers": {"Retry-After": "0"},
    }
    server.script("m", [busy, {"chunks": ["ok"]}])
    with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
        assert m.instruct("Go.").value == "ok"
    (retried,) = kept.wait_for(RequestRetried)
    (record,) = [each for each in kept.records if each.levelno == logging.INFO]
    assert retried.call == kept.events(CallStarted)[0].call
    assert retried.tries == 1
    assert "status 503" in record.getMessage()
    assert SECRET not in kept.text


def unmet() -> dict[str, Any]:
    long = check("Long.", simple_validate(lambda text: (False, f"too short: {text}")))
    return {"requirements": [long]}


def test_requirements_that_are_not_met_are_a_warning(kept: Kept) -> None:
    with MelleaSession(ScriptedBackend("private words")) as m:
        m.instruct("Go.", **unmet())
    (warned,) = [each for each in kept.records if each.levelno == logging.WARNING]
    assert "no answer met the requirements in 2 attempts" in warned.getMessage()
    assert [each.attempt for each in kept.events(AttemptRejected)] == [2]
    assert "private words" not in kept.text


def test_requirements_that_raise_are_no_warning(kept: Kept) -> None:
    with MelleaSession(ScriptedBackend("a")) as m, pytest.raises(RequirementsNotMetError):
        m.instruct("Go.", require=True, **unmet())
    assert not [each for each in kept.records if each.levelno >= logging.WARNING]


def test_a_failed_thunk_that_nobody_looked_at_is_a_warning(kept: Kept) -> None:
    async def main() -> None:
        with MelleaSession(failing()) as m:
            thunk = await m.ainstruct("Go.")
            await thunk._view().settled()

    asyncio.run(main())
    gc.collect()
    (unseen,) = kept.wait_for(FailureUnseen)
    assert unseen.error == "GenerationFailedError: out of memory"
    assert unseen.call == kept.events(CallStarted)[0].call


QUOTED: dict[str, dict[str, Any]] = {
    "an error in the stream": {"raw_lines": ['{"error": "I cannot answer: private words"}\n']},
    "a model that is not there": {"status": 404, "body": {"error": "model of private words"}},
    "a wrong request": {"status": 400, "body": {"error": "private words"}},
}


@pytest.mark.parametrize("name", QUOTED)
def test_words_of_a_server_that_may_quote_the_prompt_are_in_no_warning(
    name: str, server: ServerProcess, kept: Kept
) -> None:
    server.script("m", **QUOTED[name])

    async def main() -> None:
        with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
            thunk = await m.ainstruct("private words")
            await thunk._view().settled()

    asyncio.run(main())
    gc.collect()
    (unseen,) = kept.wait_for(FailureUnseen)
    assert unseen.error.endswith("Error") or "(status 4" in unseen.error
    assert "private words" not in kept.text


async def _avalue(thunk: Any) -> None:
    with pytest.raises(MelleaRxError):
        await thunk.avalue()


async def _stream(thunk: Any) -> None:
    with pytest.raises(MelleaRxError):
        async for _ in thunk.astream():
            pass


async def _subscribe(thunk: Any) -> None:
    with pytest.raises(MelleaRxError):
        await thunk.pipe(ops.to_list())


async def _look(thunk: Any) -> None:
    await thunk._view().settled()
    assert thunk.error is not None


async def _wait_for_all(thunk: Any) -> None:
    with pytest.raises((MelleaRxError, BaseExceptionGroup)):
        await wait_for_all_mots([thunk])


async def _cancel(thunk: Any) -> None:
    thunk.cancel()


async def _use_in_a_prompt(thunk: Any) -> None:
    with MelleaSession(ScriptedBackend("a")) as m:
        after = await m.ainstruct("{{it}}", user_variables={"it": thunk})
        with pytest.raises(MelleaRxError):
            await after


@pytest.mark.parametrize(
    "look", [_avalue, _stream, _subscribe, _look, _wait_for_all, _cancel, _use_in_a_prompt]
)
def test_a_failure_that_reached_somebody_is_none(look: Callable[[Any], Any], kept: Kept) -> None:
    async def main() -> None:
        with MelleaSession(failing()) as m:
            thunk = await m.ainstruct("Go.", model_options={ModelOption.RETRIES: 0})
            await look(thunk)
            del thunk
            marker = await m.ainstruct("Go.", model_options={ModelOption.RETRIES: 0})
            await marker._view().settled()

    asyncio.run(main())
    gc.collect()
    # The marker's warning comes after any other would have.
    kept.wait_for(FailureUnseen)
    assert len(kept.events(FailureUnseen)) == 1


def test_a_finalizer_in_a_handler_and_under_its_lock_blocks_nobody(kept: Kept) -> None:
    class Collecting(logging.Handler):
        """Drops a failed thunk while it holds a plain lock that its own `emit` takes."""

        def __init__(self) -> None:
            super().__init__()
            self.plain = threading.Lock()
            self.failed: list[Any] = []

        def emit(self, record: logging.LogRecord) -> None:
            with self.plain:
                self.failed.clear()
                gc.collect()

    handler = Collecting()
    logger = logging.getLogger("mellea_rx")

    async def fail() -> Any:
        with MelleaSession(failing()) as m:
            thunk = await m.ainstruct("Go.")
            await thunk._view().settled()
            return thunk

    handler.failed.append(asyncio.run(fail()))
    logger.addHandler(handler)
    try:
        with MelleaSession(ScriptedBackend("a")) as m:
            assert str(m.instruct("Go.")) == "a"
        kept.wait_for(FailureUnseen)
    finally:
        logger.removeHandler(handler)


def test_chat_on_a_simple_context_says_once_that_it_forgets(kept: Kept) -> None:
    with MelleaSession(ScriptedBackend("a")) as m:
        m.chat("I am Ada.")
        assert "forgets" not in kept.text
        for _ in range(3):
            m.chat("Who am I?")
    assert kept.text.count("chat on a SimpleContext forgets") == 1
    assert "ChatContext()" in kept.text


@pytest.mark.parametrize("kind", ["chat context", "instruct"])
def test_what_forgets_nothing_is_not_warned_of(kind: str, kept: Kept) -> None:
    context = ChatContext() if kind == "chat context" else None
    with MelleaSession(ScriptedBackend("a"), context) as m:
        for _ in range(2):
            m.instruct("Go.") if context is None else m.chat("Hello.")
    assert "forgets" not in kept.text


def test_a_wait_that_holds_a_loop_is_told_of_once_a_place(kept: Kept) -> None:
    async def main() -> None:
        with MelleaSession(ScriptedBackend("a b", delay=0.15)) as m:
            for _ in range(2):
                m.instruct("Go.")  # this line
            thunk = await m.ainstruct("Go.", model_options={ModelOption.STREAM: True})
            assert "".join(thunk.stream()) == "a b"

    asyncio.run(main())
    first, second = kept.events(LoopHeld)
    assert first.seconds > 0.1
    assert first.place.startswith(f"{__file__}:")
    assert "# this line" in linecache.getline(__file__, int(first.place.rpartition(":")[2]))
    assert second.place.startswith(f"{__file__}:")


def test_a_cell_of_a_notebook_may_wait(kept: Kept) -> None:
    cell = compile("str(thunk)", "/tmp/ipykernel_7/1234.py", "exec")

    async def main() -> None:
        with MelleaSession(ScriptedBackend("a b", delay=0.15)) as m:
            exec(cell, {"__name__": "__main__", "thunk": await m.ainstruct("Go.")})

    asyncio.run(main())
    assert kept.events(LoopHeld) == []


def test_a_wait_without_a_loop_and_a_short_one_are_not(kept: Kept) -> None:
    async def short() -> None:
        with MelleaSession(ScriptedBackend("a")) as m:
            done = await m.ainstruct("Go.")
            await done
            str(done)

    asyncio.run(short())
    with MelleaSession(ScriptedBackend("a b", delay=0.15)) as m:
        str(m.instruct("Go."))
    assert kept.events(LoopHeld) == []


def test_no_content_below_debug_and_none_at_all_without_the_switch(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go() -> None:
        with MelleaSession(ScriptedBackend("private answer")) as m:
            m.instruct("private prompt", **unmet())

    go()
    kept.wait_for(CallEnded)
    assert "private" not in kept.text
    monkeypatch.setenv("MELLEA_RX_LOG_CONTENT", "1")
    go()
    kept.wait_for(CallEnded, 2)
    assert "user: private prompt" in kept.text
    assert "private answer" in kept.text
    content = [each for each in kept.records if "private" in each.getMessage()]
    assert {each.levelno for each in content} == {logging.DEBUG}


@pytest.mark.parametrize("status", [401, 403, 500])
def test_no_key_stands_in_any_record(
    status: int, server: ServerProcess, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELLEA_RX_LOG_CONTENT", "1")
    server.script("m", status=status, body={"error": f"bad key {SECRET}"})

    async def main() -> None:
        with MelleaSession(OllamaBackend("m", base_url=server.url, api_key=SECRET)) as m:
            thunk = await m.ainstruct("Go.", model_options={ModelOption.RETRIES: 1})
            await thunk._view().settled()

    asyncio.run(main())
    gc.collect()
    kept.wait_for(FailureUnseen)
    assert SECRET not in kept.text
    assert not [each for each in kept.records if SECRET in repr(each.__dict__)]


def test_debug_is_looked_up_once_a_call_and_nothing_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = logging.getLogger("mellea_rx")
    asked: list[int] = []
    enabled = logger.isEnabledFor

    def counted(level: int) -> bool:
        asked.append(level)
        return enabled(level)

    with MelleaSession(ScriptedBackend(["a", "b", "c"])) as m:
        m.instruct("Go.")
        monkeypatch.setattr(logger, "isEnabledFor", counted)
        m.instruct("Go.")
    assert asked == [logging.DEBUG]


def test_a_program_that_sets_up_no_logging_sees_warnings_only() -> None:
    code = (
        "from mellea_rx import MelleaSession, ScriptedBackend\n"
        "with MelleaSession(ScriptedBackend('a')) as m:\n"
        "    print(m.chat('One.')); print(m.chat('Two.'))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "a\na\n"
    assert ran.stderr.count("\n") == 1
    assert "forgets" in ran.stderr
    silent = "import logging; logging.getLogger('mellea_rx').setLevel('ERROR')\n" + code
    ran = subprocess.run([sys.executable, "-c", silent], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("a\na\n", "")


def test_an_unseen_failure_is_told_of_at_the_interpreters_end() -> None:
    code = (
        "import asyncio\n"
        "from mellea_rx import MelleaSession, ScriptedBackend\n"
        "from mellea_rx.errors import GenerationFailedError\n"
        "async def main():\n"
        "    m = MelleaSession(ScriptedBackend(GenerationFailedError('out of memory')))\n"
        "    thunk = await m.ainstruct('Go.')\n"
        "    await thunk._view().settled()\n"
        "asyncio.run(main())\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "nobody looked at it: GenerationFailedError: out of memory" in ran.stderr


def test_an_event_says_what_its_template_has_room_for(kept: Kept) -> None:
    for kind in LogEvent.__subclasses__():
        samples: dict[str, Any] = {
            "int": 1,
            "float": 1.0,
            "str": "x",
            "BaseException": ValueError(),
        }
        samples["Sequence[tuple[str, str]]"] = [("user", "x")]
        values = [
            samples[str(field.type).partition(" | ")[0]]
            for field in kind.__dataclass_fields__.values()
            if "ClassVar" not in str(field.type)
        ]
        log(kind(*values))
    assert len(kept.records) == len(LogEvent.__subclasses__())
    assert "%" not in kept.text


def test_nothing_else_in_the_package_has_a_logger() -> None:
    package = Path(mellea_rx.__file__).parent
    with_logger = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "getLogger" in path.read_text("utf-8")
    }
    assert with_logger == {"core/runtime/logs.py", "cli/log_output.py"}


@pytest.mark.parametrize("odd", ["\x1b[2J", "\nERROR forged", "\r", "\u202e", "\u2066", "\ud83d"])
def test_a_record_is_one_line_that_drives_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, odd: str
) -> None:
    monkeypatch.setenv("MELLEA_RX_LOG_CONTENT", "1")
    answer = [f"an{odd}swer", Chunk(model=f"mo{odd}del")]
    with caplog.at_level(logging.DEBUG, "mellea_rx"):
        MelleaSession(ScriptedBackend(answer, model_id=f"na{odd}me")).instruct(
            "Ask{{x}}.", user_variables={"x": odd.replace("\ud83d", "")}
        )
    messages = [record.getMessage() for record in caplog.records]
    assert any("answers: an" in each for each in messages)
    assert all(each.isprintable() for each in messages), messages
