"""Backends, components and strategies of any class: the defaults of the members that they lack."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex.scheduler import NewThreadScheduler

from mellea_rx import (
    Chunk,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    OptionError,
    ScriptedBackend,
    UnexpectedError,
)
from mellea_rx.backends import Backend, BaseBackend, Capabilities, Options, Request
from mellea_rx.core.interfaces.backend import (
    aclose_backend,
    capabilities_of,
    is_backend,
    is_deferred,
    loops_of_backend,
    resolved,
)
from mellea_rx.core.interfaces.component import is_component, messages_of
from mellea_rx.stdlib.components import Said, Template, TextComponent
from mellea_rx.stdlib.requirements import req, simple_validate
from mellea_rx.stdlib.sampling import BaseStrategy, Sampler, SamplingResult

# Backends.


class Duck:
    """The required members of a backend, and nothing more."""

    name = "duck"
    model_options = Options()

    def __init__(self) -> None:
        self.closed = 0

    def check(self, options: Options) -> None:
        """Every option is fine."""

    def stream(self, request: Request) -> Observable[Chunk]:
        return ScriptedBackend(["Quack."]).stream(request)

    def close(self) -> None:
        self.closed += 1


class Heir(BaseBackend):
    """A backend that has all defaults."""

    @property
    def name(self) -> str:
        return "heir"

    def stream(self, request: Request) -> Observable[Chunk]:
        return ScriptedBackend(["Mine."]).stream(request)


@pytest.mark.parametrize("backend", [Duck(), Heir()])
def test_a_backend_has_the_default_of_each_member_that_it_lacks(backend: Backend) -> None:
    assert is_backend(backend)
    assert capabilities_of(backend) == Capabilities()
    assert loops_of_backend(backend) == ()
    assert not is_deferred(backend)
    assert asyncio.run(resolved(backend)) is backend
    assert MelleaSession(backend).instruct("Go.").value in ("Quack.", "Mine.")


class Streams(Duck):
    """A backend whose `stream` returns what it is given."""

    name = "b"

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self.make = make

    def stream(self, request: Request) -> Any:
        return self.make()


async def _coroutine() -> str:
    return "text"


WRONG_STREAMS: dict[str, tuple[Callable[[], Any], str]] = {
    "an item that is an int": (lambda: rx.of(3), "it emitted an int"),
    "a later item that is a str": (lambda: rx.of(Chunk("a"), "b", Chunk("c")), "it emitted a str"),
    "an item on another thread": (
        lambda: rx.timer(0.001, scheduler=NewThreadScheduler()),
        "it emitted an int",
    ),
    "a list": (lambda: [Chunk("a")], "it returned a list"),
    "a coroutine": (_coroutine, "it returned a coroutine"),
    "nothing": (lambda: None, "it returned a NoneType"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("live", [False, True], ids=["whole", "live"])
@pytest.mark.parametrize("wrong", WRONG_STREAMS)
def test_a_stream_that_is_no_observable_of_chunks_is_an_error_that_names_the_backend(
    wrong: str, live: bool
) -> None:
    make, told = WRONG_STREAMS[wrong]
    m = MelleaSession(Streams(make))
    with pytest.raises(UnexpectedError) as caught:
        m.instruct("Go.", stream=live).wait(5)
    assert str(caught.value) == (
        f"backend 'b': stream() must return an Observable of Chunk; {told}"
    )
    assert caught.value.text in ("", "a")  # nothing of what came after the wrong item
    gc.collect()


def test_a_backend_that_lacks_a_member_is_told_which() -> None:
    class Half:
        name = "half"
        model_options = Options()

        def stream(self, request: Request) -> Observable[Chunk]:
            return rx.empty()

    half: Any = Half()
    with pytest.raises(InvalidInputError, match="needs a backend, not Half: it lacks check, close"):
        MelleaSession(half)


def test_a_backend_whose_options_are_a_dict_is_told_to_make_options() -> None:
    backend: Any = Duck()
    backend.model_options = {}
    with pytest.raises(InvalidInputError, match=r"model_options are Options, not dict: make them"):
        MelleaSession(backend)


def test_waiting_for_the_end_of_a_backend_without_aclose_is_close() -> None:
    backend = Duck()
    asyncio.run(aclose_backend(backend))
    assert backend.closed == 1


class Deferred(Duck):
    """A deferred backend, with options of its own."""

    model_options = Options({ModelOption.SEED: 7})

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    async def resolve(self) -> Backend:
        return self._backend


GOES = req("goes", simple_validate(lambda text: bool(text)))


@pytest.mark.parametrize("requirements", [None, GOES], ids=["plain", "with requirements"])
def test_the_options_of_a_deferred_backend_hold_over_those_of_the_resolved_one(
    requirements: Any,
) -> None:
    taken = ScriptedBackend(["a"], model_options={ModelOption.SEED: 1, ModelOption.TEMPERATURE: 0})
    MelleaSession(Deferred(taken)).instruct("Go.", requirements=requirements)
    options = taken.requests[0].options
    assert (options.get(ModelOption.SEED), options.get(ModelOption.TEMPERATURE)) == (7, 0)


class Hotter(BaseStrategy):
    """One attempt, with options of the strategy's own."""

    always = True

    async def sample(self, sampler: Sampler) -> SamplingResult:
        request = sampler.request
        options = Options({ModelOption.TEMPERATURE: 2}).over(request.options)
        attempt = await sampler.attempt(replace(request, options=options))
        return SamplingResult(attempt.success, (attempt,), 0)


@pytest.mark.parametrize("wrap", [lambda backend: backend, Deferred], ids=["plain", "deferred"])
def test_the_options_of_a_strategys_own_request_reach_the_backend(
    wrap: Callable[[Backend], Backend],
) -> None:
    backend = ScriptedBackend(["a"])
    MelleaSession(wrap(backend)).instruct("Go.", strategy=Hotter())
    assert backend.requests[0].options.get(ModelOption.TEMPERATURE) == 2


class Picky(Duck):
    """A backend without a seed."""

    def check(self, options: Options) -> None:
        if options.get(ModelOption.SEED) is not None:
            raise OptionError("no seed here")


def test_a_resolved_backend_refuses_the_options_of_a_call() -> None:
    with pytest.raises(OptionError, match="no seed here"):
        MelleaSession(Deferred(Picky())).instruct("Go.")


def test_a_validation_by_functions_alone_resolves_no_backend() -> None:
    class Nobody(Deferred):
        async def resolve(self) -> Backend:
            raise AssertionError("no model is asked")

    assert MelleaSession(Nobody(Duck())).validate(GOES, output="text")[0].result


# Components.


class Plain:
    """The required members of a component."""

    def template(self) -> Template:
        return Template("Go.")

    def parse(self, text: str) -> str:
        return text


class Inherited(TextComponent):
    """A component that has all defaults."""

    def template(self) -> Template:
        return Template("Go.")


@pytest.mark.parametrize("component", [Plain(), Inherited()])
def test_a_component_has_one_message_of_the_users_by_default(component: Any) -> None:
    assert is_component(component)
    assert messages_of(component) == (Said(Template("Go.")),)
    assert MelleaSession(ScriptedBackend(["Gone."])).act(component).parsed == "Gone."


# Strategies.


class Once:
    """The required member of a strategy."""

    def __init__(self) -> None:
        self.calls = 0

    async def sample(self, sampler: Sampler) -> SamplingResult:
        self.calls += 1
        attempt = await sampler.attempt()
        return SamplingResult(attempt.success, (attempt,), 0)


class OnceInherited(BaseStrategy):
    """A strategy that has all defaults."""

    def __init__(self) -> None:
        self.calls = 0

    async def sample(self, sampler: Sampler) -> SamplingResult:
        return await Once.sample(self, sampler)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Once, OnceInherited])
def test_a_strategy_samples_only_where_there_are_requirements_by_default(kind: Any) -> None:
    strategy = kind()
    m = MelleaSession(ScriptedBackend(["a"], ["b"]))
    assert m.instruct("Go.", strategy=strategy).value == "a"
    assert strategy.calls == 0
    assert m.instruct("Go.", strategy=strategy, requirements=GOES).value == "b"
    assert strategy.calls == 1
