"""A conversation: every prompt begins with the turns before it, so the last one has the name."""

import asyncio

from mellea_rx import ChatContext, LocalBackend, MelleaSession, ModelOption


class Watched(LocalBackend):
    """The embedded model, and what it was asked last."""

    def stream(self, request):
        self.request = request
        return super().stream(request)


# A penalty for what was said already would keep it from saying a name again.
OPTIONS = {ModelOption.TEMPERATURE: 0, ModelOption.MAX_NEW_TOKENS: 40, "repeat_penalty": 1.0}


async def main() -> None:
    backend = Watched(model_options=OPTIONS)
    async with MelleaSession(backend, ChatContext(window_size=10)) as m:
        for said in ("Hello! My name is Ada.", "I write programs.", "Please tell me my name."):
            answer = await m.achat(said)
            print(f"you   {said}\nmodel {answer.value}")
        print(f"{len(m.ctx.turns)} turns; the last request was:")
        for message in backend.request.messages:
            print(f"{message.role:>9}: {message.content}")


asyncio.run(main())
