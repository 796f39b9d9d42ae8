"""Random programs as values: drawn from a seed and a number, so that each can be played again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from tests.search.plans import FATAL, HARMLESS, Plan, draw_plan

BACKENDS = ("ollama", "openai", "local", "scripted")

LOOP_READS = (
    *("async for", "async for", "async for", "next piece", "next piece", "with"),
    *("avalue", "await", "wait_for_all", "to_async_iterator", "iterate"),
)
THREAD_READS = ("stream", "stream", "stream", "wait", "wait a moment", "str", "to_iterator")
WATCHERS = (
    *("plain", "plain", "plain", "slow", "raises", "disposes", "subscribes", "cancels", "calls"),
    *("raises at the end", "exits", "is cancelled"),
)
THROUGH = ("", "", "", "", "", "coalesce", "smooth", "by_word", "observe", "chunk_timeout")
SCHEDULERS = (
    *("", "", "", "", "immediate", "current thread", "trampoline", "event loop", "new thread"),
    *("pool", "timeout", "asyncio", "asyncio thread-safe"),
)
COMBINATIONS = ("merge", "race", "zip", "gather", "as_completed", "concat", "tee", "hedge")
CHECKS = (
    *("sync", "async", "nested sync", "nested async", "nested deep", "refuses once", "raises"),
    *("exits", "never returns"),
)

FLAGS = (
    *("strays", "again", "move", "pair", "deep nesting", "never returns", "base exceptions"),
    *("slow call", "many hints"),
)
"""Moves that can be left out by name, while a fault that they find is known and not repaired."""

_FAULTS_OF_FLAGS = {"strays": "stray", "slow call": "slow call", "many hints": "flood"}


@dataclass(frozen=True)
class Call:
    """A call of a verb.

    Attributes:
        plan: What it is answered with.
        verb: "instruct", "chat", "act" or "query".
        is_sync: Whether the sync verb makes it.
        stream: Whether it is read while it streams.
        check: The kind of requirement that it has, one of `CHECKS`; "" for none.
        nested: What a requirement or a tool of it asks.
        needs: The call whose thunk is in its prompt.
        limit: Its `TOTAL_TIMEOUT` in seconds; None for none.
    """

    plan: Plan
    verb: str = "instruct"
    is_sync: bool = False
    stream: bool = True
    check: str = ""
    nested: Plan | None = None
    needs: int | None = None
    limit: float | None = None

    def __str__(self) -> str:
        told = [f"{'' if self.is_sync else 'a'}{self.verb}", str(self.plan)]
        told += ["STREAM"] if self.stream else []
        told += [f"check={self.check!r}"] if self.check else []
        told += [f"nested=({self.nested})"] if self.nested else []
        told += [f"needs=call {self.needs}"] if self.needs is not None else []
        told += [f"TOTAL_TIMEOUT={self.limit}"] if self.limit else []
        return " ".join(told)


@dataclass(frozen=True)
class Step:
    """Something that a place does.

    Attributes:
        act: One of "start", "read", "pair", "move", "subscribe", "combine", "map", "tools",
            "cancel", "drop", "pause", "block", "close".
        calls: The numbers of the calls that it is done to.
        how: Its kind.
        after: How many pieces or items are taken before it leaves; None for all.
        cancel: Seconds after which its task is cancelled; None for never.
        again: Whether another task begins the same in the very turn of that cancellation.
        pause: Seconds.
        scheduler: Of a subscription.
        through: The operator that a subscription goes through, one of `THROUGH`.
        plans: What a `map` asks.
    """

    act: str
    calls: tuple[int, ...] = ()
    how: str = ""
    after: int | None = None
    cancel: float | None = None
    again: bool = False
    pause: float = 0.0
    scheduler: str = ""
    through: str = ""
    plans: tuple[Plan, ...] = ()

    def __str__(self) -> str:
        told = [self.act, *(f"call {each}" for each in self.calls), self.how and f"by {self.how!r}"]
        told += [f"leaving after {self.after}"] if self.after is not None else []
        told += [f"cancelled after {self.cancel} s"] if self.cancel is not None else []
        told += ["and begun again at once"] if self.again else []
        told += [f"{self.pause} s"] if self.pause else []
        told += [f"on scheduler {self.scheduler!r}"] if self.scheduler else []
        told += [f"through {self.through}"] if self.through else []
        told += [f"({each})" for each in self.plans]
        return " ".join(filter(None, told))


@dataclass(frozen=True)
class Actor:
    """A thread of the program: an event loop of its own ("asyncio", "uvloop") or none ("thread").

    Steps run one after the other; those that are `ahead` run beside the next ones, as tasks.
    """

    place: str
    steps: tuple[Step, ...]
    ahead: frozenset[int] = frozenset()

    @property
    def has_loop(self) -> bool:
        """Whether it runs an event loop."""
        return self.place != "thread"


@dataclass(frozen=True)
class Program:
    """The whole program that is played."""

    seed: int
    number: int
    backend: str
    calls: tuple[Call, ...]
    actors: tuple[Actor, ...]
    is_chat: bool = False
    switch: float | None = None
    kept: tuple[int, ...] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        told = [
            f"program {self.number} of seed {self.seed}: {self.backend}"
            + (", ChatContext" if self.is_chat else "")
            + (f", switch interval {self.switch}" if self.switch else "")
        ]
        told += [f"  call {number}: {call}" for number, call in enumerate(self.calls)]
        counted = 0
        for number, actor in enumerate(self.actors):
            told.append(f"  actor {number}, {actor.place}:")
            for place, step in enumerate(actor.steps):
                beside = " (beside the next)" if place in actor.ahead else ""
                told.append(f"    [{counted}] {step}{beside}")
                counted += 1
        return "\n".join(told)

    def keep(self, places: tuple[int, ...]) -> Program:
        """The same with only some of its steps, by the numbers that its text gives them."""
        counted, actors = 0, []
        for actor in self.actors:
            numbers = range(counted, counted + len(actor.steps))
            counted += len(actor.steps)
            kept = [at for at, number in enumerate(numbers) if number in places]
            ahead = frozenset(new for new, old in enumerate(kept) if old in actor.ahead)
            actors.append(Actor(actor.place, tuple(actor.steps[at] for at in kept), ahead))
        return replace(self, actors=tuple(actors), kept=places)


def draw_program(seed: int, number: int, backends: tuple[str, ...], off: frozenset[str]) -> Program:
    """The program of a seed and a number.

    Args:
        seed: The search's.
        number: The program's.
        backends: Those that it may run on.
        off: Moves that are switched off, of `FLAGS`.
    """
    return _Draw(seed, number, backends, off).program()


class _Draw:
    def __init__(
        self, seed: int, number: int, backends: tuple[str, ...], off: frozenset[str]
    ) -> None:
        self._chance = random.Random(f"{seed}:{number}")
        self._seed, self._number, self._off = seed, number, off
        self._backend = self._chance.choice(backends)
        self._named = 0
        self._read_already: set[tuple[int, ...]] = set()
        left_out = {fault for flag, fault in _FAULTS_OF_FLAGS.items() if flag in off}
        self._faults = tuple(each for each in (*HARMLESS, *FATAL) if each not in left_out)

    def program(self) -> Program:
        chance = self._chance
        is_chat = chance.random() < 0.15
        actors = [
            chance.choice(("asyncio", "asyncio", "uvloop", "thread", "thread"))
            for _ in range(chance.choice((1, 1, 2, 2, 3, 4)))
        ]
        calls = [self._call(number, is_chat) for number in range(chance.choice((1, 1, 2, 3, 4, 6)))]
        starts: list[list[int]] = [[] for _ in actors]
        for number in range(len(calls)):
            starts[chance.randrange(len(actors))].append(number)
        drawn = tuple(
            self._actor(place, own, calls) for place, own in zip(actors, starts, strict=True)
        )
        return Program(
            self._seed,
            self._number,
            self._backend,
            tuple(calls),
            drawn,
            is_chat=is_chat,
            switch=1e-6 if chance.random() < 0.3 else None,
        )

    def _plan(self, faults: tuple[str, ...] | None = None) -> Plan:
        self._named += 1
        name = f"p{self._number}c{self._named}"
        return draw_plan(self._chance, name, self._faults if faults is None else faults)

    def _call(self, number: int, is_chat: bool) -> Call:
        chance = self._chance
        check = ""
        verb = chance.choice(("instruct", "instruct", "instruct", "chat", "act", "query"))
        if verb in ("instruct", "act") and chance.random() < 0.25:
            check = chance.choice([each for each in CHECKS if self._may_check(each)])
        nested = self._plan(()) if check.startswith("nested") else None
        # A chat's turn waits for the turns before it as it is: a need beside it may be a circle.
        may_need = number and verb == "instruct" and not is_chat and chance.random() < 0.15
        return Call(
            self._plan(),
            verb,
            is_sync=chance.random() < 0.25,
            stream=chance.random() < 0.8,
            check=check,
            nested=nested,
            needs=chance.randrange(number) if may_need else None,
            limit=0.5 if check == "never returns" else None,
        )

    def _may_check(self, check: str) -> bool:
        off = self._off
        return not (
            (check == "never returns" and "never returns" in off)
            or (check == "nested deep" and "deep nesting" in off)
        )

    def _actor(self, place: str, own: list[int], calls: list[Call]) -> Actor:
        chance = self._chance
        steps = [Step("start", (number,)) for number in own]
        ahead: set[int] = set()
        for _ in range(chance.choice((1, 2, 3, 4, 6, 9))):
            # Mostly behind its own starts: a step whose call does not come does nothing.
            first = len(own) if chance.random() < 0.8 else 0
            steps.insert(chance.randrange(first, len(steps) + 1), self._step(place, len(calls)))
        if place != "thread":
            ahead = {
                at for at, step in enumerate(steps) if step.act != "start" and chance.random() < 0.5
            }
        return Actor(place, tuple(steps), frozenset(ahead))

    def _step(self, place: str, count: int) -> Step:
        chance = self._chance
        has_loop = place != "thread"
        call = (chance.randrange(count),)
        match chance.choice(
            (
                *("read",) * 8,
                *("pair",) * (0 if "pair" in self._off else 3),
                *("subscribe",) * 5,
                *("combine",) * 2,
                *("move",) * (2 if has_loop and not {"move", "pair"} & self._off else 0),
                *("map", "tools", "cancel", "drop", "pause", "pause", "block"),
                *("close",) * (chance.random() < 0.1),
            )
        ):
            case "read":
                return self._read(has_loop, call)
            case "pair":
                reads = ("async for", "next piece", "avalue") if has_loop else ("stream", "wait")
                return Step("pair", call, chance.choice(reads))
            case "subscribe":
                kinds = WATCHERS[:-2] if "base exceptions" in self._off else WATCHERS
                # One that exits on an event loop ends that loop, as every callback of asyncio does.
                kind = chance.choice([each for each in kinds if not (has_loop and each == "exits")])
                schedulers = SCHEDULERS if has_loop else SCHEDULERS[:-2]
                # What exits ends the loop or thread that calls it, where that is somebody else's.
                scheduler = "" if kind in WATCHERS[-2:] else chance.choice(schedulers)
                after = chance.choice((None, 1, 2, 3))
                through = chance.choice(THROUGH)
                return Step(
                    "subscribe", call, kind, after=after, scheduler=scheduler, through=through
                )
            case "combine":
                how = chance.choice(COMBINATIONS)
                wanted = 1 if how == "tee" else min(count, chance.choice((1, 2, 2, 3)))
                calls = tuple(chance.sample(range(count), wanted))
                after = chance.choice((None, None, None, 1))
                return Step("combine", calls, how, after=after, pause=chance.choice((0.0, 0.003)))
            case "map":
                plans = tuple(self._plan() for _ in range(chance.choice((1, 3, 6))))
                how = chance.choice(("in order", "as they end"))
                return Step("map", how=how, plans=plans, after=chance.choice((None, None, 1)))
            case "pause" | "block" as act:
                return Step(act, pause=chance.choice((0.0, 0.001, 0.003, 0.01, 0.03)))
            case act:
                return Step(act, call, pause=chance.choice((0.0, 0.001, 0.004)))

    def _read(self, has_loop: bool, call: tuple[int, ...]) -> Step:
        chance = self._chance
        if "pair" in self._off:
            if call in self._read_already:
                return Step("read", call, "avalue" if has_loop else "wait")
            self._read_already.add(call)
        leaves = chance.random() < 0.2
        cancelled = has_loop and chance.random() < 0.35
        return Step(
            "read",
            call,
            chance.choice(LOOP_READS if has_loop else THREAD_READS),
            after=chance.choice((0, 1, 2, 5)) if leaves else None,
            cancel=chance.choice((0.0, 0.0, 0.001, 0.002, 0.005, 0.02)) if cancelled else None,
            again=cancelled and "again" not in self._off and chance.random() < 0.6,
            pause=chance.choice((0.0, 0.0, 0.0, 0.002)),
        )
