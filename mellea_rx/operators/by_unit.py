"""The operators `by_word`, `by_sentence`, `by_line` and `by_paragraph`: text in units.

The units do not depend on how the text is cut into chunks.
"""

from __future__ import annotations

from collections.abc import Callable

from reactivex import Observable, compose

from mellea_rx.core.units import Unit, splitter
from mellea_rx.operators.decode import decode
from mellea_rx.operators.text import text

__all__ = ["by_line", "by_paragraph", "by_sentence", "by_word"]


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
        An operator that takes chunks or strings. `mellea_rx.operators.units.splitter` defines the
        units, and what counts as white space.
    """
    return _by("word")


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
    return _by("sentence")


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
    return _by("line")


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
    return _by("paragraph")


def _by(unit: Unit) -> Callable[[Observable[object]], Observable[str]]:
    return compose(text(), decode(lambda: splitter(unit)))
