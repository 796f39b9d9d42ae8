"""Typed use of prompts: checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from mellea_rx import (
    ComputedThunk,
    DependencyCycleError,
    DependencyError,
    MelleaSession,
    ModelOutputThunk,
)
from mellea_rx import start_session as start
from mellea_rx.stdlib.components import (
    Component,
    Document,
    Image,
    Instruction,
    Message,
    Said,
    Template,
    ToolMessage,
)


class Synonyms:
    """A component of several messages."""

    def template(self) -> Template:
        return Template("Synonyms of {{ word }}.").given(word="big")

    def said(self) -> tuple[Said, ...]:
        picture = Image.from_file(Path("big.png"))
        return (Said(self.template(), "user", (picture,)), Said(Template("large"), "assistant"))

    def parse(self, text: str) -> list[str]:
        return text.split()


async def instructions(m: MelleaSession) -> None:
    draft = await m.ainstruct("Draft.")
    better = await m.ainstruct(
        "Improve {{draft}}.",
        images=[Image.from_url("https://x/y.png"), Path("a.png"), "b.png", b"..."],
        icl_examples=["one", draft, Document("two"), Message("three")],
        grounding_context={"a": "text", "b": Document(draft, title="B"), "c": draft},
        user_variables={"draft": draft, "more": Synonyms()},
        prefix="Once",
    )
    assert_type(better, ModelOutputThunk[str])
    m.instruct("Go.", images="a.png", icl_examples="one", grounding_context=[Document("x")])
    m.instruct("Go.", prefix=draft)


def components(m: MelleaSession) -> None:
    synonyms: Component[list[str]] = Synonyms()
    assert_type(m.act(synonyms).parsed, list[str])
    assert_type(m.act(Instruction("Go.", ("brief",), images=[b"..."])).parsed, str)
    assert_type(m.act(Message("Hi.", role="system")), ComputedThunk[str])
    assert_type(m.act(ToolMessage("add", "3", "call-1")), ComputedThunk[str])
    assert_type(m.chat("Hi.", "assistant", images=Path("a.png")), ComputedThunk[str])


def templates() -> None:
    assert_type(start("scripted", templates=Path("templates")), MelleaSession)


def circle(error: DependencyCycleError) -> DependencyError:
    return error
