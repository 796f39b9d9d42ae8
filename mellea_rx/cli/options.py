"""The options that `run` and `chat` share, and the session that they make."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from mellea_rx.backends.registry import backend_names
from mellea_rx.core.context import Context
from mellea_rx.core.options import ModelOption, meant_option, standard_option
from mellea_rx.errors import InvalidInputError, OptionError
from mellea_rx.stdlib.session import MelleaSession
from mellea_rx.stdlib.start import start_session

__all__ = [
    "Backend",
    "BaseUrl",
    "Given",
    "MaxTokens",
    "Model",
    "Quiet",
    "Seed",
    "Settings",
    "System",
    "Temperature",
    "Timeout",
    "parse_option",
]

_WHERE = "Which model"
_HOW = "How it answers"


def _backends(incomplete: str) -> list[str]:
    """The names of backends that begin like this, for the shell's completion."""
    return [name for name in backend_names() if name.startswith(incomplete)]


Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        "-b",
        metavar="NAME",
        autocompletion=_backends,
        help="auto, ollama, openai, local (a model in this process) or scripted (a fixed text, for "
        "trying things out). MELLEA_RX_BACKEND says what auto means.",
        rich_help_panel=_WHERE,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="The model's name; with local, the path to a GGUF file. Default: MELLEA_RX_MODEL, "
        "else the backend's own.",
        rich_help_panel=_WHERE,
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="The server's address. Default: OLLAMA_HOST or OPENAI_BASE_URL.",
        rich_help_panel=_WHERE,
    ),
]
System = Annotated[
    str | None,
    typer.Option(
        "--system", "-s", metavar="TEXT", help="Who the model is to be.", rich_help_panel=_HOW
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens", metavar="N", help="At most so many tokens an answer.", rich_help_panel=_HOW
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        metavar="X",
        help="0 always takes the likeliest token.",
        rich_help_panel=_HOW,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="The same seed and prompt give the same text.",
        rich_help_panel=_HOW,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help="How long an answer may be silent (120 by default).",
        rich_help_panel=_HOW,
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="KEY=VALUE",
        help="Any other model option: context_window, stop_sequences, thinking …, or one of the "
        "server's own, such as top_k=40. The value is JSON where it reads as JSON, else text. "
        "Repeat it for more.",
        rich_help_panel=_HOW,
    ),
]

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="The answers and nothing else; warnings go to stderr."),
]

_BY_NAME = {option.value.removeprefix("@"): option for option in ModelOption}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def parse_option(text: str) -> tuple[ModelOption | str, Any]:
    """One `--option`.

    Example:
        >>> parse_option("Temperature=0.2"), parse_option("top_k=40"), parse_option("format=json")
        ((<ModelOption.TEMPERATURE: '@temperature'>, 0.2), ('top_k', 40), ('format', 'json'))

    Raises:
        InvalidInputError: It is not KEY=VALUE, or it cannot be set here.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise InvalidInputError(f"--option takes KEY=VALUE, not {text!r}")
    option = _BY_NAME.get(key.removeprefix("@").lower().replace("-", "_")) or _servers_name(key)
    if option is ModelOption.STREAM:
        raise InvalidInputError("--option stream cannot be set: answers always stream here")
    try:
        parsed = json.loads(value, parse_constant=_no_constant)
    except ValueError:
        parsed = value
    return (key if option is None else option), parsed


def _servers_name(key: str) -> ModelOption | None:
    meant = meant_option(key)
    try:
        return standard_option(key)
    except OptionError:
        if meant is None:
            raise
        name = meant.value.removeprefix("@")
        raise InvalidInputError(f"--option has no {key!r}: did you mean {name}?") from None


@dataclass(frozen=True, slots=True)
class Settings:
    """What the shared options said.

    Attributes:
        backend: The backend's name.
        model: The model's name.
        base_url: The server's address.
        model_options: By `ModelOption`, or by a name of the server's own.
    """

    backend: str
    model: str | None
    base_url: str | None
    model_options: dict[ModelOption | str, Any]

    @classmethod
    def of(
        cls,
        where: tuple[str, str | None, str | None],
        given: Sequence[str] | None,
        **named: Any,
    ) -> Settings:
        """Settings from what the command line gave.

        Args:
            where: Backend, model and address.
            given: The texts of `--option`.
            named: Options by the name of a `ModelOption`; they win over `given`.

        Raises:
            InvalidInputError: One of `given` cannot be used.
        """
        options = dict(parse_option(each) for each in given or ())
        options |= {_BY_NAME[key]: value for key, value in named.items() if value is not None}
        backend, model, base_url = where
        return cls(backend, model, base_url, {**options, ModelOption.STREAM: True})

    def session(self, ctx: Context | None = None) -> MelleaSession:
        """A session with these settings.

        Raises:
            MelleaRxError: A setting cannot be used.
        """
        return start_session(
            self.backend,
            self.model,
            ctx,
            model_options=self.model_options,
            base_url=self.base_url,
        )
