"""How calls fail that no backend is to blame for."""

from __future__ import annotations

from mellea_rx.errors.root import MelleaRxError

__all__ = [
    "CallbackError",
    "CallerLoopClosedError",
    "DependencyCycleError",
    "DependencyError",
    "EngineStoppedError",
    "FormatError",
    "GenerationCancelledError",
    "LoopBudgetError",
    "ModelRefusedError",
    "NoAnswerError",
    "RequirementsNotMetError",
    "ToolCallError",
    "ToolError",
    "UnexpectedError",
    "ValidatorError",
]


class GenerationCancelledError(MelleaRxError):
    """The generation was cancelled before its end; `text` has what had come."""


class EngineStoppedError(MelleaRxError):
    """The engine under a generation is gone: the interpreter ends, or this is a forked child."""


class CallerLoopClosedError(MelleaRxError):
    """An event loop that has to run a callable or take a result is closed."""


class UnexpectedError(MelleaRxError):
    """Something raised what it should not: a bug, ours or a plugin's. The cause is chained."""


class NoAnswerError(MelleaRxError):
    """None of several sources gave an acceptable answer.

    Attributes:
        errors: Why each of them did not, in the order of the sources. The first is the cause.
    """

    errors: tuple[Exception, ...]

    def __init__(self, message: str, *, errors: tuple[Exception, ...] = (), text: str = "") -> None:
        super().__init__(message, text=text)
        self.errors = errors
        self.__cause__ = errors[0] if errors else None


class DependencyError(MelleaRxError):
    """A thunk that the prompt is made of failed; its error is the cause."""


class DependencyCycleError(DependencyError):
    """A wait for a call that, directly or by way of others, waits for the very call it is made in.

    The message names the calls on the way round.
    """


class LoopBudgetError(MelleaRxError):
    """The model called tools in every step that it had, and never answered.

    Attributes:
        steps: What it did: a `ReactStep` for each.
    """

    def __init__(self, message: str, *, steps: tuple[object, ...] = (), text: str = "") -> None:
        super().__init__(message, text=text)
        self.steps = steps


class ToolCallError(MelleaRxError):
    """A model's tool call that cannot be run: no such tool, arguments that do not fit, cut off."""


class CallbackError(MelleaRxError):
    """A callable of the user's raised; its exception is the cause."""


class ToolError(CallbackError):
    """A tool raised."""


class ValidatorError(CallbackError):
    """A requirement's validation function raised, or returned what is no verdict."""


class RequirementsNotMetError(MelleaRxError):
    """No attempt met the requirements, and the call was made with `require=True`.

    Attributes:
        reasons: Why, for each attempt and requirement.
    """

    def __init__(self, message: str, *, text: str = "", reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message, text=text)
        self.reasons = reasons


class FormatError(MelleaRxError):
    """An answer that does not fit the call's `format=`, or `partial_object`; `text` is the answer.

    Attributes:
        place: Where: "line 2, column 5" of what is no JSON, else a path in it ("$.age").
    """

    place: str

    def __init__(self, message: str, *, text: str = "", place: str = "") -> None:
        super().__init__(message, text=text)
        self.place = place


class ModelRefusedError(MelleaRxError):
    """The model refused, or a filter of its server's stopped it, where an answer of some form, or
    one that meets requirements, had to come (`format=`, `require=True`). It is not asked again.

    `text` is the refusal, or what had come when the filter stopped it.

    Attributes:
        finish_reason: "refusal" or "content_filter".
    """

    finish_reason: str

    def __init__(self, message: str, *, text: str = "", finish_reason: str = "refusal") -> None:
        super().__init__(message, text=text)
        self.finish_reason = finish_reason
