"""What is wrong with how the library is called, set up, or waited for."""

from __future__ import annotations

from mellea_rx.errors.root import MelleaRxError

__all__ = [
    "AsyncioRequiredError",
    "BackpressureError",
    "BlockingWaitError",
    "ConcurrentReaderError",
    "ConfigurationError",
    "InvalidInputError",
    "MissingExtraError",
    "ModelFileError",
    "NoBackendError",
    "NoSessionError",
    "OptionError",
    "RecordingError",
    "SessionClosedError",
    "SessionError",
    "TemplateError",
    "UnknownBackendError",
    "VirtualTimeError",
    "WaitTimeoutError",
]


class InvalidInputError(MelleaRxError, ValueError):
    """An argument that cannot be used; the message names it."""


class OptionError(InvalidInputError):
    """A model option that is unknown, has a wrong type, or that the backend does not have."""


class TemplateError(InvalidInputError):
    """A prompt template that does not parse or render, or a variable that it misses."""


class ConfigurationError(MelleaRxError):
    """The way the library is installed or set up cannot work."""


class UnknownBackendError(ConfigurationError):
    """A backend name that is not registered; the message lists those that are."""


class MissingExtraError(ConfigurationError):
    """An optional dependency is not installed; the message has the command that installs it."""


class NoBackendError(ConfigurationError):
    """`"auto"` found neither a server nor the embedded model."""


class ModelFileError(ConfigurationError):
    """A model's file is missing, damaged, or could not be loaded or brought."""


class RecordingError(ConfigurationError):
    """A recording cannot be read, or has no answer to this request; the message says which."""


class SessionError(MelleaRxError):
    """A session cannot be found or used."""


class NoSessionError(SessionError):
    """`get_session()` outside of every `with` block of a session."""


class SessionClosedError(SessionError):
    """The session was closed before, or while, it was used."""


class ConcurrentReaderError(MelleaRxError):
    """Two coroutines waited at once in a thunk's single reader. The first one goes on."""


class BlockingWaitError(MelleaRxError):
    """A blocking wait would stop the very event loop that the generation needs to go on."""


class AsyncioRequiredError(MelleaRxError, RuntimeError):
    """An await outside of an asyncio event loop, as under trio; the message says what to do."""


class WaitTimeoutError(MelleaRxError, TimeoutError):
    """`wait(timeout)` ran out; the generation itself goes on."""


class VirtualTimeError(MelleaRxError):
    """A test in virtual time waits for what its clock can never bring."""


class BackpressureError(MelleaRxError):
    """More items wait for a reader than it allowed for; it gets those first, then this."""
