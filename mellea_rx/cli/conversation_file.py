"""The file of a chat: read by `--continue`, and written after each turn by `--save`."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mellea_rx.core.types.validation import open_regular
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.context.contexts import ChatContext
from mellea_rx.stdlib.session.session import MelleaSession

__all__ = ["ConversationFile", "opened_conversation"]


@dataclass(frozen=True, slots=True)
class ConversationFile:
    """The file in which a chat is kept.

    Attributes:
        path: The file; None for a chat that is not kept.
    """

    path: Path | None = None

    def save(self, session: MelleaSession) -> None:
        """Write the conversation: all of it, or, where that fails, nothing. Only its owner can read
        the file.

        Raises:
            InvalidInputError: The file cannot be written; the message says why.
        """
        context = session.ctx
        if self.path is None or not isinstance(context, ChatContext):
            return
        written = ""
        try:
            # In the same folder, so that the last step replaces the file at once.
            descriptor, written = tempfile.mkstemp(
                prefix=f".{self.path.name}.", dir=self.path.parent
            )
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(context.to_json())
                file.flush()
                os.fsync(file.fileno())
            os.replace(written, self.path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(written)
            raise InvalidInputError(
                f"the conversation is not saved: {self.path} cannot be written "
                f"({error.strerror or error})"
            ) from error


def opened_conversation(
    save: str | None, goes_on: str | None
) -> tuple[ChatContext, ConversationFile]:
    """The conversation that a chat begins with, and its file.

    Args:
        save: The file of a new chat; None for none.
        goes_on: The file of a chat that is continued and kept there; None for none.

    Raises:
        InvalidInputError: Both are given; a new chat's file exists; or a file that is continued
            cannot be read, or is no conversation.
    """
    if goes_on is not None:
        if save is not None:
            raise InvalidInputError("--continue saves to its file as well: leave --save out")
        return _read(Path(goes_on)), ConversationFile(Path(goes_on))
    if save is None:
        return ChatContext(), ConversationFile()
    path = Path(save)
    if path.exists():
        raise InvalidInputError(f"{path} exists: continue it with --continue, or name another file")
    if not path.parent.is_dir():
        raise InvalidInputError(f"there is no folder {path.parent} for --save")
    return ChatContext(), ConversationFile(path)


def _read(path: Path) -> ChatContext:
    try:
        with open_regular(os.fspath(path)) as file:
            return ChatContext.from_json(file.read().decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidInputError(
            f"--continue: {path} cannot be read ({why}); --save begins a new one"
        ) from error
    except InvalidInputError as error:
        raise InvalidInputError(f"--continue: {path}: {error}") from None
