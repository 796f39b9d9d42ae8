"""Plays a program: its actors in threads, each with an event loop of its own or none."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import uvloop
from reactivex import scheduler as schedulers
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler

from mellea_rx import (
    ChatContext,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    RetryPolicy,
    acall_tools,
    call_tools,
    wait_for_all_mots,
)
from mellea_rx.operators import (
    as_completed,
    by_word,
    chunk_timeout,
    coalesce,
    concat,
    gather,
    hedge,
    map_generate,
    merge,
    observe,
    race,
    smooth,
    tee,
    to_async_iterator,
    to_iterator,
    zip,
)
from mellea_rx.stdlib.components import Instruction
from mellea_rx.stdlib.requirements import check, simple_validate
from tests.search.notebook import Notebook, Reading, Watcher
from tests.search.plans import Plan
from tests.search.programs import Actor, Call, Program, Step

__all__ = ["Player"]

_SOON = 0.1
"""Seconds that a step waits for a call that another actor has to start."""
_DEPTH = 9
_POLICY = RetryPolicy(tries=3, initial=0.002, maximum=0.01)
_THROUGH: dict[str, Callable[[], Any]] = {
    "coalesce": lambda: coalesce(0.002),
    "smooth": lambda: smooth(0.001),
    "by_word": by_word,
    "observe": lambda: observe(_complains()),
    "chunk_timeout": lambda: chunk_timeout(total=600),
}
"""Operators that leave the text as it is."""


class Player:
    """One program, played once.

    Args:
        program: What to play.
        backend: Who answers; the program's own.

    Attributes:
        notebook: What was seen.
        combined: What combinations gave: the step, its result, and the error that ended it.
        mapped: The same of maps.
        made: Weak references to all thunks.
    """

    def __init__(self, program: Program, backend: Any) -> None:
        self.program = program
        self.notebook = Notebook()
        self.combined: list[tuple[Step, list[Any], str]] = []
        self.mapped: list[tuple[Step, list[tuple[str, str, str]], str]] = []
        self.noted: list[tuple[int, list[str]]] = []
        self.starts: dict[int, str] = {}
        self.values: dict[int, tuple[str, str]] = {}
        self.made: list[weakref.ref[Any]] = []
        self.thunks: dict[int, Any] = {}
        self.release = threading.Event()
        context = ChatContext() if program.is_chat else None
        options = {ModelOption.RETRIES: _POLICY}
        if program.backend == "local":
            options |= {ModelOption.TEMPERATURE: 0}
        self.session = MelleaSession(backend, context, model_options=options)
        self.plain = MelleaSession(backend, model_options=options)
        self._refused: set[int] = set()

    def play(self) -> None:
        """Play all actors to their ends."""
        threads = [
            threading.Thread(target=self._run, args=(actor,), name=f"actor-{number}")
            for number, actor in enumerate(self.program.actors)
        ]
        interval = sys.getswitchinterval()
        if self.program.switch:
            sys.setswitchinterval(self.program.switch)
        try:
            for each in threads:
                each.start()
            for each in threads:
                each.join()
        finally:
            sys.setswitchinterval(interval)

    def finish(self) -> None:
        """Let go of everything."""
        self.release.set()
        for number, thunk in self.thunks.items():
            if self.program.number % 5:  # else the session is closed while they run
                with suppress(MelleaRxError):
                    thunk.wait()
            if thunk._view().is_running:
                continue
            error = thunk.error
            self.values[number] = (thunk.text, "" if error is None else type(error).__name__)
        self.thunks.clear()
        for _, watcher in self.notebook.watchers:
            watcher.let_go()
        thunk = None  # a loop's name holds the last one
        for session in (self.session, self.plain):
            session.close()
        del self.session, self.plain  # which have the last call's thunk

    def _run(self, actor: Actor) -> None:
        try:
            if actor.place == "thread":
                _Sync(self).play(actor)
            else:
                factory = uvloop.new_event_loop if actor.place == "uvloop" else None
                with asyncio.Runner(loop_factory=factory) as runner:
                    runner.run(_Async(self).play(actor))
        except BaseException as error:
            self.notebook.wrong(f"an actor ended with {error!r}")

    # Calls.

    def options(self, call: Call) -> dict[Any, Any]:
        """The model options of a call."""
        plan = call.plan
        options: dict[Any, Any] = {
            ModelOption.STREAM: call.stream,
            ModelOption.STREAM_TIMEOUT: plan.limit,
        }
        if self.program.backend == "local":
            options[ModelOption.MAX_NEW_TOKENS] = min(plan.words, 60) + 1
        elif plan.call is not None:
            options[ModelOption.TOOLS] = [self.note]
        if call.limit is not None:
            options[ModelOption.TOTAL_TIMEOUT] = call.limit
        return options

    @staticmethod
    def note(given: str) -> str:
        """Note something.

        Args:
            given: What to note.
        """
        return f"noted {given}"

    def arguments(self, number: int) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """The verb of a call without its `a`, and its arguments."""
        call = self.program.calls[number]
        prompt, how = call.plan.prompt, {"model_options": self.options(call)}
        match call.verb:
            case "chat":
                return "chat", (prompt,), how
            case "query":
                return "query", ("a text", prompt), how
        if call.check:
            how["requirements"] = [self._check(number, call)]
        if call.verb == "act":
            return "act", (Instruction(prompt),), how
        needed = None if call.needs is None else self.thunks.get(call.needs)
        if needed is not None:
            prompt += " {{given}}"
            how["user_variables"] = {"given": needed}
        return "instruct", (prompt,), how

    def started(self, number: int, thunk: Any) -> None:
        """A call was made."""
        self.made.append(weakref.ref(thunk))
        self.thunks[number] = thunk

    def failed_to_start(self, number: int, error: BaseException) -> None:
        """A verb raised."""
        self.starts[number] = type(error).__name__

    # Requirements.

    def _check(self, number: int, call: Call) -> Any:
        functions: dict[str, Callable[[str], Any]] = {
            "sync": lambda _: True,
            "async": self._true,
            "nested sync": lambda _: self._asks(call.nested),
            "nested async": lambda _: self._aasks(call.nested),
            "nested deep": lambda _: self._deep(call.nested, _DEPTH),
            "refuses once": lambda _: self._second(number),
            "raises": lambda _: 1 / 0,
            "exits": lambda _: sys.exit("a validator that exits"),
            "never returns": lambda _: self.release.wait() or True,
        }
        function = functions[call.check]
        if call.check == "nested async":
            nested = call.nested

            async def function(_: str) -> bool:
                return await self._aasks(nested)

        return check("It is an answer.", simple_validate(function))

    async def _true(self, _: str) -> bool:
        await asyncio.sleep(0)
        return True

    def _second(self, number: int) -> bool:
        again = number in self._refused
        self._refused.add(number)
        return again

    def nested_options(self, plan: Plan) -> dict[Any, Any]:
        """The model options of a call within a function of the user's."""
        return self.options(Call(plan, stream=False))

    def _asks(self, plan: Plan | None) -> bool:
        assert plan is not None
        thunk = self.plain.instruct(plan.prompt, model_options=self.nested_options(plan))
        self.must_say(plan, thunk.value)
        return True

    async def _aasks(self, plan: Plan | None) -> bool:
        assert plan is not None
        thunk = await self.plain.ainstruct(plan.prompt, model_options=self.nested_options(plan))
        self.must_say(plan, await thunk.avalue())
        return True

    def _deep(self, plan: Plan | None, depth: int) -> bool:
        assert plan is not None
        if depth:
            within = check("It is.", simple_validate(lambda _: self._deep(plan, depth - 1)))
            thunk = self.plain.instruct(
                plan.prompt, requirements=[within], model_options=self.nested_options(plan)
            )
            self.must_say(plan, thunk.value)
        return True

    def must_say(self, plan: Plan, value: str | None) -> None:
        """An answer is its plan's, to the byte."""
        if self.program.backend != "local" and value != plan.text:
            self.notebook.wrong(f"asked for {plan.text!r}, got {value!r}")

    # Subscribers and combinations.

    def subscribe(self, number: int, thunk: Any, step: Step, scheduler: Any) -> Watcher:
        """Subscribe to a call as a step says."""
        acts: dict[str, Callable[[], object]] = {
            "subscribes": lambda: self.subscribe(number, thunk, Step("", how="plain"), None),
            "cancels": thunk.cancel,
            "calls": self._calls,
        }
        watcher = Watcher(step.how, step.after, acts.get(step.how, int))
        self.notebook.watchers.append((number, watcher))
        source = thunk.pipe(_THROUGH[step.through]()) if step.through else thunk
        watcher.subscription = source.subscribe(
            watcher.on_next, watcher.on_error, watcher.on_completed, scheduler=scheduler
        )
        return watcher

    def _calls(self) -> None:
        plan = Plan(f"{self.program.number}called", words=2)
        try:
            self._asks(plan)
        except MelleaRxError as error:
            if not self.closes:
                self.notebook.wrong(f"a call within a subscriber failed: {error!r}")

    @property
    def closes(self) -> bool:
        """Whether its session is closed before its end."""
        return any(step.act == "close" for actor in self.program.actors for step in actor.steps)

    @staticmethod
    def combination(step: Step, thunks: list[Any]) -> Any:
        """The result of a step's operators over its calls."""
        match step.how:
            case "merge":
                return merge(*thunks)
            case "race":
                return race(*thunks)
            case "zip":
                return zip(*thunks)
            case "gather":
                return gather(*thunks)
            case "as_completed":
                return as_completed(*thunks)
            case "concat":
                return concat(*thunks)
            case "hedge":
                return hedge(*thunks, after=0.002)
        return tee(2)(thunks[0])[0]

    def mapping(self, step: Step) -> Any:
        """A step's mapping: calls over its plans."""
        prompts = [plan.prompt for plan in step.plans]
        made = map_generate(self._mapped, max_concurrent=2, ordered=step.how == "in order")
        return made(prompts)

    async def _mapped(self, prompt: str) -> ModelOutputThunk[str]:
        return await self.plain.ainstruct(prompt, model_options=self._map_options)

    @property
    def _map_options(self) -> dict[Any, Any]:
        options: dict[Any, Any] = {ModelOption.STREAM_TIMEOUT: 0.6}
        if self.program.backend == "local":
            return {ModelOption.MAX_NEW_TOKENS: 5}
        return options

    @staticmethod
    def generated(item: Any) -> tuple[str, str, str]:
        """An item of a map: the prompt, the text, the error's class."""
        error = item.error
        text = "" if error is not None else item.value
        return item.input, text, "" if error is None else type(error).__name__


def _complains() -> Callable[[Any], None]:
    """A sink that raises at its third item."""
    seen: list[None] = []

    def sink(_: Any) -> None:
        seen.append(None)
        if len(seen) == 3:
            raise ZeroDivisionError("a sink that raises")

    return sink


def _plain(item: Any) -> Any:
    """An item of a combination without the thunks that it holds."""
    if isinstance(item, tuple):
        return tuple(_plain(each) for each in item)
    if isinstance(item, str):
        return item
    error = getattr(item, "error", None)
    return getattr(item, "index", 0), str(item), "" if error is None else type(error).__name__


def scheduler_for(name: str) -> tuple[Any, Callable[[], object]]:
    """A scheduler by name, and what lets go of it."""
    match name:
        case "immediate":
            return schedulers.ImmediateScheduler.singleton(), int
        case "current thread":
            return schedulers.CurrentThreadScheduler.singleton(), int
        case "trampoline":
            return schedulers.TrampolineScheduler(), int
        case "event loop":
            made = schedulers.EventLoopScheduler()
            return made, made.dispose
        case "new thread":
            return schedulers.NewThreadScheduler(), int
        case "pool":
            pool = schedulers.ThreadPoolScheduler(2)
            return pool, lambda: pool.executor.shutdown(wait=False)
        case "timeout":
            return schedulers.TimeoutScheduler.singleton(), int
        case "asyncio":
            return AsyncIOScheduler(asyncio.get_running_loop()), int
        case "asyncio thread-safe":
            return AsyncIOThreadSafeScheduler(asyncio.get_running_loop()), int
    return None, int


class _Sync:
    """An actor without an event loop."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._watchers: list[tuple[Watcher, Callable[[], object]]] = []

    def play(self, actor: Actor) -> None:
        """Do its steps, then wait for its subscribers."""
        for step in actor.steps:
            self._step(step)
        for watcher, let_go in self._watchers:
            while not watcher.is_done:
                time.sleep(0.001)
            let_go()

    def _thunk(self, number: int) -> Any:
        until = time.monotonic() + _SOON
        while number not in self._player.thunks and time.monotonic() < until:
            if number in self._player.starts:
                return None
            time.sleep(0.001)
        return self._player.thunks.get(number)

    def _step(self, step: Step) -> None:
        player = self._player
        match step.act:
            case "start":
                self._start(step.calls[0])
            case "pause" | "block":
                time.sleep(step.pause)
            case "close":
                player.session.close()
            case "drop":
                player.thunks.pop(step.calls[0], None)
            case "map":
                self._map(step)
            case _:
                thunks = [self._thunk(number) for number in step.calls]
                if None not in thunks:
                    self._with(step, thunks)

    def _start(self, number: int) -> None:
        player = self._player
        verb, given, how = player.arguments(number)
        call = player.program.calls[number]
        try:
            if call.is_sync or (verb == "chat" and not call.stream):
                thunk = getattr(player.session, verb)(*given, **how)
            else:
                thunk = _driven(getattr(player.session, "a" + verb)(*given, **how))
            player.started(number, thunk)
        except MelleaRxError as error:
            player.failed_to_start(number, error)

    def _with(self, step: Step, thunks: list[Any]) -> None:
        player, number, thunk = self._player, step.calls[0], thunks[0]
        match step.act:
            case "read":
                self._read(player.notebook.reading(number, step.how), thunk, step)
            case "pair":
                ready = threading.Barrier(2)
                both = [
                    threading.Thread(
                        target=self._read,
                        args=(player.notebook.reading(number, step.how), thunk, step, ready),
                        name="actor-pair",
                    )
                    for _ in range(2)
                ]
                for each in both:
                    each.start()
                for each in both:
                    each.join()
            case "subscribe":
                scheduler, let_go = scheduler_for(step.scheduler)
                watcher = player.subscribe(number, thunk, step, scheduler)
                self._watchers.append((watcher, let_go))
            case "combine":
                self._combine(step, thunks)
            case "tools":
                self._tools(number, thunk)
            case "cancel":
                time.sleep(step.pause)
                thunk.cancel()

    def _read(
        self, reading: Reading, thunk: Any, step: Step, ready: threading.Barrier | None = None
    ) -> None:
        try:
            if ready is not None:
                ready.wait()
            self._take(reading, thunk, step)
            reading.end = reading.end or "ok"
        except Exception as error:
            reading.fails(error)

    @staticmethod
    def _take(reading: Reading, thunk: Any, step: Step) -> None:
        match step.how:
            case "stream" | "to_iterator":
                pieces = thunk.stream() if step.how == "stream" else to_iterator(thunk)
                for piece in pieces:
                    reading.pieces.append(str(piece))
                    time.sleep(step.pause)
                    if len(reading.pieces) == step.after:
                        reading.end = "left"
                        break
            case "wait":
                reading.pieces.append(thunk.wait().value)
            case "wait a moment":
                reading.pieces.append(thunk.wait(0.003).value)
            case "str":
                reading.pieces.append(str(thunk))

    def _combine(self, step: Step, thunks: list[Any]) -> None:
        items: list[Any] = []
        end = "ok"
        try:
            for item in to_iterator(self._player.combination(step, thunks)):
                items.append(_plain(item))
                if len(items) == step.after:
                    end = "left"
                    break
        except Exception as error:
            end = type(error).__name__
        self._player.combined.append((step, items, end))

    def _map(self, step: Step) -> None:
        items: list[tuple[str, str, str]] = []
        end = "ok"
        try:
            for item in to_iterator(self._player.mapping(step)):
                items.append(self._player.generated(item))
                if len(items) == step.after:
                    end = "left"
                    break
        except Exception as error:
            end = type(error).__name__
        self._player.mapped.append((step, items, end))

    def _tools(self, number: int, thunk: Any) -> None:
        if not thunk.tools:
            return
        try:
            told = [message.content for message in call_tools(thunk)]
            self._player.noted.append((number, told))
        except MelleaRxError:
            pass


def _driven(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The immediate result of an a-verb where no loop runs."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        return returned.value
    coroutine.close()
    raise AssertionError("an a-verb waited")


class _Async:
    """An actor on an event loop."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._watchers: list[tuple[Watcher, Callable[[], object]]] = []
        self._own: list[Any] = []

    async def play(self, actor: Actor) -> None:
        """Do its steps, then wait for its subscribers and for the calls that need its loop."""
        ahead: list[asyncio.Task[None]] = []
        for place, step in enumerate(actor.steps):
            if place in actor.ahead:
                ahead.append(asyncio.create_task(self._step(step)))
            else:
                await self._step(step)
        if ahead:
            await asyncio.gather(*ahead)
        for watcher, let_go in self._watchers:
            while not watcher.is_done:  # noqa: ASYNC110 - a subscriber has no event
                await asyncio.sleep(0.001)
            let_go()
        for number in self._own:
            thunk = self._player.thunks.get(number)
            if thunk is not None:
                with suppress(MelleaRxError):
                    await thunk.avalue()
            del thunk

    async def _thunk(self, number: int) -> Any:
        until = time.monotonic() + _SOON
        while number not in self._player.thunks and time.monotonic() < until:
            if number in self._player.starts:
                return None
            await asyncio.sleep(0.001)
        return self._player.thunks.get(number)

    async def _step(self, step: Step) -> None:
        player = self._player
        match step.act:
            case "start":
                await self._start(step.calls[0])
            case "pause":
                await asyncio.sleep(step.pause)
            case "block":
                time.sleep(step.pause)  # noqa: ASYNC251 - a user's mistake
            case "close":
                player.session.close()
            case "drop":
                player.thunks.pop(step.calls[0], None)
            case "map":
                await self._map(step)
            case _:
                thunks = [await self._thunk(number) for number in step.calls]
                if None not in thunks:
                    await self._with(step, thunks)

    async def _start(self, number: int) -> None:
        player = self._player
        verb, given, how = player.arguments(number)
        call = player.program.calls[number]
        # A blocked loop waits for no call that may need another blocked loop.
        blocks = call.is_sync and call.needs is None and not player.program.is_chat
        try:
            if blocks:
                thunk = getattr(player.session, verb)(*given, **how)
            else:
                thunk = await getattr(player.session, "a" + verb)(*given, **how)
            player.started(number, thunk)
            self._own.append(number)
        except MelleaRxError as error:
            player.failed_to_start(number, error)

    async def _with(self, step: Step, thunks: list[Any]) -> None:
        player, number, thunk = self._player, step.calls[0], thunks[0]
        match step.act:
            case "read":
                await self._cancellable(number, thunk, step)
            case "pair":
                both = [player.notebook.reading(number, step.how) for _ in range(2)]
                await asyncio.gather(*(self._read(each, thunk, step) for each in both))
            case "move":
                await self._move(number, thunk, step)
            case "subscribe":
                scheduler, let_go = scheduler_for(step.scheduler)
                watcher = player.subscribe(number, thunk, step, scheduler)
                self._watchers.append((watcher, let_go))
            case "combine":
                await self._combine(step, thunks)
            case "tools":
                await self._tools(number, thunk)
            case "cancel":
                await asyncio.sleep(step.pause)
                thunk.cancel()

    async def _cancellable(self, number: int, thunk: Any, step: Step) -> None:
        notebook = self._player.notebook
        reading = notebook.reading(number, step.how)
        task = asyncio.create_task(self._read(reading, thunk, step))
        tasks = [task]
        if step.cancel is not None:
            await asyncio.sleep(step.cancel)
            was_running = task.cancel()
            if step.again:
                again = notebook.reading(number, step.how)
                tasks.append(asyncio.create_task(self._read(again, thunk, step)))
            await asyncio.wait({task})
            reading.end = reading.end or "cancelled"  # before its first step
            if was_running and not task.cancelled():
                notebook.wrong(f"a cancelled reader went on: {reading}")
        await asyncio.wait(tasks)

    async def _read(self, reading: Reading, thunk: Any, step: Step) -> None:
        try:
            await self._take(reading, thunk, step)
            reading.end = reading.end or "ok"
        except asyncio.CancelledError:
            reading.end = "cancelled"
            raise
        except Exception as error:
            reading.fails(error)

    @staticmethod
    async def _take(reading: Reading, thunk: Any, step: Step) -> None:
        pieces = reading.pieces

        async def all_of(source: Any) -> None:
            async for piece in source:
                pieces.append(str(piece))
                if step.pause:
                    await asyncio.sleep(step.pause)
                if len(pieces) == step.after:
                    reading.end = "left"
                    break

        match step.how:
            case "async for":
                await all_of(thunk.astream())
            case "iterate":
                await all_of(thunk if hasattr(type(thunk), "__aiter__") else thunk.astream())
            case "with":
                async with thunk.astream() as source:
                    await all_of(source)
            case "next piece":
                while not thunk.is_computed():
                    pieces.append(await thunk.astream())
                    if len(pieces) == step.after:
                        break
                reading.end = "left"  # it may be computed for somebody else has read it
            case "to_async_iterator":
                await all_of(to_async_iterator(thunk))
            case "avalue":
                pieces.append(await thunk.avalue())
            case "await":
                pieces.append(await thunk)
            case "wait_for_all":
                await wait_for_all_mots([thunk])
                pieces.append(thunk.value)

    async def _move(self, number: int, thunk: Any, step: Step) -> None:
        """Read a little here, be cancelled, and go on in another loop at once."""
        source = thunk.astream()
        notebook = self._player.notebook
        here, there = notebook.reading(number, "move"), notebook.reading(number, "moved")

        async def read(reading: Reading) -> None:
            try:
                async for piece in source:
                    reading.pieces.append(piece)
                reading.end = "ok"
            except asyncio.CancelledError:
                reading.end = "cancelled"
                raise
            except Exception as error:
                reading.fails(error)

        task = asyncio.create_task(read(here))
        await asyncio.sleep(step.pause)
        task.cancel()
        thread = threading.Thread(target=lambda: asyncio.run(read(there)), name="actor-moved")
        thread.start()
        with suppress(asyncio.CancelledError):
            await task
        while thread.is_alive():  # noqa: ASYNC110 - a thread has no event
            await asyncio.sleep(0.001)

    async def _combine(self, step: Step, thunks: list[Any]) -> None:
        items: list[Any] = []
        end = "ok"
        try:
            async for item in to_async_iterator(self._player.combination(step, thunks)):
                items.append(_plain(item))
                await asyncio.sleep(step.pause)
                if len(items) == step.after:
                    end = "left"
                    break
        except Exception as error:
            end = type(error).__name__
        self._player.combined.append((step, items, end))

    async def _map(self, step: Step) -> None:
        items: list[tuple[str, str, str]] = []
        end = "ok"
        try:
            async for item in to_async_iterator(self._player.mapping(step)):
                items.append(self._player.generated(item))
                if len(items) == step.after:
                    end = "left"
                    break
        except Exception as error:
            end = type(error).__name__
        self._player.mapped.append((step, items, end))

    async def _tools(self, number: int, thunk: Any) -> None:
        if not thunk.tools:
            return
        try:
            told = [message.content for message in await acall_tools(thunk)]
            self._player.noted.append((number, told))
        except MelleaRxError:
            pass
