"""`CallSpec`: the arguments of a verb besides its action, and the types of the verbs' keywords."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from mellea_rx.core.format import OutputFormat
from mellea_rx.core.image import Images
from mellea_rx.core.options import ModelOption, Options
from mellea_rx.core.requirement import Requirement
from mellea_rx.core.sampling import SamplingStrategy
from mellea_rx.core.tool import Tool
from mellea_rx.stdlib.components.parts import Part, Text
from mellea_rx.stdlib.keywords import ModelKwargs, ModelOptions, StreamKwargs
from mellea_rx.stdlib.sampling import RejectionSampling

__all__ = [
    "DEFAULT_STRATEGY",
    "Acting",
    "Asking",
    "CallSpec",
    "Chatting",
    "Instructing",
    "ModelOptions",
    "Requirements",
    "SettledChatting",
]

Requirements: TypeAlias = Iterable[str | Requirement] | str | Requirement

DEFAULT_STRATEGY = RejectionSampling()
"""Two attempts, where there are requirements or a format."""


class CallSpec(msgspec.Struct, frozen=True):
    """The arguments of a verb besides its action.

    Attributes:
        requirements: The requirements on the answer.
        strategy: Makes the attempts; None for a single one, without requirements.
        require: Whether an answer that does not meet the requirements is an error.
        model_options: The model options, unchecked.
        format: The format of the answer; None for text, which the component parses.
        tool_calls: Whether tools are offered; None to offer the tools of the options.
        tools: The tools to offer instead of those of the options; None for no others.
    """

    requirements: tuple[Requirement, ...] = ()
    strategy: SamplingStrategy | None = None
    require: bool = False
    model_options: ModelOptions | None = None
    format: OutputFormat[Any] | None = None
    tool_calls: bool | None = None
    tools: tuple[Tool[..., Any], ...] | None = None

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


class Asking(StreamKwargs, total=False):
    """The keywords that the overloads of all verbs share; the verbs document them."""

    model_options: ModelOptions | None


class SettledChatting(ModelKwargs, total=False):
    """The keywords of a `chat` that always waits for its answer."""

    images: Images | None
    tool_calls: bool | None
    stream: Literal[False]


class Chatting(Asking, total=False):
    """The keywords that the overloads of `chat` share."""

    images: Images | None
    tool_calls: bool | None


class Acting(Asking, total=False):
    """The keywords that the overloads of `act` share."""

    requirements: Requirements | None
    strategy: SamplingStrategy | None
    require: bool
    tool_calls: bool | None


class Instructing(Acting, total=False):
    """The keywords that the overloads of `instruct` share."""

    images: Images | None
    icl_examples: Iterable[Part] | Part | None
    grounding_context: Mapping[str, Part] | Iterable[Part] | None
    user_variables: Mapping[str, Any] | None
    prefix: Text | None
