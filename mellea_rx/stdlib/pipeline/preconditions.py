"""Decides the preconditions of a call, before anything is generated for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self

import msgspec

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.types.options import Options
from mellea_rx.core.types.output import Origin, Output
from mellea_rx.core.types.requirement import Requirement, ValidationResult
from mellea_rx.core.types.sampling_result import reason_of
from mellea_rx.errors import PreconditionError
from mellea_rx.stdlib.pipeline.validation import validate_all
from mellea_rx.stdlib.prompts.prompt import Prompt, prompt_for
from mellea_rx.stdlib.prompts.renderer import Sources
from mellea_rx.stdlib.requirements.preconditions import Preconditions
from mellea_rx.wire.error_text import printable


@dataclass(frozen=True, slots=True)
class PreconditionCheck:
    """The preconditions of a call that is about to begin.

    Attributes:
        preconditions: The preconditions.
        prompt: The text of the arguments; rendered when the call was made where no argument is a
            thunk, so that later changes of a list or object do not reach it.
        sources: The user's templates by name, which replace the library's own.
    """

    preconditions: Preconditions
    prompt: Prompt
    sources: Sources

    @classmethod
    def of(cls, preconditions: Preconditions, sources: Sources) -> Self:
        """Render the arguments, where they contain no thunks.

        Raises:
            TemplateError: They cannot be rendered.
        """
        prompt = prompt_for(preconditions, (), Options(), sources)
        return cls(preconditions, prompt, sources)

    async def require(
        self,
        *,
        origin: Origin,
        backend: Backend,
        options: Options,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        """Decide all preconditions at once. Runs on the engine.

        Args:
            origin: The call's.
            backend: Judges where a requirement has no function; it is resolved.
            options: The call's model options.
            loop: The caller's event loop, for async functions.

        Raises:
            PreconditionError: One of them is not met.
            ValidatorError: A function raised, or did not return a verdict.
            BackendError: The judge failed.
        """
        known = self.preconditions
        text = (await self.prompt.request()).prompt
        results = await validate_all(
            known.requirements,
            Output(text, origin=msgspec.structs.replace(origin, parse=lambda _: known.values())),
            backend=backend,
            options=options,
            loop=loop,
            where=f"the arguments of {known.function}()",
            sources=self.sources,
        )
        decided = zip(known.requirements, results, strict=True)
        unmet = [(requirement, result) for requirement, result in decided if not result]
        if unmet:
            raise _not_met(known.function, unmet)


def _not_met(function: str, unmet: list[tuple[Requirement, ValidationResult]]) -> PreconditionError:
    reasons = tuple(reason_of(requirement, result) for requirement, result in unmet)
    # A reason may contain text of the model, and so control characters.
    listed = "\n  ".join(printable(line) for each in reasons for line in each.split("\n"))
    return PreconditionError(
        f"{function}() generated nothing, since its arguments do not meet its preconditions:\n"
        f"  {listed}",
        function=function,
        requirements=tuple(requirement.description for requirement, _ in unmet),
        reasons=reasons,
        validation=tuple(result for _, result in unmet),
    )
