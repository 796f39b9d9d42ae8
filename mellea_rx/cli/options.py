"""The options that `run` and `chat` share, and the session that they open."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

import typer

from mellea_rx.backends.registry import backend_names
from mellea_rx.core.interfaces.context import Context
from mellea_rx.core.types.options import ModelOption, meant_option, standard_option
from mellea_rx.errors import InvalidInputError, OptionError
from mellea_rx.stdlib.session.session import MelleaSession
from mellea_rx.stdlib.session.start import start_session

__all__ = ["BaseUrl", "SessionOptions", "parse_option", "with_session_options"]


def _complete_backend(incomplete: str) -> list[str]:
    """The names of backends that start with this, for the completion of the shell."""
    return [name for name in backend_names() if name.startswith(incomplete)]


BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="Server address. Default: OLLAMA_HOST or OPENAI_BASE_URL.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """The options of the command line that `run` and `chat` share.

    The annotation of each field declares the option for Typer; see `with_session_options`.

    Attributes:
        backend: The name of the backend.
        model: The name of the model; None for the backend's default.
        base_url: The server address; None for the backend's default.
        system: The system prompt.
        max_tokens: The maximum number of tokens in an answer.
        temperature: The sampling temperature.
        seed: The seed for sampling.
        timeout: The longest time without new text, in seconds.
        option: More model options, each as "KEY=VALUE"; those above take precedence.
        quiet: Whether only answers are printed.
    """

    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            "-b",
            metavar="NAME",
            autocompletion=_complete_backend,
            help="auto, ollama, openai, local (a model in this process) or scripted (fixed text, "
            "for trying things out). MELLEA_RX_BACKEND sets the backend that auto selects.",
        ),
    ] = "auto"
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Model name; with local, the path of a GGUF file. Default: MELLEA_RX_MODEL, or "
            "the default of the backend.",
        ),
    ] = None
    base_url: BaseUrl = None
    system: Annotated[
        str | None, typer.Option("--system", "-s", metavar="TEXT", help="System prompt.")
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", metavar="N", help="Maximum number of tokens in an answer."),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            metavar="X",
            help="Sampling temperature; 0 always takes the most likely token.",
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            help="Seed for sampling; the same seed and prompt give the same text.",
        ),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help="Longest time without new text (default: 120).",
        ),
    ] = None
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-o",
            metavar="KEY=VALUE",
            help="Any other model option (context_window, stop_sequences, thinking, ...) or an "
            "option of the server, such as top_k=40. The value is read as JSON if it is valid "
            "JSON, else as text. Can be repeated.",
        ),
    ] = None
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Print the answers only; warnings and errors go to stderr."
        ),
    ] = False

    def model_options(self) -> dict[ModelOption | str, Any]:
        """The model options, by `ModelOption` or by the server's name.

        Raises:
            InvalidInputError: A value of `option` cannot be used.
        """
        named = {
            ModelOption.SYSTEM_PROMPT: self.system,
            ModelOption.MAX_NEW_TOKENS: self.max_tokens,
            ModelOption.TEMPERATURE: self.temperature,
            ModelOption.SEED: self.seed,
            ModelOption.STREAM_TIMEOUT: self.timeout,
        }
        return {
            **dict(parse_option(each) for each in self.option or ()),
            **{key: value for key, value in named.items() if value is not None},
            ModelOption.STREAM: True,
        }

    def session(self, ctx: Context | None = None) -> MelleaSession:
        """Open a session with these options.

        Raises:
            MelleaRxError: An option cannot be used.
        """
        return start_session(
            self.backend,
            self.model,
            ctx,
            model_options=self.model_options(),
            base_url=self.base_url,
        )


def with_session_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `SessionOptions`.

    Typer reads options from the signature of a function. The returned function has the fields of
    `SessionOptions` in place of the parameter `options`, and calls the command with one value.

    Args:
        command: A function with a parameter `options`.
    """
    hints = get_type_hints(SessionOptions, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(SessionOptions)
    ]
    signature = inspect.signature(command, eval_str=True)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name != "options"
    ]

    def run(**values: Any) -> None:
        options = SessionOptions(**{each.name: values.pop(each.name) for each in shared})
        command(options=options, **values)

    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    run.__annotations__ = {}
    setattr(run, "__signature__", inspect.Signature([*shared, *own]))  # noqa: B010
    return run


_BY_NAME = {option.value.removeprefix("@"): option for option in ModelOption}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON")


def parse_option(text: str) -> tuple[ModelOption | str, Any]:
    """Parse the value of one `--option`.

    Args:
        text: Such as "top_k=40".

    Returns:
        The option, or the server's name for it, and the value.

    Example:
        >>> parse_option("Temperature=0.2"), parse_option("top_k=40"), parse_option("format=json")
        ((<ModelOption.TEMPERATURE: '@temperature'>, 0.2), ('top_k', 40), ('format', 'json'))

    Raises:
        InvalidInputError: It is not of the form KEY=VALUE, or the option cannot be set here.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise InvalidInputError(f"--option needs KEY=VALUE, not {text!r}")
    option = _BY_NAME.get(key.removeprefix("@").lower().replace("-", "_")) or _standard_option(key)
    if option is ModelOption.STREAM:
        raise InvalidInputError("--option stream cannot be set: the command line always streams")
    try:
        parsed = json.loads(value, parse_constant=_no_constant)
    except ValueError:
        parsed = value
    return (key if option is None else option), parsed


def _standard_option(key: str) -> ModelOption | None:
    """The option that a server's name stands for; None if the name is the server's alone."""
    meant = meant_option(key)
    try:
        return standard_option(key)
    except OptionError:
        if meant is None:
            raise
        name = meant.value.removeprefix("@")
        raise InvalidInputError(f"--option has no {key!r}: did you mean {name}?") from None
