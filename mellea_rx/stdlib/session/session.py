"""`MelleaSession`: a backend, a context, and the calls that are made with them. For users."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from mellea_rx.core.interfaces.backend import (
    Backend,
    aclose_backend,
    is_deferred,
    require_backend,
    require_images,
)
from mellea_rx.core.interfaces.component import Component
from mellea_rx.core.interfaces.context import Context, is_context
from mellea_rx.core.interfaces.sampling import SamplingStrategy, is_strategy, samples_always
from mellea_rx.core.runtime.delivery import running_loop
from mellea_rx.core.runtime.engine import engine, load_engine
from mellea_rx.core.runtime.fork import ForkSafeLock
from mellea_rx.core.runtime.logs import ChatForgets, LogEvent, StaleContext, log
from mellea_rx.core.streams.generation_view import GenerationView
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.output import Origin
from mellea_rx.core.types.release import ACCEPTED, OnReject, Release, as_wish
from mellea_rx.core.types.requirement import Requirement, ValidationResult
from mellea_rx.core.types.session_budget import SessionBudget
from mellea_rx.core.types.session_usage import Price, SessionUsage, checked_prices
from mellea_rx.core.types.validation import kind_of
from mellea_rx.errors import (
    EngineStoppedError,
    InvalidInputError,
    NoSessionError,
    SessionClosedError,
)
from mellea_rx.stdlib.components import Message
from mellea_rx.stdlib.context.contexts import SimpleContext
from mellea_rx.stdlib.context.summaries import SummaryCache
from mellea_rx.stdlib.pipeline import generate as answers
from mellea_rx.stdlib.pipeline.call import CallPipeline, start_call, start_validation
from mellea_rx.stdlib.pipeline.preconditions import PreconditionCheck
from mellea_rx.stdlib.pipeline.release import policy_of
from mellea_rx.stdlib.pipeline.request_ledger import RequestLedger
from mellea_rx.stdlib.pipeline.structured_output import for_one_call, format_requirement
from mellea_rx.stdlib.prompts import renderer as template
from mellea_rx.stdlib.prompts.prompt import prompt_for
from mellea_rx.stdlib.session.call_options import (
    CallOptions,
    ModelOptions,
    StreamKwargs,
    with_keywords,
)
from mellea_rx.stdlib.session.cold import ColdVerbs
from mellea_rx.stdlib.session.template_overrides import read_templates
from mellea_rx.stdlib.session.verbs import Verbs

T = TypeVar("T")

_CLOSED = "its session was closed before its end"

_sessions: ContextVar[tuple[MelleaSession, ...]] = ContextVar("mellea_rx_sessions", default=())


class MelleaSession(Verbs):
    """Makes calls to one model, each of which returns a thunk.

    The a-verbs return at once and run on any event loop; each sync verb is its async twin plus a
    wait, and works with or without a running loop. A session is a context manager, sync and
    async: leaving it ends the calls that still run, and closes the backend.

    Args:
        backend: The backend that generates.
        ctx: The context that prompts begin with; a `SimpleContext` (no history) by default.
        model_options: Options for every call that does not set them itself.
        templates: A folder with files that replace the library's templates, read now.
        release: The time at which readers get text of an attempt, where neither call nor strategy
            says one: "accepted" by default, "validated" or "live".
        on_reject: The fate of text that they have got, when it is rejected, likewise: "fail" by
            default, "marker" or "continue".
        prices: The price of each model by the name that its backend asks for, for `usage.cost`.
        budget: The limit on what all calls spend together, those of clones too; None for none.
        options: Model options as keywords (`temperature=0`); see `ModelKwargs`.

    Example:
        >>> from mellea_rx import ScriptedBackend
        >>> with MelleaSession(ScriptedBackend("Hello.")) as m:
        ...     print(m.instruct("Greet me."))
        Hello.

    Attributes:
        ctx: The context, with every call so far; immutable, replaced by each call.

    Raises:
        OptionError: A model option is unknown, wrong, or not supported by this backend.
        TemplateError: A file of `templates` cannot be used.
    """

    def __init__(
        self,
        backend: Backend,
        ctx: Context | None = None,
        *,
        model_options: ModelOptions | None = None,
        templates: str | os.PathLike[str] | None = None,
        release: Release | None = None,
        on_reject: OnReject | None = None,
        prices: Mapping[str, Price] | None = None,
        budget: SessionBudget | None = None,
        **options: Unpack[StreamKwargs],
    ) -> None:
        require_backend(backend, "a session")
        if ctx is not None and (isinstance(ctx, type) or not is_context(ctx)):
            raise InvalidInputError(
                f"ctx must be a context (SimpleContext(), ChatContext()), not {kind_of(ctx)}"
            )
        # Loaded here, so that the first call is as fast as any other.
        template.load()
        load_engine()
        self._wish = as_wish(release, on_reject)
        if budget is not None and not isinstance(budget, SessionBudget):
            raise InvalidInputError(f"budget must be a SessionBudget, not {kind_of(budget)}")
        self._ledger = RequestLedger(checked_prices(prices), budget)
        self._sources = read_templates(templates)
        self.backend = backend
        self._own_options = Options(with_keywords(type(self), model_options, options))
        self._base_options = self._own_options.over(backend.model_options)
        answers.check(backend, self._base_options)
        self.ctx: Context = SimpleContext() if ctx is None else ctx
        self._memory = SummaryCache(backend, self._sources)
        self._lock = ForkSafeLock()
        self._running: weakref.WeakSet[ModelOutputThunk[Any]] = weakref.WeakSet()
        self._closed = False
        self._has_forgotten = False  # whether `ChatForgets` was logged
        self._tokens: list[Token[tuple[MelleaSession, ...]]] = []

    @property
    def cold(self) -> ColdVerbs:
        """The verbs as cold calls, made anew for each subscription: `m.cold.instruct(...)`."""
        return ColdVerbs(self)

    @property
    def usage(self) -> SessionUsage:
        """The requests and tokens of this session's calls so far, by model, with their cost.

        Rejected and failed attempts, retries and judges count, and the calls of clones.

        Example:
            >>> from mellea_rx import ScriptedBackend
            >>> m = MelleaSession(ScriptedBackend("Hello."))
            >>> str(m.instruct("Greet me.")), m.usage.requests
            ('Hello.', 1)
        """
        return self._ledger.snapshot()

    # Contexts.

    def clone(self) -> MelleaSession:
        """An independent session with the same backend, which starts from the same context.

        It does not own the backend: closing it leaves the backend open.
        """
        self._require_open()
        twin = _Clone(self.backend, self.ctx)
        twin._own_options, twin._base_options = self._own_options, self._base_options
        twin._sources = self._sources
        twin._wish = self._wish
        twin._ledger = self._ledger
        twin._memory = self._memory.copy()
        return twin

    def reset(self) -> None:
        """Remove every turn from the context."""
        self._memory.close()
        self._memory = SummaryCache(self.backend, self._sources)
        self.ctx = self.ctx.empty()

    # Its life.

    def close(self) -> None:
        """Cancel running calls, and close the backend. Idempotent."""
        if not self._closed:
            self._end_calls()
            self._close_backend()

    async def aclose(self) -> None:
        """As `close`, and wait until the calls' work and the backend's connections have ended.

        Cancelling it ends only the wait: the session is closed all the same. Idempotent.
        """
        running = [thunk._view() for thunk in self._calls()]
        if not self._closed:
            self._end_calls()
        try:
            if running:  # else do not start an engine just for this
                await engine().run(partial(_work_ended, running))
        except EngineStoppedError:
            pass  # the engine ended all calls when it stopped
        except BaseException:
            self._close_backend()
            raise
        await self._aclose_backend()

    def _end_calls(self) -> None:
        self._closed = True
        for thunk in self._calls():
            thunk.cancel(_CLOSED)
        self._memory.close()

    def _calls(self) -> list[ModelOutputThunk[Any]]:
        """The calls whose thunks are still referenced."""
        while True:
            try:
                return list(self._running)
            except RuntimeError:  # another thread added a call while the set was copied
                continue

    def _enroll(self, thunk: ModelOutputThunk[Any]) -> None:
        # First the call is added to the set, then the flag is read. `close` in another thread sets
        # the flag first, then reads the set. In these orders one of the two cancels this call; in
        # any other it could outlive the session. There is no lock, since signal handlers may close.
        self._running.add(thunk)
        if self._closed:
            thunk.cancel(_CLOSED)
            self._close_backend()  # the call may have opened it again
            self._require_open()

    def _close_backend(self) -> None:
        self.backend.close()

    async def _aclose_backend(self) -> None:
        await aclose_backend(self.backend)

    def __enter__(self) -> Self:
        self._require_open()
        self._tokens.append(_sessions.set((*_sessions.get(), self)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _sessions.reset(self._tokens.pop())
        self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _sessions.reset(self._tokens.pop())
        await self.aclose()

    # How a call begins.

    def _options(self, given: ModelOptions | None) -> Options:
        return Options(given).over(self._base_options)

    def _start(self, action: Component[T], spec: CallOptions) -> ModelOutputThunk[T]:
        self._require_open()
        strategy = _strategy_of(spec)
        form = None if spec.format is None else for_one_call(spec.format)
        own = () if form is None or strategy is None else (format_requirement(form),)
        requirements = (*spec.requirements, *own)
        policy = ACCEPTED
        if strategy is not None:
            policy = policy_of(strategy, spec.release, self._wish, requirements)
        options, given = spec.options_over(self._base_options, self._own_options)
        if spec.tool_calls and not options.get(ModelOption.TOOLS):
            raise InvalidInputError("tool_calls=True needs tools: give some in ModelOption.TOOLS")
        parse = action.parse if form is None else form.decode
        # The session's own options were checked with it; those of a deferred backend could not be.
        deferred = is_deferred(self.backend)
        if options is not self._base_options or deferred:
            answers.check(self.backend, options)
        # The lock makes one step of reading the context and adding the turn. Without it another
        # thread could add a turn in between, which this call would remove again.
        with self._lock:
            ctx = self.ctx
            surprise = self._surprise(ctx, action)  # logged below: log handlers take other locks
            recall = None if ctx.is_simple else partial(self._memory.recall, ctx, options)
            prompt = prompt_for(action, ctx.history(), options, self._sources, recall)
            if not deferred:  # else checked in the call
                require_images(self.backend, prompt.images)
            check = conversation = None
            if strategy is not None or spec.preconditions is not None:
                conversation = _conversation(ctx)
            if spec.preconditions is not None:
                check = PreconditionCheck.of(spec.preconditions, self._sources)
            call = CallPipeline(
                self.backend,
                prompt,
                given,
                requirements,
                strategy,
                spec.require,
                running_loop(),
                Origin(parse, conversation, weakref.ref(self)),
                form,
                policy,
                check,
                self._ledger,
            )
            thunk = start_call(call, action)
            self.ctx = ctx.add(action, prompt.messages, thunk)
        self._enroll(thunk)
        if surprise is not None:
            log(surprise)
        return thunk

    def _surprise(self, ctx: Context, action: Component[Any]) -> LogEvent | None:
        """The warning for a turn that may not see the history that its user expects."""
        before = ctx.last
        if before is None:
            return None
        if not ctx.is_simple:
            return StaleContext() if before.output.is_running else None
        is_chat = isinstance(action, Message) and isinstance(before.action, Message)
        if not is_chat or self._has_forgotten:
            return None
        self._has_forgotten = True
        return ChatForgets()

    def _start_validation(
        self,
        requirements: tuple[Requirement, ...],
        output: str | ModelOutputThunk[Any] | None,
        model_options: ModelOptions | None,
    ) -> ModelOutputThunk[list[ValidationResult]]:
        self._require_open()
        judged = self._latest_output() if output is None else output
        thunk = start_validation(
            requirements,
            judged,
            self.backend,
            Options(model_options),
            self._base_options,
            self._sources,
            Origin(context=_conversation(self.ctx), session=weakref.ref(self)),
            self._ledger,
        )
        self._enroll(thunk)
        return thunk

    def _latest_output(self) -> GenerationView:
        last = self.ctx.last
        if last is None:
            raise InvalidInputError("there is no output to validate yet: give output=")
        return last.output

    def _require_open(self) -> None:
        if self._closed:
            raise SessionClosedError("this session is closed: start another one")

    def __repr__(self) -> str:
        if "_closed" not in vars(self):  # a traceback may show one that could not be made
            return f"<{type(self).__name__}>"
        state = " closed" if self._closed else ""
        return f"<{type(self).__name__}{state} {self.backend!r}>"


def _conversation(ctx: Context) -> Context:
    """The turns that prompts begin with, as a context, for validators.

    A `SimpleContext` has the latest call's turn besides, which is in no prompt. With it each call
    would keep the one before it in memory, and that one the one before.
    """
    return ctx.empty() if ctx.is_simple else ctx


def _strategy_of(spec: CallOptions) -> SamplingStrategy | None:
    """The strategy of a call; None where a single attempt is enough.

    Raises:
        InvalidInputError: There are requirements without a strategy, or `require` without any.
    """
    strategy = spec.strategy
    if strategy is not None and not is_strategy(strategy):
        raise InvalidInputError(
            f"strategy must be a sampling strategy, such as RejectionSampling(), not "
            f"{kind_of(strategy)}"
        )
    if spec.requirements and strategy is None:
        raise InvalidInputError(
            "requirements need a strategy: leave strategy= out (two attempts), give "
            "RejectionSampling(loop_budget=1) for one, or check later with validate"
        )
    has_checks = bool(spec.requirements) or spec.format is not None
    if spec.require and not has_checks:
        raise InvalidInputError("require=True needs requirements: there are none to be met")
    if strategy is None or not (has_checks or samples_always(strategy)):
        return None
    return strategy


class _Clone(MelleaSession):
    """A session that does not own its backend."""

    def _close_backend(self) -> None:
        pass

    async def _aclose_backend(self) -> None:
        pass


async def _work_ended(running: Iterable[GenerationView]) -> None:
    for each in running:
        await each.work_ended()


def get_session() -> MelleaSession:
    """The session of the innermost `with` block around the caller.

    Example:
        >>> from mellea_rx import ScriptedBackend
        >>> with MelleaSession(ScriptedBackend()) as m:
        ...     assert get_session() is m

    Raises:
        NoSessionError: No session is open.
    """
    sessions = _sessions.get()
    if not sessions:
        raise NoSessionError("no session is open here: use `with start_session() as m:`")
    return sessions[-1]
