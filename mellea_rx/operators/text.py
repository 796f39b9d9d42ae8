"""Operators on the text of chunks: `text`, `accumulate`, and its units: `by_unit`, `by_word` etc.

`decode` makes an operator of a decoder, which has `feed` and `flush` and no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import add
from typing import Protocol, TypeVar

from reactivex import Observable, abc, compose
from reactivex import operators as ops
from reactivex.disposable import Disposable

from mellea_rx.core.streams.observable import Stream, stream_of
from mellea_rx.core.text.units import require_splitters, splitter
from mellea_rx.core.types.unit import Unit


def text() -> Callable[[Observable[object]], Observable[str]]:
    """Emit the text of each chunk that has one. It is Rx's `map(str)`, then `filter(bool)`.

        source:   -Hel-lo·th-ere-|
        text():   -Hel-lo·th-ere-|

    Example:
        >>> import reactivex as rx
        >>> from mellea_rx import Chunk
        >>> _ = rx.of(Chunk("Hi"), Chunk(finish_reason="stop")).pipe(text()).subscribe(print)
        Hi

    Returns:
        An operator that takes chunks or strings; an item's text is `str(item)`.
    """
    return lambda source: stream_of(source.pipe(ops.map(str), ops.filter(bool)))


def accumulate() -> Callable[[Observable[object]], Observable[str]]:
    """Emit the whole text so far with each text. It is Rx's `scan(add, "")` over `text()`.

        source:         -a--b--c--|
        accumulate():   -a--ab-abc|

    Each item is the whole text so far, so a text of n characters in k chunks takes O(n * k) time.
    For a long text, join chunks first: `thunk.pipe(coalesce(0.1), accumulate())` emits at most ten
    texts per second. A subscriber to a thunk that is slower than the model gets joined chunks
    anyway.

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> rx.of("Once ", "upon").pipe(accumulate(), ops.to_list()).run()
        ['Once ', 'Once upon']

    Returns:
        An operator that takes chunks or strings.
    """
    return lambda source: stream_of(source.pipe(text(), ops.scan(add, "")))


A = TypeVar("A")
B = TypeVar("B")
A_contra = TypeVar("A_contra", contravariant=True)
B_co = TypeVar("B_co", covariant=True)


class Decoder(Protocol[A_contra, B_co]):
    """Turns items into other items, without I/O. An exception that it raises ends the stream."""

    def feed(self, item: A_contra, /) -> Iterable[B_co]:
        """Take an item; return the items that are complete with it."""
        ...

    def flush(self) -> Iterable[B_co]:
        """Return the remaining items at the end."""
        ...


def decode(
    make: Callable[[], Decoder[A, B]],
) -> Callable[[Observable[A]], Observable[B]]:
    """Run a stream through a decoder, with a new one for each subscription.

    At the end of the source, and before its error, the decoder is flushed, so that no input is
    lost.

        source:          -a--b--c---|
        decode(pairs):   ----ab-----(c|)

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> from mellea_rx.operators import splitter
        >>> rx.of("one t", "wo").pipe(decode(lambda: splitter("word")), ops.to_list()).run()
        ['one ', 'two']

    Args:
        make: Makes a decoder. An exception that it or the decoder raises goes to `on_error`.

    Returns:
        An operator that takes the decoder's inputs.
    """

    def operator(source: Observable[A]) -> Observable[B]:
        def subscribe(
            observer: abc.ObserverBase[B], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            try:
                decoder = make()
            except Exception as error:
                observer.on_error(error)
                return Disposable()

            def on_next(item: A) -> None:
                failure = _emit(lambda: decoder.feed(item), observer)
                if failure is not None:
                    observer.on_error(failure)

            def on_error(error: Exception) -> None:
                # The source's error is the cause, so an error of `flush` is dropped for it.
                _emit(decoder.flush, observer)
                observer.on_error(error)

            def on_completed() -> None:
                failure = _emit(decoder.flush, observer)
                if failure is not None:
                    observer.on_error(failure)
                else:
                    observer.on_completed()

            return source.subscribe(on_next, on_error, on_completed, scheduler=scheduler)

        return Stream(subscribe)

    return operator


def _emit(step: Callable[[], Iterable[B]], observer: abc.ObserverBase[B]) -> Exception | None:
    """Emit the items of a step; return its exception. One of the observer is raised instead."""
    try:
        items = iter(step())
    except Exception as error:
        return error
    while True:
        try:
            item = next(items)
        except StopIteration:
            return None
        except Exception as error:
            return error
        observer.on_next(item)


def by_unit(unit: Unit) -> Callable[[Observable[object]], Observable[str]]:
    r"""Emit the units of a text: words, sentences, lines, paragraphs, or those of a splitter.

        source:                    -On-ce·u-pon-|
        by_unit("word"):           ----Once·----(upon|)

    The units joined are the text. At the end of the source, and before its error, the rest of the
    text is emitted.

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> from mellea_rx.stdlib.requirements import by_regex
        >>> rx.of("wash; d", "ry").pipe(by_unit(by_regex(r";\s*")), ops.to_list()).run()
        ['wash; ', 'dry']

    Args:
        unit: As `mellea_rx.operators.splitter` takes it. A factory of your own is called once here
            as a check, and once for each subscription; its splitters run where the source emits.
            What they raise goes to `on_error`, and so does a `CallbackError` where their units are
            not the text.

    Returns:
        An operator that takes chunks or strings.

    Raises:
        InvalidInputError: There is no such unit, or the factory raised, or made no splitter.
    """
    require_splitters(unit)
    return compose(text(), decode(lambda: splitter(unit)))


def by_word() -> Callable[[Observable[object]], Observable[str]]:
    """Emit words, each with the white space after it, once the next word begins.

        source:      -On-ce·u-pon-|
        by_word():   ----Once·----(upon|)

    The words joined are the text. At the end of the source, and before its error, the rest of the
    text is emitted.

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> rx.of("On", "ce u", "pon").pipe(by_word(), ops.to_list()).run()
        ['Once ', 'upon']

    Returns:
        An operator that takes chunks or strings. `mellea_rx.operators.splitter` defines the
        units, and what counts as white space.
    """
    return by_unit("word")


def by_sentence() -> Callable[[Observable[object]], Observable[str]]:
    """Emit sentences, each with the white space after it, once the next sentence begins.

        source:          -Dr.-·Po-e.·H-e-----|
        by_sentence():   ---------Dr.·Poe.·--(He|)

    The sentences joined are the text. Abbreviations, initials and decimals do not end a sentence;
    closing quotes and brackets belong to the sentence before them; in doubt, a sentence goes on. At
    the end of the source, and before its error, the rest of the text is emitted.

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> rx.of("Dr.", " Poe came. H", "e left.").pipe(by_sentence(), ops.to_list()).run()
        ['Dr. Poe came. ', 'He left.']

    Returns:
        An operator that takes chunks or strings.
    """
    return by_unit("sentence")


def by_line() -> Callable[[Observable[object]], Observable[str]]:
    r"""Emit lines, each with its LF, once that has arrived. No other character ends a line.

        source:      -on-e⏎t-wo-|
        by_line():   ----one⏎---(two|)

    The lines joined are the text. At the end of the source, and before its error, the rest of the
    text is emitted.

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> rx.of("on", "e\nt", "wo").pipe(by_line(), ops.to_list()).run()
        ['one\n', 'two']

    Returns:
        An operator that takes chunks or strings.
    """
    return by_unit("line")


def by_paragraph() -> Callable[[Observable[object]], Observable[str]]:
    r"""Emit paragraphs, each with the blank lines after it, once the next paragraph begins.

        source:           -one⏎-⏎tw-o--|
        by_paragraph():   ------one⏎⏎--(two|)

    The paragraphs joined are the text. At the end of the source, and before its error, the rest of
    the text is emitted.

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> rx.of("a\nb\n", "\nc").pipe(by_paragraph(), ops.to_list()).run()
        ['a\nb\n\n', 'c']

    Returns:
        An operator that takes chunks or strings.
    """
    return by_unit("paragraph")
