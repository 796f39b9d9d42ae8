"""Text by words, sentences, lines and paragraphs, whatever the chunks are."""

from __future__ import annotations

from collections.abc import Callable

from reactivex import Observable, compose

from mellea_rx.core.units import Unit, splitter
from mellea_rx.operators.decode import decode
from mellea_rx.operators.text import text

__all__ = ["by_line", "by_paragraph", "by_sentence", "by_word"]


def by_word() -> Callable[[Observable[object]], Observable[str]]:
    """Word by word: each with the white space after it, once the next one begins.

        source:      -On-ce·u-pon-|
        by_word():   ----Once·----(upon|)

    The words' join is the text. What is left at the end, or before an error, goes out then.

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> rx.of("On", "ce u", "pon").pipe(by_word(), ops.to_list()).run()
        ['Once ', 'upon']

    Returns:
        An operator that takes chunks or strings. What white space and the other units are:
        `mellea_rx.operators.units.splitter`.
    """
    return _by("word")


def by_sentence() -> Callable[[Observable[object]], Observable[str]]:
    """Sentence by sentence: each with the white space after it, once the next one begins.

        source:          -Dr.-·Po-e.·H-e-----|
        by_sentence():   ---------Dr.·Poe.·--(He|)

    The sentences' join is the text. Abbreviations, initials and decimals end none; closing quotes
    and brackets belong to the sentence before them; in doubt, a sentence goes on. What is left at
    the end, or before an error, goes out then.

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
    r"""Line by line: each with its LF, once that is there. No other character ends a line.

        source:      -on-e⏎t-wo-|
        by_line():   ----one⏎---(two|)

    The lines' join is the text. What is left at the end, or before an error, goes out then.

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
    r"""Paragraph by paragraph: each with the blank lines after it, once the next one begins.

        source:           -one⏎-⏎tw-o--|
        by_paragraph():   ------one⏎⏎--(two|)

    The paragraphs' join is the text. What is left at the end, or before an error, goes out then.

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
