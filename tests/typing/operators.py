"""Typed use of operators on chunks: checked by mypy --strict and pyright, never run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

from reactivex import Observable, abc
from reactivex import operators as ops

from mellea_rx import Chunk, ModelOutputThunk, RateLimitError
from mellea_rx.operators import (
    Part,
    RetryPolicy,
    Splitter,
    Unit,
    accumulate,
    by_line,
    by_paragraph,
    by_sentence,
    by_unit,
    by_word,
    chunk_timeout,
    coalesce,
    observe,
    partial_object,
    retry,
    smooth,
    split_thinking,
    splitter,
    tee,
    text,
)
from mellea_rx.stdlib.requirements import by_json_member, by_regex


@dataclass
class Book:
    title: str


class BookDict(TypedDict):
    title: str


class Halves:
    """A splitter as users write it; the name of the parameter is theirs."""

    def feed(self, piece: str) -> Iterator[str]:
        middle = len(piece) // 2
        yield piece[:middle]
        yield piece[middle:]

    def flush(self) -> tuple[str, ...]:
        return ()


def units(mot: ModelOutputThunk[str], words: Observable[str]) -> None:
    assert_type(mot.pipe(text()), Observable[str])
    assert_type(mot.pipe(accumulate()), Observable[str])
    assert_type(mot.pipe(by_word()), Observable[str])
    assert_type(mot.pipe(by_sentence()), Observable[str])
    assert_type(mot.pipe(by_line()), Observable[str])
    assert_type(words.pipe(by_paragraph()), Observable[str])
    assert_type(mot.pipe(by_sentence(), ops.map(len)), Observable[int])
    assert_type(splitter("word").feed("a b"), list[str])
    assert_type(mot.pipe(by_unit("word")), Observable[str])
    assert_type(words.pipe(by_unit(by_regex(r";\s*"))), Observable[str])
    assert_type(words.pipe(by_unit(Halves), ops.map(len)), Observable[int])
    splitters: list[Splitter] = [splitter(Halves), splitter(by_json_member()), Halves()]
    chosen: list[Unit] = ["word", by_regex(re.compile(";")), Halves, lambda: Halves()]
    print(splitters, chosen)


def timing(mot: ModelOutputThunk[str], words: Observable[str], clock: abc.SchedulerBase) -> None:
    assert_type(mot.pipe(coalesce(0.1)), Observable[Chunk])
    assert_type(words.pipe(coalesce(0.1, scheduler=clock)), Observable[Chunk])
    assert_type(mot.pipe(smooth(0.05)), Observable[str])
    timed: Observable[Chunk] = mot.pipe(chunk_timeout(first=5, idle=2.5, scheduler=clock))
    again: Observable[str] = words.pipe(retry(RetryPolicy(retry_on=(RateLimitError,))))
    chunks: Observable[Chunk] = mot.pipe(retry(), coalesce(0.1), accumulate(), coalesce(1))
    print(timed, again, chunks)


def structure(mot: ModelOutputThunk[str]) -> None:
    assert_type(mot.pipe(split_thinking()), Observable[Chunk])
    assert_type(mot.pipe(partial_object(Book)), Observable[Part[Book]])
    assert_type(mot.pipe(partial_object(BookDict)), Observable[Part[BookDict]])
    assert_type(mot.pipe(partial_object(list[Book])), Observable[Part[list[Book]]])
    assert_type(mot.pipe(partial_object()), Observable[Part[Any]])


def a_part(part: Part[Book]) -> None:
    assert_type(part.key, str | int)
    assert_type(part.snapshot(), Book)
    assert_type(part.snapshot().title, str)


def sharing(mot: ModelOutputThunk[str]) -> None:
    assert_type(mot.pipe(tee(2)), tuple[Observable[Chunk], ...])
    watched: Observable[Chunk] = mot.pipe(observe(print))
    print(watched)
