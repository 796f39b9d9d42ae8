"""The combinator `fallback`: the next source when one fails."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.core.arguments import require_choice
from mellea_rx.errors import BackendError
from mellea_rx.operators.answers import no_answer
from mellea_rx.operators.sources import (
    CombinatorSource,
    CombinedObservable,
    Source,
    SubscriptionContext,
    combinator_sources,
)
from mellea_rx.operators.tagged import Outcome, Tagged

__all__ = ["AfterText", "fallback"]

S = TypeVar("S", bound=Observable[Any])

AfterText = Literal["fail", "restart", "hold"]
"""The policies for a source that fails after its first text; see `fallback`."""


def fallback(
    *sources: Source[S],
    on: type[Exception] | tuple[type[Exception], ...] = BackendError,
    after_text: AfterText = "fail",
) -> Observable[Tagged[S]]:
    """Emit the chunks of the first source; when it fails, those of the next one, and so on.

        a:                --#
        b:                ----x-y---|
        fallback(a, b):   ------x-y---|

    `after_text` sets what happens when a source fails after its first text was emitted:

        a:                                      --1-2-#
        b:                                      -x-y-|
        fallback(a, b, after_text="fail"):      --1-2-#
        fallback(a, b, after_text="restart"):   --1-2--x-y-|
        fallback(a, b, after_text="hold"):      -----------(xy|)

    Cold calls and coroutines start when their turn comes. Thunks that are not needed, and that
    nothing else uses, are cancelled.

    Example:
        >>> import reactivex as rx
        >>> from mellea_rx import ServerError
        >>> down = rx.throw(ServerError("out of memory", status=500))
        >>> str(fallback(down, rx.of("Once upon")).run())
        'Once upon'

    Args:
        sources: As in `merge`; at least one.
        on: The error types after which the next source is tried; any other error is emitted.
        after_text: "fail": an error after the first text is emitted. "restart": the next source's
            text follows from its beginning, and the items' `index` changes. "hold": a source's text
            is emitted as one item when it is complete, so that the text of a failed source is never
            emitted.

    Returns:
        An Observable of `Tagged`. It fails with `NoAnswerError` when every source has failed.

    Raises:
        InvalidInputError: An argument is not a source, there is none, or `after_text` is unknown.
    """
    opened = combinator_sources("fallback", sources, least=1)
    require_choice("after_text", after_text, AfterText)

    def make(context: SubscriptionContext) -> Observable[Tagged[S]]:
        failures: dict[int, Exception] = {}

        def attempt(index: int) -> Observable[Tagged[S]]:
            if index == len(opened):
                return rx.throw(no_answer("fallback", failures))
            has_content = False

            def note_content(item: Tagged[S]) -> None:
                nonlocal has_content
                has_content = has_content or bool(item.chunk)

            def failed(error: Exception, _: object) -> Observable[Tagged[S]]:
                if not isinstance(error, on) or (has_content and after_text == "fail"):
                    return rx.throw(error)
                failures[index] = error
                return attempt(index + 1)

            chunks = _chunks(opened[index], context, whole=after_text == "hold")
            return chunks.pipe(ops.do_action(note_content), ops.catch(failed))

        return attempt(0)

    return CombinedObservable(opened, make)


def _chunks(
    source: CombinatorSource[S], context: SubscriptionContext, *, whole: bool
) -> Observable[Tagged[S]]:
    return source.outcome(context).pipe(ops.map(_as_tagged)) if whole else source.chunks(context)


def _as_tagged(outcome: Outcome[S]) -> Tagged[S]:
    if outcome.error is not None or outcome.source is None:
        raise outcome.error or AssertionError(outcome)
    return Tagged(outcome.index, outcome.source, outcome.chunk)
