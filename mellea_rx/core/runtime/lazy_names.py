"""Public names that a package loads on first use, for its `__getattr__` and `__dir__`.

Used by packages some of whose names need a module that not every program needs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mellea_rx.core.runtime.fork import no_fork


def load_name(package: str, homes: Mapping[str, str], name: str) -> Any:
    """The value of a name of a package, which is loaded now; for the package's `__getattr__`.

    Args:
        package: The package's `__name__`.
        homes: The module of each such name. A module of the package is its own home.
        name: The name.

    Raises:
        AttributeError: The package has no such name. It has `name` and `obj`, from which Python
            finds the name that was meant.
    """
    home = homes.get(name)
    if home is None:
        raise AttributeError(
            f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package]
        )
    with no_fork:
        module = import_module(home)
    return module if home == f"{package}.{name}" else getattr(module, name)
