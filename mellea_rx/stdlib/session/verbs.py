"""`Verbs`: the verbs of `MelleaSession` (`instruct`, `chat`, `query`, …), async and sync."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, Unpack, overload

from mellea_rx.core.interfaces.component import Component, is_component
from mellea_rx.core.interfaces.sampling import Requirements, SamplingStrategy
from mellea_rx.core.runtime.delivery import running_loop
from mellea_rx.core.streams.thunk import ComputedThunk, ModelOutputThunk
from mellea_rx.core.types.image import Images
from mellea_rx.core.types.options import Options
from mellea_rx.core.types.output_format import OutputFormat
from mellea_rx.core.types.release import OnReject, Release, as_wish
from mellea_rx.core.types.requirement import Requirement, ValidationResult
from mellea_rx.core.types.validation import kind_of
from mellea_rx.errors import InvalidInputError
from mellea_rx.helpers.sync_verbs import blocking, blocking_thunk, wait_for_thunk
from mellea_rx.stdlib.components import Instruction, Message, Query, Transform
from mellea_rx.stdlib.components.messages import Speaker
from mellea_rx.stdlib.components.parts import Part, Text
from mellea_rx.stdlib.formats import as_format
from mellea_rx.stdlib.requirements import as_requirements
from mellea_rx.stdlib.session.call_options import (
    DEFAULT_STRATEGY,
    ActKwargs,
    CallOptions,
    ChatKwargs,
    InstructKwargs,
    ModelKwargs,
    ModelOptions,
    QueryKwargs,
    SettledChatKwargs,
    StreamKwargs,
    requirements_with,
    with_keywords,
)
from mellea_rx.stdlib.tools.method_calls import MethodCall, methods_of

T = TypeVar("T")
F = TypeVar("F")


class Verbs(ABC):
    """The verbs of a session: the async verbs, and a sync verb derived from each."""

    @abstractmethod
    def _start(self, action: Component[T], spec: CallOptions) -> ModelOutputThunk[T]:
        """Start a call, and return its thunk at once."""

    @abstractmethod
    def _start_validation(
        self,
        requirements: tuple[Requirement, ...],
        output: str | ModelOutputThunk[Any] | None,
        model_options: ModelOptions | None,
    ) -> ModelOutputThunk[list[ValidationResult]]:
        """Start a validation, and return its thunk at once."""

    @abstractmethod
    def _options(self, given: ModelOptions | None) -> Options:
        """The options of a call over those of the session."""

    @overload
    async def ainstruct(
        self, description: str, *, format: None = None, **how: Unpack[InstructKwargs]
    ) -> ModelOutputThunk[str]: ...

    @overload
    async def ainstruct(
        self, description: str, *, format: type[F] | OutputFormat[F], **how: Unpack[InstructKwargs]
    ) -> ModelOutputThunk[F]: ...

    @overload
    async def ainstruct(
        self, description: str, *, format: Any, **how: Unpack[InstructKwargs]
    ) -> ModelOutputThunk[Any]: ...

    async def ainstruct(
        self,
        description: str,
        *,
        images: Images | None = None,
        requirements: Requirements | None = None,
        icl_examples: Iterable[Part] | Part | None = None,
        grounding_context: Mapping[str, Part] | Iterable[Part] | None = None,
        user_variables: Mapping[str, Any] | None = None,
        prefix: Text | None = None,
        strategy: SamplingStrategy | None = DEFAULT_STRATEGY,
        require: bool = False,
        format: Any = None,
        tool_calls: bool | None = None,
        release: Release | None = None,
        on_reject: OnReject | None = None,
        model_options: ModelOptions | None = None,
        **options: Unpack[StreamKwargs],
    ) -> ModelOutputThunk[Any]:
        """Have the model do a task; the async verb returns the running thunk at once.

        Args:
            description: The task. With `user_variables` it is a Jinja template, else plain text.
            images: Pictures that the task is about: `Image`s, paths, URLs (never fetched here; for
                servers that take them) or bytes of PNG, JPEG or WebP files; one, or a list.
            requirements: The requirements on the result: texts (judged by the model) or
                `Requirement`s; they are stated in the prompt, and checked.
            icl_examples: Examples of good results: texts, components or thunks.
            grounding_context: The sources of the result: texts, `Document`s, components or thunks
                by their names, or a list of them.
            user_variables: Values for the description, by name; never rendered themselves. Thunks
                are waited for, in the pipeline.
            prefix: The prefill: text that the result begins with; readers get it first.
            strategy: Makes the attempts (by default two at most, until the requirements are met);
                None for a single attempt, only without requirements.
            require: Whether the call fails when no attempt meets the requirements; by default the
                best attempt is the value.
            format: The format of the answer, as `as_format` takes it: a type, or a JSON schema. An
                answer that does not fit is a rejected attempt of the strategy; None for text.
            tool_calls: Whether the model may ask to call tools: True (there have to be some), False
                (not in this call); None offers the tools of `ModelOption.TOOLS`.
            release: The time at which readers get text of an attempt: "accepted", "validated" or
                "live"; by default as the strategy says, else the session.
            on_reject: The fate of text that they have got, when it is rejected: "fail", "marker" or
                "continue"; by default likewise.
            model_options: Options by `ModelOption`, or by a name of the server's own.
            options: Model options as keywords (`temperature=0`); see `ModelKwargs`.

        Returns:
            The thunk; from the sync verb it is computed. With `format`, its value is the JSON text,
            and `parsed` the object.

        Raises:
            InvalidInputError: An argument cannot be used; the message names it.
            RequirementsNotMetError: (when read) With `require`: no attempt met the requirements.
            FormatError: (when read) With `format`: no attempt fits it.
            MelleaRxError: (when read; from the sync verb at once) The generation failed.
        """
        model_options = with_keywords(self.ainstruct, model_options, options)
        checks = requirements_with(requirements, strategy)
        stated = tuple([each.description for each in checks if not each.check_only])
        action = Instruction(
            description,
            stated,
            icl_examples=() if icl_examples is None else icl_examples,
            grounding_context=grounding_context,
            user_variables=user_variables,
            prefix=prefix,
            images=() if images is None else images,
        )
        spec = CallOptions(
            checks,
            strategy,
            require,
            model_options,
            as_format(format),
            tool_calls,
            release=as_wish(release, on_reject),
        )
        return self._start(action, spec)

    @overload
    async def achat(
        self,
        content: Text,
        role: Speaker = "user",
        *,
        format: None = None,
        **how: Unpack[SettledChatKwargs],
    ) -> ComputedThunk[str]: ...

    @overload
    async def achat(
        self,
        content: Text,
        role: Speaker = "user",
        *,
        format: type[F] | OutputFormat[F],
        **how: Unpack[SettledChatKwargs],
    ) -> ComputedThunk[F]: ...

    @overload
    async def achat(
        self,
        content: Text,
        role: Speaker = "user",
        *,
        format: None = None,
        **how: Unpack[ChatKwargs],
    ) -> ModelOutputThunk[str]: ...

    @overload
    async def achat(
        self,
        content: Text,
        role: Speaker = "user",
        *,
        format: type[F] | OutputFormat[F],
        **how: Unpack[ChatKwargs],
    ) -> ModelOutputThunk[F]: ...

    @overload
    async def achat(
        self,
        content: Text,
        role: Speaker = "user",
        *,
        format: Any,
        **how: Unpack[SettledChatKwargs],
    ) -> ComputedThunk[Any]: ...

    @overload
    async def achat(
        self, content: Text, role: Speaker = "user", *, format: Any, **how: Unpack[ChatKwargs]
    ) -> ModelOutputThunk[Any]: ...

    async def achat(
        self,
        content: Text,
        role: Speaker = "user",
        *,
        images: Images | None = None,
        format: Any = None,
        tool_calls: bool | None = None,
        model_options: ModelOptions | None = None,
        **options: Unpack[StreamKwargs],
    ) -> ModelOutputThunk[Any]:
        """Send a message to the model. Waits for the answer, unless `ModelOption.STREAM` is set.

        Args:
            content: The message; never rendered. A thunk is waited for, in the pipeline.
            role: The sender's role: "user", "assistant" (the answer goes on from it) or "system".
            images: Pictures that belong to it, as in `ainstruct`.
            format: The format of the answer; see `ainstruct`. There is one attempt.
            tool_calls: Whether the model may ask to call tools: True (there have to be some), False
                (not in this call); None offers the tools of `ModelOption.TOOLS`.
            model_options: Options by `ModelOption`, or by a name of the server's own.
            options: Model options as keywords (`temperature=0`); see `ModelKwargs`.

        Returns:
            The answer's thunk.

        Raises:
            InvalidInputError: An argument cannot be used; the message names it.
            FormatError: With `format`: the answer does not fit it.
            MelleaRxError: The generation failed.
        """
        model_options = with_keywords(self.achat, model_options, options)
        message = Message(content, role, () if images is None else images)
        spec = CallOptions(
            model_options=model_options, format=as_format(format), tool_calls=tool_calls
        )
        thunk = self._start(message, spec)
        return thunk if self._options(model_options).stream else await wait_for_thunk(thunk)

    @overload
    async def aact(
        self, action: Component[T], *, format: None = None, **how: Unpack[ActKwargs]
    ) -> ModelOutputThunk[T]: ...

    @overload
    async def aact(
        self, action: Component[Any], *, format: type[F] | OutputFormat[F], **how: Unpack[ActKwargs]
    ) -> ModelOutputThunk[F]: ...

    @overload
    async def aact(
        self, action: Component[Any], *, format: Any, **how: Unpack[ActKwargs]
    ) -> ModelOutputThunk[Any]: ...

    async def aact(
        self,
        action: Component[Any],
        *,
        requirements: Requirements | None = None,
        strategy: SamplingStrategy | None = DEFAULT_STRATEGY,
        require: bool = False,
        format: Any = None,
        tool_calls: bool | None = None,
        release: Release | None = None,
        on_reject: OnReject | None = None,
        model_options: ModelOptions | None = None,
        **options: Unpack[StreamKwargs],
    ) -> ModelOutputThunk[Any]:
        """Ask the model any component; the async verb returns the running thunk at once.

        Args:
            action: The component.
            requirements: The requirements on the answer (checked, not stated in the prompt).
            strategy: Makes the attempts; None for a single one, only without requirements.
            require: Whether the call fails when no attempt meets the requirements; by default the
                best attempt is the value.
            format: The format of the answer, instead of the component's `parse`; see `ainstruct`.
            tool_calls: Whether the model may ask to call tools: True (there have to be some), False
                (not in this call); None offers the tools of `ModelOption.TOOLS`.
            release: The time at which readers get text of an attempt: "accepted", "validated" or
                "live"; by default as the strategy says, else the session.
            on_reject: The fate of text that they have got, when it is rejected: "fail", "marker" or
                "continue"; by default likewise.
            model_options: Options by `ModelOption`, or by a name of the server's own.
            options: Model options as keywords (`temperature=0`); see `ModelKwargs`.

        Returns:
            The thunk; its `parsed` is the result of the component's `parse`, or of the format.

        Raises:
            InvalidInputError: An argument cannot be used; the message names it.
        """
        model_options = with_keywords(self.aact, model_options, options)
        if not is_component(action):
            raise InvalidInputError(
                f"act takes a component (an object with template() and parse()), not "
                f"{kind_of(action)}; for a task in words use instruct"
            )
        checks = requirements_with(requirements, strategy)
        spec = CallOptions(
            checks,
            strategy,
            require,
            model_options,
            as_format(format),
            tool_calls,
            release=as_wish(release, on_reject),
        )
        return self._start(action, spec)

    async def avalidate(
        self,
        requirements: Requirements,
        *,
        output: str | ModelOutputThunk[Any] | None = None,
        model_options: ModelOptions | None = None,
        **options: Unpack[ModelKwargs],
    ) -> list[ValidationResult]:
        """Validate an output by requirements; waits for the results.

        Args:
            requirements: Texts (judged by the model) or `Requirement`s; decided all at once.
            output: The text or thunk; the context's latest output by default.
            model_options: Options for the model as judge.
            options: Model options as keywords, for the judge; see `ModelKwargs`.

        Returns:
            A result for each requirement, in order.

        Raises:
            InvalidInputError: There is nothing to validate, or an argument cannot be used.
            ValidatorError: A validation function raised.
        """
        model_options = with_keywords(self.avalidate, model_options, options)
        thunk = self._start_validation(as_requirements(requirements), output, model_options)
        return (await wait_for_thunk(thunk)).parsed

    @overload
    async def aquery(
        self, obj: object, query: str, *, format: None = None, **how: Unpack[QueryKwargs]
    ) -> ModelOutputThunk[str]: ...

    @overload
    async def aquery(
        self,
        obj: object,
        query: str,
        *,
        format: type[F] | OutputFormat[F],
        **how: Unpack[QueryKwargs],
    ) -> ModelOutputThunk[F]: ...

    @overload
    async def aquery(
        self, obj: object, query: str, *, format: Any, **how: Unpack[QueryKwargs]
    ) -> ModelOutputThunk[Any]: ...

    async def aquery(
        self,
        obj: object,
        query: str,
        *,
        format: Any = None,
        model_options: ModelOptions | None = None,
        **options: Unpack[StreamKwargs],
    ) -> ModelOutputThunk[Any]:
        """Ask about an object; the async verb returns the running thunk at once.

        Args:
            obj: Any object: the prompt shows its public attributes and its text, or its description
                by `mify`. A question calls none of its methods.
            query: The question.
            format: The format of the answer; see `ainstruct`. There is one attempt.
            model_options: Options by `ModelOption`, or by a name of the server's own.
            options: Model options as keywords (`temperature=0`); see `ModelKwargs`.

        Returns:
            The answer's thunk.

        Raises:
            InvalidInputError: The object has nothing to show, the question is empty, or `format` is
                not a format.
            FormatError: (when read) With `format`: the answer does not fit it.
        """
        model_options = with_keywords(self.aquery, model_options, options)
        spec = CallOptions(model_options=model_options, format=as_format(format))
        return self._start(Query(obj, query), spec)

    async def atransform(
        self,
        obj: object,
        transformation: str,
        *,
        model_options: ModelOptions | None = None,
        **options: Unpack[ModelKwargs],
    ) -> ComputedThunk[Any]:
        """Have the model change an object; waits for the result.

        The model rewrites it as text, or calls one of the methods that `mify` offers.

        Args:
            obj: Any object: the prompt shows its public attributes and its text, or its description
                by `mify`.
            transformation: The change, in words.
            model_options: Options by `ModelOption`, or by a name of the server's own.
            options: Model options as keywords (`temperature=0`); see `ModelKwargs`.

        Returns:
            The result's thunk, computed. Where a method was called, its `parsed` is the method's
            result and its value the result as text (a str as it is, else JSON); otherwise both are
            the model's text.

        Raises:
            InvalidInputError: The object has nothing to show, the transformation is empty, or an
                offered method cannot be a tool.
            ToolCallError: The model called an unknown method, or its arguments do not fit.
            ToolError: The method raised.
            MelleaRxError: The generation failed.
        """
        model_options = with_keywords(self.atransform, model_options, options)
        action: Component[Any] = Transform(obj, transformation)
        self._options(model_options)  # refuses wrong options by name, before tools are added
        methods = methods_of(obj)
        strategy = MethodCall(methods, running_loop()) if methods else None
        spec = CallOptions(
            strategy=strategy, model_options=model_options, tools=methods if methods else None
        )
        return await wait_for_thunk(self._start(action, spec))

    instruct = blocking_thunk(ainstruct)
    chat = blocking_thunk(achat)
    act = blocking_thunk(aact)
    validate = blocking(avalidate)
    query = blocking_thunk(aquery)
    transform = blocking_thunk(atransform)
