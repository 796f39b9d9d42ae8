"""`mellea-rx models`: the models that a prompt could go to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mellea_rx.cli.doctor import Finding, find_backends
from mellea_rx.cli.exits import FINE, NOTHING_TO_TALK_TO, say_error
from mellea_rx.cli.lines import write
from mellea_rx.cli.terminal import is_terminal
from mellea_rx.cli.text import harmless

__all__ = ["list_models"]

_CLOUD = "cloud"


async def list_models(backend: str | None, base_url: str | None, *, as_json: bool) -> int:
    """List the models of each backend that answers.

    Args:
        backend: The name of the only one to ask; None for all that are set up.
        base_url: Its address, instead of the environment's.
        as_json: Write JSON, one object a line.

    Returns:
        The exit code.

    Raises:
        MelleaRxError: No such backend, or an address without its name.
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
            say_error(f"{each.name}: {each.says}\n  {each.advice}")
    return FINE if answering else NOTHING_TO_TALK_TO


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
            table.add_row(each.name, Text(harmless(model)).append(note, style="yellow"))
    if table.row_count:
        Console(highlight=False).print(table)
