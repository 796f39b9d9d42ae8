"""`mellea-rx doctor` and `mellea-rx models`: installed packages, usable backends, their models.

Both commands ask the backends; nothing is downloaded or changed.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mellea_rx._version import __version__
from mellea_rx.backends.auto import best_model
from mellea_rx.backends.model_files import DEFAULT_MODEL as DEFAULT_MODEL_NAME
from mellea_rx.backends.model_files import present_model
from mellea_rx.backends.ollama import DEFAULT_MODEL, ListedModel, OllamaBackend
from mellea_rx.backends.openai import OpenAIBackend
from mellea_rx.cli.exit_codes import NO_BACKEND, SUCCESS
from mellea_rx.cli.log_output import in_options, print_error
from mellea_rx.cli.terminal import escape_controls, format_seconds, is_terminal, write
from mellea_rx.core.runtime.engine import engine
from mellea_rx.errors import InvalidInputError, MelleaRxError, UnknownBackendError

__all__ = [
    "Finding",
    "Findings",
    "examine",
    "find_backends",
    "list_models",
    "print_findings",
]

EXTRAS = {
    "cli": ("typer", "rich"),
    "local": ("xllamacpp",),
}
"""The packages of each extra."""

PATIENCE = 5.0
"""The seconds that a server may take to list its models."""

_CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one backend.

    Attributes:
        name: The name of the backend, as for `--backend`.
        usable: Whether it would answer a prompt.
        where: The address of the server, or the path of the model's file.
        says: The state in a few words.
        models: The names of its models.
        proxied: The names of those models that run in a cloud behind the server.
        hint: The steps that make it usable.
    """

    name: str
    usable: bool
    where: str | None
    says: str
    models: list[str] = field(default_factory=list)
    proxied: list[str] = field(default_factory=list)
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """The results of `doctor`.

    Attributes:
        version: The version of the library.
        python: The version and the implementation of Python.
        platform: The operating system and the machine.
        loop: The event loop of the engine: "uvloop" or "asyncio".
        extras: The installed versions of the packages of each extra; None if one is missing.
        backends: The backends that are set up.
        openai_key: Whether `OPENAI_API_KEY` is set; the key itself is never read out.
        auto: The backend and the model that "auto" would select.
        usable: Whether at least one backend is usable.
    """

    version: str
    python: str
    platform: str
    loop: str
    extras: dict[str, dict[str, str | None]]
    backends: list[Finding]
    openai_key: bool
    auto: str
    usable: bool

    def as_json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return asdict(self)


async def examine() -> Findings:
    """Look up what is installed, and ask the servers. Downloads and changes nothing."""
    found = await find_backends()
    return Findings(
        version=__version__,
        python=f"{platform.python_version()} ({platform.python_implementation()})",
        platform=platform.platform(),
        loop=type(engine().loop).__module__.partition(".")[0],
        extras={extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()},
        backends=found,
        openai_key=bool(os.environ.get("OPENAI_API_KEY")),
        auto=_auto({each.name: each for each in found}),
        usable=any(each.usable for each in found),
    )


async def find_backends(only: str | None = None, base_url: str | None = None) -> list[Finding]:
    """Ask the backends that are set up for their models.

    Args:
        only: The name of the only backend to ask; None for all.
        base_url: The address of its server; None for the environment's.

    Raises:
        UnknownBackendError: `only` is not "ollama", "openai" or "local".
        InvalidInputError: `base_url` is given without the name of its backend.
    """
    probes = {"ollama": partial(_ollama, base_url), "openai": partial(_openai, base_url)}
    names = [*probes, "local"]
    if only is not None and only not in names:
        raise UnknownBackendError(
            f"backend {only!r} cannot list models: choose from {', '.join(names)}"
        )
    if base_url is not None and only not in probes:
        raise InvalidInputError("--base-url needs the name of its backend: --backend ollama")
    if only is None and not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
        del probes["openai"]
    asked = [probe() for name, probe in probes.items() if only in (None, name)]
    found = list(await asyncio.gather(*asked))
    if only in (None, "local"):
        found.append(await asyncio.to_thread(_embedded))
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


async def _ollama(base_url: str | None) -> Finding:
    pull = f"download one with: ollama pull {DEFAULT_MODEL}"
    return await _server("ollama", partial(OllamaBackend, base_url=base_url), pull)


async def _openai(base_url: str | None) -> Finding:
    load = "load a model on the server"
    return await _server("openai", partial(OpenAIBackend, base_url=base_url), load)


async def _server(
    name: str, make: Callable[[], OllamaBackend | OpenAIBackend], without_models: str
) -> Finding:
    try:
        backend = make()
    except MelleaRxError as error:
        return Finding(name, False, None, "its address is not valid", hint=in_options(f"{error}"))
    began = time.monotonic()
    try:
        models, proxied = await asyncio.wait_for(_listed(backend), PATIENCE)
    except (MelleaRxError, TimeoutError) as error:
        message = in_options(str(error)) or f"no answer within {PATIENCE:.0f} s"
        says, _, hint = message.partition("\n")
        return Finding(name, False, backend.origin, says, hint=hint.strip())
    finally:
        backend.close()
    if not models:
        return Finding(
            name, False, backend.origin, "answers, but has no models", hint=without_models
        )
    says = f"answers in {format_seconds(time.monotonic() - began)}"
    return Finding(name, True, backend.origin, says, models, proxied)


async def _listed(backend: OllamaBackend | OpenAIBackend) -> tuple[list[str], list[str]]:
    """The names of a server's models, and of those among them that run in a cloud."""
    if not isinstance(backend, OllamaBackend):
        return await backend.models(), []
    models = await backend.listed_models()
    return [each.name for each in models], [each.name for each in models if not each.is_local]


def _embedded() -> Finding:
    if find_spec("xllamacpp") is None:
        install = "pip install 'mellea-rx[local]'"
        return Finding("local", False, None, "xllamacpp is not installed", hint=install)
    path = present_model()
    if path is not None:
        return Finding("local", True, str(path), "llama.cpp in this process", [DEFAULT_MODEL_NAME])
    says = "llama.cpp in this process; its model (93 MB) is downloaded on first use"
    hint = "download it now with: python -m mellea_rx.backends.model_files"
    return Finding("local", True, None, says, [DEFAULT_MODEL_NAME], hint=hint)


def _auto(found: dict[str, Finding]) -> str:
    known = os.environ.get("MELLEA_RX_BACKEND", "").strip()
    if known and known != "auto":
        return f"{known} (MELLEA_RX_BACKEND)"
    ollama, local = found["ollama"], found["local"]
    best = best_model([ListedModel(each, each not in ollama.proxied) for each in ollama.models])
    if best is not None and (best.is_local or not local.usable):
        return f"Ollama at {ollama.where}, model {best.name}"
    return "the embedded model" if local.usable else "nothing: no backend is usable"


def print_findings(found: Findings) -> None:
    """Print the results for people."""
    console = Console(highlight=False, soft_wrap=True)

    def line(name: str, value: str, style: str = "") -> None:
        console.print(Text(f"{name:<10}", style="bold").append(escape_controls(value), style=style))

    line("mellea-rx", found.version)
    line("Python", f"{found.python}, {found.platform}")
    line("engine", found.loop)
    for extra, packages in found.extras.items():
        versions = (f"{name} {has or 'is not installed'}" for name, has in packages.items())
        missing = None in packages.values()
        hint = f"; pip install 'mellea-rx[{extra}]'" if missing else ""
        line("extra", f"{extra}: {', '.join(versions)}{hint}", "yellow" if missing else "")
    console.print()
    for each in found.backends:
        style = "green" if each.usable else "red"
        where = f" at {each.where}" if each.where else ""
        line(each.name, f"{'usable' if each.usable else 'not usable'}{where}: {each.says}", style)
        if each.models:
            line("", "models: " + _some(each.models))
        for hint in each.hint.splitlines():
            line("", hint.strip())
    line("key", f"OPENAI_API_KEY is {'set' if found.openai_key else 'not set'}")
    line("auto", f"selects {found.auto}")


def _some(names: list[str], most: int = 8) -> str:
    """The first names, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


async def list_models(backend: str | None, base_url: str | None, *, as_json: bool) -> int:
    """Print the models of each backend that answers.

    Args:
        backend: The name of the only backend to ask; None for all that are set up.
        base_url: The address of its server; None for the environment's.
        as_json: Print one JSON object per line.

    Returns:
        The exit code.

    Raises:
        MelleaRxError: The backend is unknown, or `base_url` is given without its name.
    """
    found = await find_backends(backend, base_url)
    answering = [each for each in found if each.models]
    if as_json:
        write("".join(json.dumps(record) + "\n" for record in _records(answering)))
    elif is_terminal():
        _print_table(answering)
    else:
        lines = (f"{record['backend']}\t{record['model']}\n" for record in _records(answering))
        write("".join(lines))
    for each in found:
        if not each.models and (backend is not None or not answering):
            print_error(f"{each.name}: {each.says}\n  {each.hint}")
    return SUCCESS if answering else NO_BACKEND


def _records(found: Sequence[Finding]) -> Iterator[dict[str, str | bool | None]]:
    for each in found:
        for model in each.models:
            yield {
                "backend": each.name,
                "model": model,
                "where": each.where,
                "local": model not in each.proxied,
            }


def _print_table(found: Sequence[Finding]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("backend", style="cyan", no_wrap=True)
    table.add_column("model", overflow="fold")
    for each in found:
        for model in each.models:
            note = f" ({_CLOUD})" if model in each.proxied else ""
            table.add_row(each.name, Text(escape_controls(model)).append(note, style="yellow"))
    if table.row_count:
        Console(highlight=False).print(table)
