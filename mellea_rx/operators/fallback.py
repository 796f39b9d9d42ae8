"""The next source when one fails."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, get_args

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.errors import BackendError, InvalidInputError
from mellea_rx.operators.answers import no_answer
from mellea_rx.operators.sources import Branch, Combined, Opening, Source, branches
from mellea_rx.operators.tagged import Outcome, Tagged

__all__ = ["AfterText", "fallback"]

S = TypeVar("S", bound=Observable[Any])

AfterText = Literal["fail", "restart", "hold"]


def fallback(
    *sources: Source[S],
    on: type[Exception] | tuple[type[Exception], ...] = BackendError,
    after_text: AfterText = "fail",
) -> Observable[Tagged[S]]:
    """The first source; when it fails, the next one, and so on.

        a:                --#
        b:                ----x-y---|
        fallback(a, b):   ------x-y---|

    What happens when a source fails whose text has gone out already is said by `after_text`:

        a:                                      --1-2-#
        b:                                      -x-y-|
        fallback(a, b, after_text="fail"):      --1-2-#
        fallback(a, b, after_text="restart"):   --1-2--x-y-|
        fallback(a, b, after_text="hold"):      -----------(xy|)

    Cold calls and coroutines start when it is their turn. Sources that are not needed are left:
    thunks that nobody else takes are cancelled.

    Example:
        >>> import reactivex as rx
        >>> from mellea_rx import ServerError
        >>> down = rx.throw(ServerError("out of memory", status=500))
        >>> str(fallback(down, rx.of("Once upon")).run())
        'Once upon'

    Args:
        sources: As those of `merge`; one at least.
        on: The errors that the next source is taken for; what else fails it fails with.
        after_text: "fail": once text has gone out, its source's error ends it. "restart": the next
            source's text begins anew, which an item's `index` tells. "hold": text goes out, as one
            item, when its source is complete, so nobody sees text of one that failed.

    Returns:
        An Observable of `Tagged`. It fails with `NoAnswerError` when every source has failed.

    Raises:
        InvalidInputError: Something that is no source, none at all, or an unknown policy.
    """
    opened = branches("fallback", sources, least=1)
    if after_text not in get_args(AfterText):
        known = ", ".join(map(repr, get_args(AfterText)))
        raise InvalidInputError(f"after_text must be one of {known}, not {after_text!r}")

    def make(opening: Opening) -> Observable[Tagged[S]]:
        failures: dict[int, Exception] = {}

        def attempt(index: int) -> Observable[Tagged[S]]:
            if index == len(opened):
                return rx.throw(no_answer("fallback", failures))
            spoken: list[Tagged[S]] = []

            def note(item: Tagged[S]) -> None:
                if item.chunk and not spoken:
                    spoken.append(item)

            def failed(error: Exception, _: object) -> Observable[Tagged[S]]:
                if not isinstance(error, on) or (spoken and after_text == "fail"):
                    return rx.throw(error)
                failures[index] = error
                return attempt(index + 1)

            chunks = _chunks(opened[index], opening, whole=after_text == "hold")
            return chunks.pipe(ops.do_action(note), ops.catch(failed))

        return attempt(0)

    return Combined(opened, make)


def _chunks(branch: Branch[S], opening: Opening, *, whole: bool) -> Observable[Tagged[S]]:
    return branch.outcome(opening).pipe(ops.map(_complete)) if whole else branch.chunks(opening)


def _complete(outcome: Outcome[S]) -> Tagged[S]:
    if outcome.error is not None or outcome.source is None:
        raise outcome.error or AssertionError(outcome)
    return Tagged(outcome.index, outcome.source, outcome.chunk)
