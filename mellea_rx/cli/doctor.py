"""`mellea-rx doctor`: what is installed, and who would answer."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from rich.console import Console
from rich.text import Text

from mellea_rx._version import __version__
from mellea_rx.backends.auto import best_model
from mellea_rx.backends.model_files import DEFAULT_MODEL as DEFAULT_MODEL_NAME
from mellea_rx.backends.model_files import present_model
from mellea_rx.backends.ollama import DEFAULT_MODEL, ListedModel, OllamaBackend
from mellea_rx.backends.openai import OpenAIBackend
from mellea_rx.cli.text import harmless, seconds
from mellea_rx.cli.wording import in_options
from mellea_rx.core.engine import engine
from mellea_rx.errors import InvalidInputError, MelleaRxError, UnknownBackendError

__all__ = ["Finding", "Findings", "examine", "find_backends", "print_findings"]

EXTRAS = {
    "cli": ("typer", "rich"),
    "local": ("xllamacpp",),
}
PATIENCE = 5.0
"""How long a server may take to list its models, in seconds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A backend.

    Attributes:
        name: Its name, as `--backend` takes it.
        usable: Whether a prompt would be answered.
        where: Its address, or the model's file.
        says: How it is, in a few words.
        models: The models that it has.
        proxied: Those of them that run in a cloud, which the server passes requests on to.
        advice: What to do where it is not usable.
    """

    name: str
    usable: bool
    where: str | None
    says: str
    models: list[str] = field(default_factory=list)
    proxied: list[str] = field(default_factory=list)
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was found.

    Attributes:
        version: The library's version.
        python: Python's version and implementation.
        platform: The machine.
        loop: What drives the engine: "uvloop" or "asyncio".
        extras: Installed versions of each extra's packages; None where one is missing.
        backends: Those that a prompt could go to.
        openai_key: Whether `OPENAI_API_KEY` is set; never what it is.
        auto: What "auto" would take.
        usable: Whether there is anybody to talk to.
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
        """As `--json` says it."""
        return asdict(self)


async def examine() -> Findings:
    """Look at what is installed, and ask the servers. Brings nothing, changes nothing."""
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
    """Ask the backends that a prompt could go to.

    Args:
        only: The name of the one to ask; None for all that are set up.
        base_url: The address of the server that is asked, instead of the environment's.

    Raises:
        UnknownBackendError: `only` is none of "ollama", "openai" and "local".
        InvalidInputError: An address without the backend that it is of.
    """
    probes = {"ollama": partial(_ollama, base_url), "openai": partial(_openai, base_url)}
    names = [*probes, "local"]
    if only is not None and only not in names:
        raise UnknownBackendError(f"there is no backend {only!r} with a list of models: {names}")
    if base_url is not None and only not in probes:
        raise InvalidInputError("base_url= needs the backend that it is of: --backend ollama")
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
    pull = f"bring one with: ollama pull {DEFAULT_MODEL}"
    return await _server("ollama", partial(OllamaBackend, base_url=base_url), pull)


async def _openai(base_url: str | None) -> Finding:
    load = "have the server load a model"
    return await _server("openai", partial(OpenAIBackend, base_url=base_url), load)


async def _server(
    name: str, make: Callable[[], OllamaBackend | OpenAIBackend], without_models: str
) -> Finding:
    try:
        backend = make()
    except MelleaRxError as error:
        return Finding(
            name, False, None, "its address cannot be used", advice=in_options(f"{error}")
        )
    began = time.monotonic()
    try:
        models, proxied = await asyncio.wait_for(_listed(backend), PATIENCE)
    except (MelleaRxError, TimeoutError) as error:
        told = in_options(str(error)) or f"no answer within {PATIENCE:.0f} s"
        says, _, advice = told.partition("\n")
        return Finding(name, False, backend.origin, says, advice=advice.strip())
    finally:
        backend.close()
    if not models:
        return Finding(
            name, False, backend.origin, "answers, and has no models", advice=without_models
        )
    says = f"answers in {seconds(time.monotonic() - began)}"
    return Finding(name, True, backend.origin, says, models, proxied)


async def _listed(backend: OllamaBackend | OpenAIBackend) -> tuple[list[str], list[str]]:
    """The names of a server's models, and of those among them that run elsewhere."""
    if not isinstance(backend, OllamaBackend):
        return await backend.models(), []
    models = await backend.listed_models()
    return [each.name for each in models], [each.name for each in models if not each.is_local]


def _embedded() -> Finding:
    if find_spec("xllamacpp") is None:
        install = "pip install 'mellea-rx[local]'"
        return Finding("local", False, None, "xllamacpp is not installed", advice=install)
    path = present_model()
    if path is not None:
        return Finding("local", True, str(path), "llama.cpp in this process", [DEFAULT_MODEL_NAME])
    says = "llama.cpp in this process; its model (93 MB) is brought with the first call"
    advice = "bring it now with: python -m mellea_rx.backends.model_files"
    return Finding("local", True, None, says, [DEFAULT_MODEL_NAME], advice=advice)


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
    """For people."""
    console = Console(highlight=False, soft_wrap=True)

    def line(name: str, value: str, style: str = "") -> None:
        console.print(Text(f"{name:<10}", style="bold").append(harmless(value), style=style))

    line("mellea-rx", found.version)
    line("Python", f"{found.python}, {found.platform}")
    line("engine", found.loop)
    for extra, packages in found.extras.items():
        told = ", ".join(f"{name} {has or 'is not installed'}" for name, has in packages.items())
        missing = None in packages.values()
        hint = f"; pip install 'mellea-rx[{extra}]'" if missing else ""
        line("extra", f"{extra}: {told}{hint}", "yellow" if missing else "")
    console.print()
    for each in found.backends:
        style = "green" if each.usable else "red"
        where = f" at {each.where}" if each.where else ""
        line(each.name, f"{'usable' if each.usable else 'not usable'}{where}: {each.says}", style)
        if each.models:
            line("", "models: " + _some(each.models))
        for advice in each.advice.splitlines():
            line("", advice.strip())
    line("key", f"OPENAI_API_KEY is {'set' if found.openai_key else 'not set'}")
    line("auto", f"takes {found.auto}")


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
