"""What a type checker has to refuse: each ignore is needed, or mypy --strict tells of it."""

from __future__ import annotations

from mellea_rx import MelleaSession, ModelOutputThunk, wait_for_all_mots


async def wrong(m: MelleaSession, mot: ModelOutputThunk[str]) -> None:
    await m.ainstruct(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    m.act("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    m.chat()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    m.instruct("a", wrong=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    mot.value.upper()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    await wait_for_all_mots([m.ainstruct("a")])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
