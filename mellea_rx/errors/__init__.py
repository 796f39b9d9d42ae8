"""The one tree of errors.

    MelleaRxError
    ├── InvalidInputError (ValueError)      refused at the door
    │   ├── OptionError                     a model option: unknown, wrong, or not supported
    │   └── TemplateError                   a prompt template, or a variable that it misses
    ├── ConfigurationError                  what is installed, or how a session is set up
    │   ├── UnknownBackendError
    │   ├── MissingExtraError
    │   ├── NoBackendError
    │   ├── ModelFileError                  an embedded model's file
    │   └── RecordingError                  a recording: unreadable, or without this request
    ├── SessionError
    │   ├── NoSessionError
    │   └── SessionClosedError
    ├── ConcurrentReaderError               a second coroutine waits in a thunk's one reader
    ├── BlockingWaitError                   a blocking wait that could never end
    ├── AsyncioRequiredError (RuntimeError) an await where no asyncio event loop runs
    ├── WaitTimeoutError (TimeoutError)     a wait's own limit; the generation goes on
    ├── GenerationCancelledError
    ├── EngineStoppedError                  the engine ended (exit, or a fork) under a generation
    ├── CallerLoopClosedError               the caller's event loop is gone
    ├── VirtualTimeError                    a test in virtual time that could never end
    ├── UnexpectedError                     a bug, ours or a plugin's; its cause is chained
    ├── BackpressureError                   a reader fell too far behind its source
    ├── NoAnswerError                       none of several sources gave an acceptable answer
    ├── DependencyError                     a thunk that this prompt needs has failed
    │   └── DependencyCycleError            calls that wait for each other in a circle
    ├── LoopBudgetError                     tools were called step by step, without an end
    ├── ToolCallError                       a tool call of the model's that cannot be run
    ├── CallbackError                       a callable of the user's raised
    │   ├── ToolError
    │   └── ValidatorError
    ├── FormatError                         an answer that does not fit its format
    ├── ModelRefusedError                   a refusal, where a format or requirements were asked for
    ├── RequirementsNotMetError             no attempt met them, and the call said require=True
    └── BackendError                        a model server, or the embedded model
        ├── ConnectionFailedError (ConnectionError)
        │   ├── NameResolutionError
        │   └── TLSError
        ├── GenerationTimeoutError (TimeoutError)
        │   ├── ConnectTimeoutError
        │   ├── FirstTokenTimeoutError
        │   ├── IdleTimeoutError
        │   └── TotalTimeoutError
        ├── StreamInterruptedError          it broke, or ended before its end
        ├── StreamRestartedError            begun again after its reader had taken text
        ├── ProtocolError                   an answer that is not the protocol
        ├── ResponseTooLargeError
        ├── GenerationFailedError           an error told in the stream itself
        └── StatusError                     an HTTP status
            ├── BadRequestError             400, 413, 422
            ├── AuthenticationError         401
            ├── PermissionDeniedError       403
            ├── ModelNotFoundError          404
            ├── RateLimitError              429
            ├── ServerError                 5xx
            └── RedirectRefusedError        3xx

Each carries `text`: what the model had said when it happened ("" when it had said nothing yet).
"""

from __future__ import annotations

from mellea_rx.errors.backend import (
    AuthenticationError,
    BackendError,
    BadRequestError,
    ConnectionFailedError,
    ConnectTimeoutError,
    FirstTokenTimeoutError,
    GenerationFailedError,
    GenerationTimeoutError,
    IdleTimeoutError,
    ModelNotFoundError,
    NameResolutionError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RedirectRefusedError,
    ResponseTooLargeError,
    ServerError,
    StatusError,
    StreamInterruptedError,
    StreamRestartedError,
    TLSError,
    TotalTimeoutError,
)
from mellea_rx.errors.calls import (
    CallbackError,
    CallerLoopClosedError,
    DependencyCycleError,
    DependencyError,
    EngineStoppedError,
    FormatError,
    GenerationCancelledError,
    LoopBudgetError,
    ModelRefusedError,
    NoAnswerError,
    RequirementsNotMetError,
    ToolCallError,
    ToolError,
    UnexpectedError,
    ValidatorError,
)
from mellea_rx.errors.root import (
    MelleaRxError,
)
from mellea_rx.errors.usage import (
    AsyncioRequiredError,
    BackpressureError,
    BlockingWaitError,
    ConcurrentReaderError,
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
    ModelFileError,
    NoBackendError,
    NoSessionError,
    OptionError,
    RecordingError,
    SessionClosedError,
    SessionError,
    TemplateError,
    UnknownBackendError,
    VirtualTimeError,
    WaitTimeoutError,
)

__all__ = [
    "AsyncioRequiredError",
    "AuthenticationError",
    "BackendError",
    "BackpressureError",
    "BadRequestError",
    "BlockingWaitError",
    "CallbackError",
    "CallerLoopClosedError",
    "ConcurrentReaderError",
    "ConfigurationError",
    "ConnectTimeoutError",
    "ConnectionFailedError",
    "DependencyCycleError",
    "DependencyError",
    "EngineStoppedError",
    "FirstTokenTimeoutError",
    "FormatError",
    "GenerationCancelledError",
    "GenerationFailedError",
    "GenerationTimeoutError",
    "IdleTimeoutError",
    "InvalidInputError",
    "LoopBudgetError",
    "MelleaRxError",
    "MissingExtraError",
    "ModelFileError",
    "ModelNotFoundError",
    "ModelRefusedError",
    "NameResolutionError",
    "NoAnswerError",
    "NoBackendError",
    "NoSessionError",
    "OptionError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "RecordingError",
    "RedirectRefusedError",
    "RequirementsNotMetError",
    "ResponseTooLargeError",
    "ServerError",
    "SessionClosedError",
    "SessionError",
    "StatusError",
    "StreamInterruptedError",
    "StreamRestartedError",
    "TLSError",
    "TemplateError",
    "ToolCallError",
    "ToolError",
    "TotalTimeoutError",
    "UnexpectedError",
    "UnknownBackendError",
    "ValidatorError",
    "VirtualTimeError",
    "WaitTimeoutError",
]

for _name in __all__:
    # Tracebacks and pickles name them where users import them from.
    globals()[_name].__module__ = __name__
