"""Options of a call: the keywords of the verbs, and the values made of them.

Every verb, `react`, `@generative` and `start_session` check their keywords here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypedDict

import msgspec

from mellea_rx.core.interfaces.sampling import (
    Requirements,
    SamplingStrategy,
    requirements_of,
)
from mellea_rx.core.types.image import Images
from mellea_rx.core.types.options import ModelOption, Options, meant_option, standard_option
from mellea_rx.core.types.output_format import OutputFormat
from mellea_rx.core.types.release import OPEN, OnReject, Release, ReleaseWish
from mellea_rx.core.types.requirement import Requirement
from mellea_rx.core.types.retry_policy import RetryPolicy
from mellea_rx.core.types.tool import Tool
from mellea_rx.core.types.validation import nearest
from mellea_rx.errors import OptionError
from mellea_rx.stdlib.components.parts import Part, Text
from mellea_rx.stdlib.requirements import as_requirements
from mellea_rx.stdlib.requirements.preconditions import Preconditions
from mellea_rx.stdlib.sampling import RejectionSampling

ModelOptions: TypeAlias = Mapping[Any, Any]


class ToollessKwargs(TypedDict, total=False):
    """`ModelKwargs` of a function that has its own parameter for tools."""

    temperature: float
    seed: int
    max_tokens: int
    max_new_tokens: int
    system_prompt: str
    stop: str | Sequence[str]
    stop_sequences: str | Sequence[str]
    context_window: int
    thinking: bool | str
    stream_timeout: float | None
    first_token_timeout: float | None
    total_timeout: float | None
    retries: int | RetryPolicy
    on_interrupt: Literal["fail", "continue", "restart"]
    tool_choice: str | Mapping[str, Any]


class ModelKwargs(ToollessKwargs, total=False):
    """Model options as keywords: each is the `ModelOption` of its name in capitals.

    `max_tokens` is `MAX_NEW_TOKENS`, and `stop` is `STOP_SEQUENCES`.
    """

    tools: Sequence[Tool[..., Any] | Callable[..., Any] | Mapping[str, Any]]


class StreamKwargs(ModelKwargs, total=False):
    """`ModelKwargs`, and whether readers get chunks live."""

    stream: bool


class ReactKwargs(ToollessKwargs, total=False):
    """`StreamKwargs` of a function that has its own parameter for tools."""

    stream: bool


KEYWORDS: Mapping[str, ModelOption] = MappingProxyType(
    {
        **{option.value.removeprefix("@"): option for option in ModelOption},
        "max_tokens": ModelOption.MAX_NEW_TOKENS,
        "stop": ModelOption.STOP_SEQUENCES,
    }
)
"""The option of each keyword."""

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "backend": ("backend_name",),
    "context": ("grounding_context", "ctx"),
    "documents": ("grounding_context",),
    "examples": ("icl_examples",),
    "options": ("model_options",),
    **dict.fromkeys(("variables", "inputs"), ("user_variables",)),
    **dict.fromkeys(("schema", "response_format", "response_model", "output_type"), ("format",)),
    **dict.fromkeys(("validate", "validation", "validators"), ("requirements",)),
}
"""Keywords of other libraries, with the parameters that have their meaning here."""

_STRATEGY_PARAMETERS: Mapping[str, str] = {
    **dict.fromkeys(("loop_budget", "attempts", "max_attempts"), "loop_budget"),
    **dict.fromkeys(("max_concurrent", "concurrency_budget"), "max_concurrent"),
}
"""Keywords for the number of attempts, with the parameters of a strategy."""

_HINTS: Mapping[str, str] = {
    "timeout": (
        "say which one: stream_timeout= (seconds of silence), first_token_timeout=, or "
        "total_timeout= (seconds for the whole call)"
    ),
    **dict.fromkeys(
        ("model", "model_id"), "a session has one model: give it to start_session(model=...)"
    ),
    **dict.fromkeys(
        ("ctx", "context_type"),
        "a context belongs to the session: give it to start_session(ctx=...)",
    ),
    "backend": "a session has one backend: give it to MelleaSession(backend)",
    "base_url": "an address belongs to the backend: give it to start_session(base_url=...)",
    "api_key": "a key belongs to the backend: give it to start_session(api_key=...)",
    "n": "one call is one answer: make several calls, or instruct with strategy=BestOfN(n=...)",
}
"""Other keywords that people write, with the hints in their error messages."""

_INSTRUCTS = (
    *("format", "grounding_context", "icl_examples", "images", "prefix", "require"),
    *("on_reject", "release", "requirements", "strategy", "tool_calls", "user_variables"),
)


def with_keywords(
    function: Callable[..., Any],
    model_options: ModelOptions | None,
    keywords: Mapping[str, Any],
) -> ModelOptions | None:
    """The model options of a call: those of its dict, and those of its keywords.

    Args:
        function: The verb, for messages.
        model_options: The dict.
        keywords: The keywords that are not parameters of the verb.

    Raises:
        TypeError: A keyword that the verb does not have; the message suggests the closest one.
        OptionError: A keyword and the dict set one option to different values.
    """
    if not keywords:
        return model_options
    require_keywords(function, keywords)
    Options(model_options)  # refuses anything but a dict of options
    options = dict(model_options or {})
    known = {standard_option(key): (key, f"{key!s}") for key in options}
    for name, value in keywords.items():
        option = KEYWORDS[name]
        if option not in known:
            known[option] = option, f"{name}="
            options[option] = value
            continue
        key, told = known[option]
        if options[key] is not value and options[key] != value:
            raise OptionError(
                f"{name}= and {told} set one model option to different values: give one of them"
            )
    return options


def require_keywords(function: Callable[..., Any], keywords: Iterable[str]) -> None:
    """Refuse keywords that are not model options.

    Raises:
        TypeError: As for `with_keywords`.
    """
    for name in keywords:
        if name not in KEYWORDS:
            parameters = inspect.signature(function).parameters.values()
            own = [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]
            verb = getattr(function, "__name__", "the call").removeprefix("a")
            raise TypeError(f"{verb}() has no keyword {name!r}: {unknown_keyword(name, own)}")


def unknown_keyword(name: str, own: Iterable[str] = ()) -> str:
    """The hint for a keyword that a function does not have.

    Args:
        name: The keyword.
        own: The function's parameters.
    """
    own = frozenset(own)
    return (
        _hint_of(name, own)
        or _hint_of_nearest(name, own)
        or f"an option of the server's own goes into model_options={{{name!r}: ...}}"
    )


def _hint_of(name: str, own: frozenset[str]) -> str | None:
    """The hint for a keyword that is known by this very name; None where it is not."""
    synonyms = _SYNONYMS.get(name, ())
    for meant in synonyms:
        if meant in own:
            return f"did you mean {meant}=?"
    if name in _STRATEGY_PARAMETERS:
        strategy = f"strategy=RejectionSampling({_STRATEGY_PARAMETERS[name]}=...)"
        return f"give {strategy}" if "strategy" in own else f"instruct() has {strategy}"
    if name in _HINTS:
        return _HINTS[name]
    meant = next((each for each in (name, *synonyms) if each in _INSTRUCTS), "")
    return f"instruct() has {meant}=" if meant else None


def _hint_of_nearest(name: str, own: frozenset[str]) -> str | None:
    """The hint for a keyword that is nearly written as a known one; None where there is none."""
    names = [*sorted(own), *KEYWORDS]
    near = nearest(name, names) or next(iter(get_close_matches(name, names, 1, cutoff=0.75)), None)
    if near is None and (option := meant_option(name)) is not None:
        near = option.value.removeprefix("@")
    if near is not None:
        return f"did you mean {near}=?"
    others = [each for each in (*_SYNONYMS, *_STRATEGY_PARAMETERS, *_HINTS) if each not in own]
    other = nearest(name, [each for each in others if len(each) >= _LONG_ENOUGH])
    return None if other is None else _hint_of(other, own)


_LONG_ENOUGH = 4
"""The length from which on a name may be misspelt: any letter is nearly an "n"."""


DEFAULT_STRATEGY = RejectionSampling()
"""Two attempts, where there are requirements or a format."""


def requirements_with(
    given: Requirements | None, strategy: SamplingStrategy | None
) -> tuple[Requirement, ...]:
    """The requirements of a call: its own, then those of its strategy that it does not have.

    Raises:
        InvalidInputError: Something is neither a str nor a `Requirement`.
    """
    # Without function calls for most calls, which have neither.
    kept = () if given is None else as_requirements(given)
    if strategy is None or strategy is DEFAULT_STRATEGY:
        return kept
    for each in as_requirements(requirements_of(strategy)):
        if each not in kept:
            kept = (*kept, each)
    return kept


class CallOptions(msgspec.Struct, frozen=True):
    """The arguments of a verb besides its action.

    Attributes:
        requirements: The requirements on the answer.
        strategy: Makes the attempts; None for a single one, without requirements.
        require: Whether an answer that does not meet the requirements is an error.
        model_options: The model options, unchecked.
        format: The format of the answer; None for text, which the component parses.
        tool_calls: Whether tools are offered; None to offer the tools of the options.
        tools: The tools to offer instead of those of the options; None for no others.
        release: The release policy that the call asks for, instead of the strategy's.
        preconditions: Requirements on the call's arguments, decided before it; None for none.
    """

    requirements: tuple[Requirement, ...] = ()
    strategy: SamplingStrategy | None = None
    require: bool = False
    model_options: ModelOptions | None = None
    format: OutputFormat[Any] | None = None
    tool_calls: bool | None = None
    tools: tuple[Tool[..., Any], ...] | None = None
    release: ReleaseWish = OPEN
    preconditions: Preconditions | None = None

    def options_over(self, *bases: Options) -> tuple[Options, ...]:
        """The call's options over each of these options; the same objects where the call sets none.

        Raises:
            OptionError: A model option cannot be used.
        """
        if self.model_options is None and self.tools is None and self.tool_calls is not False:
            return bases
        given = Options(self.model_options)
        offer = None if self.tools is None else Options({ModelOption.TOOLS: self.tools})
        return tuple([self._over(base, given, offer) for base in bases])

    def _over(self, base: Options, given: Options, offer: Options | None) -> Options:
        options = given.over(base)
        if offer is not None:
            options = offer.over(options.without(ModelOption.TOOLS))
        if self.tool_calls is False:
            options = options.without(ModelOption.TOOLS, ModelOption.TOOL_CHOICE)
        return options


class QueryKwargs(StreamKwargs, total=False):
    """The keywords that the overloads of all verbs share; the verbs document them."""

    model_options: ModelOptions | None


class SettledChatKwargs(ModelKwargs, total=False):
    """The keywords of a `chat` that always waits for its answer."""

    images: Images | None
    tool_calls: bool | None
    stream: Literal[False]


class ChatKwargs(QueryKwargs, total=False):
    """The keywords that the overloads of `chat` share."""

    images: Images | None
    tool_calls: bool | None


class ActKwargs(QueryKwargs, total=False):
    """The keywords that the overloads of `act` share."""

    requirements: Requirements | None
    strategy: SamplingStrategy | None
    require: bool
    tool_calls: bool | None
    release: Release | None
    on_reject: OnReject | None


class InstructKwargs(ActKwargs, total=False):
    """The keywords that the overloads of `instruct` share."""

    images: Images | None
    icl_examples: Iterable[Part] | Part | None
    grounding_context: Mapping[str, Part] | Iterable[Part] | None
    user_variables: Mapping[str, Any] | None
    prefix: Text | None
