"""Calls that a type checker has to refuse: each ignore is needed, or mypy --strict reports it."""

from __future__ import annotations

from mellea_rx import MelleaSession, ModelOutputThunk, generative, wait_for_all_mots


async def wrong(m: MelleaSession, mot: ModelOutputThunk[str]) -> None:
    await m.ainstruct(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    m.act("text")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    m.chat()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    m.instruct("a", wrong=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    m.instruct("a", temprature=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    m.instruct("a", temperature="hot")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    m.query([1], "a", requirements=["b"])  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    (await m.achat("a", stream=True)).value.upper()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    mot.value.upper()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    await wait_for_all_mots([m.ainstruct("a")])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@generative
def mood(text: str) -> int:
    """What is the mood of the text?"""
    raise NotImplementedError


def wrong_arguments(m: MelleaSession) -> None:
    mood(m)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    mood(m, 5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    generative(preconditions=[5])  # type: ignore[list-item]  # pyright: ignore[reportCallIssue, reportArgumentType]
    mood.using(preconditions=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    mood(m, "a").upper()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    m.instruct("a", format=int).parsed.upper()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
