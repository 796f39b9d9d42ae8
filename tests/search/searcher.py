"""Plays programs one after another, each with a backend of its own, under a watchdog."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import sys
import threading
from pathlib import Path
from typing import Any, Self

from mellea_rx import LocalBackend, OllamaBackend, OpenAIBackend, ScriptedBackend
from mellea_rx.backends import Request
from mellea_rx.core.runtime.engine import engine
from mellea_rx.errors import (
    ConnectionFailedError,
    GenerationFailedError,
    ProtocolError,
    ServerError,
    StreamInterruptedError,
)
from tests.search.aftermath import Aftermath, complaints
from tests.search.checks import wrong_with
from tests.search.plans import SLOW_GAP, SLOW_PIECES, plan_in
from tests.search.player import Player
from tests.search.programs import Program
from tests.search.server import PlanServer
from tests.support.tiny_llama import write_tiny_llama

__all__ = ["Searcher"]

_HUNG = 3
"""The exit code after a hang."""


class Searcher:
    """Plays programs, and says what is wrong with them.

    Args:
        folder: For the embedded model.
        patience: Seconds after which a program hangs.
    """

    def __init__(self, folder: Path, patience: float) -> None:
        self._model = write_tiny_llama(folder / "tiny.gguf")
        self._server = PlanServer()
        self._patience = patience
        self._tries: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._server.__enter__()
        engine()
        # What the first of each backend makes for good is no leftover of a program.
        self._aftermath = Aftermath(self._server)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    def wrong_with(self, program: Program) -> list[str]:
        """Play a program; all that is wrong with it, in words."""
        wrong = self._wrong_with(program)
        if wrong and all("TimeoutError" in each for each in wrong):
            # A limit on silence goes by the clock, and a busy machine may stand still for as long.
            wrong = self._wrong_with(program)
        return wrong

    def _wrong_with(self, program: Program) -> list[str]:
        with _Watchdog(program, self._patience), complaints() as told:
            return [*self._play(program), *told]

    def _play(self, program: Program) -> list[str]:
        backend = self._backend(program.backend)
        player = Player(program, backend)
        try:
            player.play()
        finally:
            player.finish()
            backend.close()
        wrong = wrong_with(player, self._server.state()["crossed"])
        return [*wrong, *self._aftermath.left_by(player)]

    def shrink(self, program: Program, again: int) -> str:
        """The fewest steps of a program with which it still fails in one of so many tries."""
        places = list(program.kept or range(sum(len(actor.steps) for actor in program.actors)))
        for place in list(places):
            fewer = tuple(each for each in places if each != place)
            if any(self.wrong_with(program.keep(fewer)) for _ in range(again)):
                places = list(fewer)
        return f"--keep {','.join(map(str, places))}"

    def _backend(self, name: str) -> Any:
        match name:
            case "ollama":
                return OllamaBackend("m", base_url=self._server.url)
            case "openai":
                return OpenAIBackend("m", base_url=f"{self._server.url}/v1", api_key="sk-0")
            case "local":
                return LocalBackend(self._model, parallel=2, context_window=4096, threads=1)
        self._tries = {}
        return ScriptedBackend(self._scripted)

    def _scripted(self, request: Request) -> Any:
        """A plan as the scripted backend plays it."""
        from mellea_rx import Chunk, ToolCall
        from mellea_rx.backends import Pause
        from mellea_rx.testing import STALL

        users = [each.content for each in request.messages if each.role == "user"]
        plan = plan_in(users[-1] if users else "")
        tries = self._tries[plan.name] = self._tries.get(plan.name, 0) + 1
        pieces: list[Any] = []
        for piece in plan.pieces:
            pieces += [Pause(plan.gap), piece]
        faults: dict[str, Any] = {
            "late": Pause(0.02),
            "pause": Pause(0.02),
            "stall": STALL,
            "ping stall": STALL,
            "refuse": ConnectionFailedError("refused"),
            "busy": ServerError("busy", status=503, retry_after=0),
            "cut": StreamInterruptedError("cut"),
            "reset": StreamInterruptedError("reset"),
            "garble": ProtocolError("garbled"),
            "error": GenerationFailedError("the model crashed"),
            "thinking": Chunk(thinking="hm"),
        }
        at = 0 if plan.fault in ("refuse", "busy", "late", "thinking") else 2 * plan.at
        if plan.fault == "slow call":
            pieces[:0] = [Pause(SLOW_GAP), Chunk(thinking="hm")] * SLOW_PIECES
        if plan.fault in faults and tries <= plan.tries:
            pieces.insert(at, faults[plan.fault])
        if plan.call is not None:
            pieces.append(Chunk(tool_calls=(ToolCall("note", {"given": plan.call}, "call_0"),)))
        return pieces


class _Watchdog:
    """Names a program that hangs, with the stacks of all threads, and ends the process."""

    def __init__(self, program: Program, patience: float) -> None:
        self._program = program
        self._patience = patience
        self._done = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        # Should even this thread get no turn, the stacks are better than nothing.
        faulthandler.dump_traceback_later(5 * self._patience, exit=True)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        for _ in range(int(self._patience)):
            # Turns of a second are counted, not the clock: a machine may stand still for minutes.
            if self._done.wait(1):
                return
        print(self._program, f"  WRONG: no end in {self._patience} s", sep="\n", flush=True)
        for task in _tasks():
            task.print_stack(file=sys.stdout)
        sys.stdout.flush()
        faulthandler.dump_traceback(file=sys.stdout, all_threads=True)
        os._exit(_HUNG)


def _tasks() -> list[asyncio.Task[Any]]:
    """The tasks of all loops that have not ended."""
    tasks = [each for each in gc.get_objects() if isinstance(each, asyncio.Task)]
    return [each for each in tasks if not each.done()]
