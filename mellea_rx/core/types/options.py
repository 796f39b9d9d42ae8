"""Model options: `ModelOption`, and `Options`, their checked values. All layers use them.

A `ModelOption` means the same on every backend; other names go to the server as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from math import isfinite
from types import MappingProxyType
from typing import Any

from mellea_rx.core.types.retry_policy import RetryPolicy
from mellea_rx.core.types.tool import Tool, merged_tools, offer_of
from mellea_rx.core.types.validation import fault_in, nearest
from mellea_rx.errors import OptionError

DEFAULT_RETRIES = RetryPolicy(tries=3)
"""Two more tries after the first."""

DEFAULT_STREAM_TIMEOUT = 120.0
"""The longest silence of a stream, in seconds; the time to the first token is one."""


class ModelOption(StrEnum):
    """Keys of `model_options` that mean the same on every backend.

    A server's own name for one of them ("max_tokens", "num_predict") is that option; any other key
    goes to the server as it is. Options of a call win over the session's, which win over the
    backend's.

    Example:
        >>> options = {ModelOption.TEMPERATURE: 0.2, ModelOption.SEED: 7, "top_k": 40}
    """

    TEMPERATURE = "@temperature"
    """Float, 0 or more: 0 always takes the likeliest token."""
    SEED = "@seed"
    """Int: the same seed and prompt give the same text, where the server keeps that promise."""
    MAX_NEW_TOKENS = "@max_new_tokens"
    """Int, 1 or more: the maximum number of tokens of an answer."""
    SYSTEM_PROMPT = "@system_prompt"
    """Str: the system message at the beginning of each prompt."""
    STOP_SEQUENCES = "@stop_sequences"
    """Str or a list of str: the generation ends before any of these."""
    CONTEXT_WINDOW = "@context_window"
    """Int: the number of tokens of prompt and answer that the model is loaded for."""
    THINKING = "@thinking"
    """Bool, or an effort that the server knows ("low", "medium", "high")."""
    STREAM = "@stream"
    """Bool: whether readers and subscribers get chunks live; else the whole answer, once."""
    STREAM_TIMEOUT = "@stream_timeout"
    """Seconds: the longest silence of a stream (120 by default); None for none."""
    FIRST_TOKEN_TIMEOUT = "@first_token_timeout"
    """Seconds: the longest wait for the first token (default STREAM_TIMEOUT); None for none."""
    TOTAL_TIMEOUT = "@total_timeout"
    """Seconds: the longest duration of a call with all attempts; None, the default, for none."""
    RETRIES = "@retries"
    """Int: the number of further tries after a request failed before its first chunk (2 by default;
    0 for none), or a `RetryPolicy`."""
    ON_INTERRUPT = "@on_interrupt"
    """Str: the reaction to an answer that breaks off after its first chunk: "fail" (the default),
    "continue" (the rest is requested, where the server can continue a text), or "restart" (another
    answer; readers that have taken text get an error that says so)."""
    TOOLS = "@tools"
    """A list of tools that the model may ask to call: `Tool`s, typed functions, or JSON
    descriptions."""
    TOOL_CHOICE = "@tool_choice"
    """Str or dict: "auto", "none", "required", or a tool's name."""

    def __str__(self) -> str:
        return f"ModelOption.{self.name}"


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_int(value) or (isinstance(value, float) and isfinite(value))


def _is_texts(value: object) -> bool:
    if isinstance(value, str):
        return bool(value)
    return isinstance(value, (list, tuple)) and all(isinstance(v, str) and v for v in value)


_LIMIT: tuple[str, Callable[[Any], bool]] = (
    "a number of seconds above 0, or None",
    lambda v: v is None or (_is_number(v) and v > 0),
)

_RULES: Mapping[ModelOption, tuple[str, Callable[[Any], bool]]] = {
    ModelOption.TEMPERATURE: ("a number, 0 or more", lambda v: _is_number(v) and v >= 0),
    ModelOption.SEED: ("an int", _is_int),
    ModelOption.MAX_NEW_TOKENS: ("an int, 1 or more", lambda v: _is_int(v) and v >= 1),
    ModelOption.SYSTEM_PROMPT: ("a str", lambda v: isinstance(v, str)),
    ModelOption.STOP_SEQUENCES: ("a str or a list of str, none empty", _is_texts),
    ModelOption.CONTEXT_WINDOW: ("an int, 1 or more", lambda v: _is_int(v) and v >= 1),
    ModelOption.THINKING: ("a bool or a str", lambda v: isinstance(v, (bool, str))),
    ModelOption.STREAM: ("a bool", lambda v: isinstance(v, bool)),
    ModelOption.STREAM_TIMEOUT: _LIMIT,
    ModelOption.FIRST_TOKEN_TIMEOUT: _LIMIT,
    ModelOption.TOTAL_TIMEOUT: _LIMIT,
    ModelOption.RETRIES: (
        "an int, 0 or more, or a RetryPolicy",
        lambda v: isinstance(v, RetryPolicy) or (_is_int(v) and v >= 0),
    ),
    ModelOption.ON_INTERRUPT: (
        '"fail", "continue" or "restart"',
        lambda v: v in ("fail", "continue", "restart"),
    ),
    ModelOption.TOOLS: ("a list of tools", lambda v: isinstance(v, (list, tuple))),
    ModelOption.TOOL_CHOICE: ("a str or a dict", lambda v: isinstance(v, (str, dict))),
}

_OURS = frozenset(
    {
        ModelOption.STREAM_TIMEOUT,
        ModelOption.FIRST_TOKEN_TIMEOUT,
        ModelOption.TOTAL_TIMEOUT,
        ModelOption.RETRIES,
        ModelOption.TOOLS,  # their descriptions are sent, not the functions
    }
)
"""Options whose values are not sent to servers."""

_RESERVED = {
    "messages": "the session makes the messages",
    "stream": "use ModelOption.STREAM",
}

_SERVER_NAMES: Mapping[str, ModelOption] = {
    "temperature": ModelOption.TEMPERATURE,
    "seed": ModelOption.SEED,
    "random_seed": ModelOption.SEED,
    "max_tokens": ModelOption.MAX_NEW_TOKENS,
    "max_completion_tokens": ModelOption.MAX_NEW_TOKENS,
    "n_predict": ModelOption.MAX_NEW_TOKENS,
    "num_predict": ModelOption.MAX_NEW_TOKENS,
    "stop": ModelOption.STOP_SEQUENCES,
    "num_ctx": ModelOption.CONTEXT_WINDOW,
    "think": ModelOption.THINKING,
    "reasoning_effort": ModelOption.THINKING,
    "tools": ModelOption.TOOLS,
    "tool_choice": ModelOption.TOOL_CHOICE,
}
"""Servers' names of a `ModelOption`. On every backend they mean that option, so that a call's value
wins over the session's whichever names the two use."""

_MEANT: Mapping[str, ModelOption] = {
    **_SERVER_NAMES,
    **{option.value.removeprefix("@"): option for option in ModelOption},
    "context_length": ModelOption.CONTEXT_WINDOW,
    "max_length": ModelOption.MAX_NEW_TOKENS,
    "max_output_tokens": ModelOption.MAX_NEW_TOKENS,
    "n_ctx": ModelOption.CONTEXT_WINDOW,
    "streaming": ModelOption.STREAM,
    "system": ModelOption.SYSTEM_PROMPT,
}
"""Names close to that of a `ModelOption`, for error messages: servers ignore unknown names."""

_NOTHING: Mapping[Any, Any] = MappingProxyType({})
_UNSPELLED: Mapping[ModelOption, str] = MappingProxyType({})


def standard_option(key: object) -> ModelOption | None:
    """The `ModelOption` that a key stands for; None for another name of a server's.

    Example:
        >>> standard_option("max_tokens"), standard_option("top_k")
        (<ModelOption.MAX_NEW_TOKENS: '@max_new_tokens'>, None)

    Raises:
        OptionError: It cannot be a key, or is close to an option's name; the message names that.
    """
    if isinstance(key, ModelOption):
        return key
    if not isinstance(key, str):
        raise OptionError(f"a model option's name must be a str or a ModelOption, not {key!r}")
    option = _SERVER_NAMES.get(key)
    if option is not None:
        return option
    if key in _RESERVED:
        raise OptionError(f"model option {key!r} cannot be set: {_RESERVED[key]}")
    meant = meant_option(key)
    if key.startswith("@"):
        if meant is not None and key == meant.value:
            return meant
    elif meant is None:
        return None
    hint = f"; did you mean {meant}?" if meant is not None else ""
    raise OptionError(f"there is no model option {key!r}{hint}")


def meant_option(key: str) -> ModelOption | None:
    """The `ModelOption` that is probably meant by `key`: the one of this name or of a close one.

    Example:
        >>> meant_option("Temprature")
        <ModelOption.TEMPERATURE: '@temperature'>
    """
    name = nearest(key.removeprefix("ModelOption.").removeprefix("@"), _MEANT)
    return None if name is None else _MEANT[name]


class Options:
    """Checked model options; immutable. Options of equal contents are equal.

    They can be copied and pickled where their tools can.

    Example:
        >>> Options({"top_k": 4}) == Options({"top_k": 4})
        True

    Args:
        values: By `ModelOption`, or by a name of the server's own.

    Raises:
        OptionError: A key is unknown, or a value has the wrong type; the message names it.
        InvalidInputError: A function that cannot be a tool, or two tools of one name.
    """

    __slots__ = ("extra", "spelled", "standard", "tools")

    standard: Mapping[ModelOption, Any]
    """Values by `ModelOption`. `TOOLS` are their JSON descriptions here."""
    extra: Mapping[str, Any]
    """Values by other names, which go to the server as they are."""
    spelled: Mapping[ModelOption, str]
    """The servers' names under which options were given, for servers with several names of one."""
    tools: tuple[Tool[..., Any], ...]
    """The callable tools of `TOOLS`: not those that are only a JSON description."""

    def __init__(self, values: Mapping[Any, Any] | None = None) -> None:
        self.standard = self.extra = _NOTHING  # for `repr` in a traceback, should the checks fail
        if values is not None and not isinstance(values, Mapping):
            raise OptionError(f"model_options must be a dict, not {type(values).__name__}")
        self.spelled, self.tools = _UNSPELLED, ()
        if not values:
            return
        standard: dict[ModelOption, Any] = {}
        extra: dict[str, Any] = {}
        spelled: dict[ModelOption, str] = {}
        given: dict[ModelOption | str, tuple[object, object]] = {}
        for key, value in _items(values):
            option = standard_option(key)
            name = key if option is None else option
            if name in given:
                _require_same(given[name], key, value)
            given[name] = (key, value)
            if option is None:
                _require_json(key, value)
                extra[key] = value
                continue
            _check(option, key, value)
            if option not in _OURS:
                _require_json(key, value)
            standard[option] = value
            if key in _SERVER_NAMES:
                spelled[option] = key
        if ModelOption.TOOLS in standard:
            described = [each for each in standard[ModelOption.TOOLS] if isinstance(each, Mapping)]
            _require_json(ModelOption.TOOLS, described)
            standard[ModelOption.TOOLS], self.tools = offer_of(standard[ModelOption.TOOLS])
        self.standard = MappingProxyType(standard)
        if extra:
            self.extra = MappingProxyType(extra)
        if spelled:
            self.spelled = MappingProxyType(spelled)

    def get(self, option: ModelOption, default: Any = None) -> Any:
        """The value of `option`, or `default` where it is not set."""
        return self.standard.get(option, default)

    def over(self, base: Options) -> Options:
        """These options, and those of `base` that these do not set; the tools of both."""
        if not self.standard and not self.extra:
            return base
        if not base.standard and not base.extra:
            return self
        standard = {**base.standard, **self.standard}
        tools = self.tools or base.tools
        if ModelOption.TOOLS in base.standard and ModelOption.TOOLS in self.standard:
            described = self.standard[ModelOption.TOOLS]
            standard[ModelOption.TOOLS], tools = merged_tools(
                (base.standard[ModelOption.TOOLS], base.tools), (described, self.tools)
            )
        both = base.extra and self.extra
        return _checked(
            MappingProxyType(standard),
            MappingProxyType({**base.extra, **self.extra}) if both else self.extra or base.extra,
            {**base.spelled, **self.spelled} if base.spelled else self.spelled,
            tools,
        )

    def without(self, *options: ModelOption) -> Options:
        """These options without some."""
        kept = {key: value for key, value in self.standard.items() if key not in options}
        tools = () if ModelOption.TOOLS in options else self.tools
        return _checked(MappingProxyType(kept), self.extra, self.spelled, tools)

    @property
    def stream(self) -> bool:
        """Whether readers get chunks live."""
        return bool(self.standard.get(ModelOption.STREAM, False))

    @property
    def stream_timeout(self) -> float | None:
        """The longest silence of a stream, in seconds; None for no limit."""
        value: float | None = self.standard.get(ModelOption.STREAM_TIMEOUT, DEFAULT_STREAM_TIMEOUT)
        return value

    @property
    def first_token_timeout(self) -> float | None:
        """The longest wait for the first token, in seconds; None for no limit."""
        value: float | None = self.standard.get(
            ModelOption.FIRST_TOKEN_TIMEOUT, self.stream_timeout
        )
        return value

    @property
    def retry_policy(self) -> RetryPolicy:
        """The policy for a request that failed before its first chunk."""
        value = self.standard.get(ModelOption.RETRIES)
        if isinstance(value, RetryPolicy):
            return value
        return DEFAULT_RETRIES if value is None else RetryPolicy(tries=value + 1)

    @property
    def stop_sequences(self) -> list[str]:
        """The stop sequences, as a list."""
        value = self.standard.get(ModelOption.STOP_SEQUENCES, ())
        return [value] if isinstance(value, str) else list(value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Options):
            return NotImplemented
        return self._contents() == other._contents()

    def __hash__(self) -> int:
        # Tools count by their names alone: their schemas are dicts.
        names = tuple([tool.name for tool in self.tools])
        return hash((_hashable(self.standard), _hashable(self.extra), names))

    def _contents(self) -> tuple[object, ...]:
        return self.standard, self.extra, self.tools

    def __reduce__(self) -> tuple[Any, ...]:
        plain = dict(self.standard), dict(self.extra), dict(self.spelled), self.tools
        return _restored, plain

    def __repr__(self) -> str:
        shown = {**{str(k): v for k, v in self.standard.items()}, **self.extra}
        return f"Options({shown!r})"


def _checked(
    standard: Mapping[ModelOption, Any],
    extra: Mapping[str, Any],
    spelled: Mapping[ModelOption, str],
    tools: tuple[Tool[..., Any], ...],
) -> Options:
    """Options from values that were checked before."""
    made = Options.__new__(Options)
    made.standard, made.extra, made.spelled, made.tools = standard, extra, spelled, tools
    return made


def _restored(
    standard: dict[ModelOption, Any],
    extra: dict[str, Any],
    spelled: dict[ModelOption, str],
    tools: tuple[Tool[..., Any], ...],
) -> Options:
    """Options from a pickle or a copy."""
    proxies = MappingProxyType(standard), MappingProxyType(extra), MappingProxyType(spelled)
    return _checked(*proxies, tools)


def _hashable(value: Any) -> object:
    """A value of the options in hashable form; equal values have equal forms."""
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_hashable(each) for each in value)
    return value


def _require_json(key: str, value: object) -> None:
    """Refuse a value that cannot be sent as JSON."""
    fault = fault_in(key) or fault_in(value)
    if fault:
        shown = f"{key}" if isinstance(key, ModelOption) else f"model option {key!r}"
        raise OptionError(f"{shown} cannot be sent: {fault}")


def _items(values: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """The options of a dict, with those of Ollama's nested `"options"` beside them."""
    for key, value in values.items():
        if key == "options" and isinstance(value, Mapping):
            yield from value.items()
        else:
            yield key, value


def _require_same(one: tuple[object, object], key: object, value: object) -> None:
    known, before = one
    if before is not value and before != value:
        shown = f"{known!s} and {key!s}" if known != key else f"{key!s}, twice,"
        raise OptionError(f"{shown} set one model option to different values: give one of them")


def _check(option: ModelOption, key: object, value: object) -> None:
    expected, holds = _RULES[option]
    if not holds(value):
        shown = f"{option}" if isinstance(key, ModelOption) else f"{key!r} ({option})"
        raise OptionError(f"{shown} must be {expected}, not {value!r}")
