"""A component of one's own: what it says, in several messages, and what its answer stands for."""

from dataclasses import dataclass

from mellea_rx import ModelOption, start_session
from mellea_rx.stdlib.components import Said, Template


@dataclass(frozen=True)
class Three:
    """Asks for three things of a kind; the answer stands for a list of them."""

    kind: str

    def template(self) -> Template:
        return Template("Name three {{ kind }}.", {"kind": self.kind})

    def said(self) -> tuple[Said, ...]:
        return (
            Said(Three("colours").template()),
            Said(Template("red, green, blue"), "assistant"),
            Said(self.template()),
        )

    def parse(self, text: str) -> list[str]:
        return [each.strip() for each in text.split(",") if each.strip()]


with start_session(model_options={ModelOption.MAX_NEW_TOKENS: 12, ModelOption.SEED: 7}) as m:
    for kind in ("fruits", "animals"):
        things = m.act(Three(kind)).parsed
        print(kind, things)
