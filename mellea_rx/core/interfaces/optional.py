"""Optional members of interfaces: the one place that looks one up on an object that may lack it.

Backends, components and sampling strategies may be objects of any class. The base class of each
interface (`BaseBackend`, `BaseComponent`, `BaseStrategy`) declares the optional members and their
defaults; the modules of these interfaces read a user's object through `optional_member`.
"""

from __future__ import annotations

from typing import Any


def optional_member(value: object, base: type, name: str) -> Any:
    """A member of an object; the default of the base class where the object lacks it, or has None.

    Args:
        value: The object; of any class.
        base: The base class that has the default: an attribute, a property or a method.
        name: The member.
    """
    own = getattr(value, name, None)
    if own is not None:
        return own
    default = vars(base)[name]
    # A property or method of the base class works on the object as if it had inherited it.
    bind = getattr(type(default), "__get__", None)
    return default if bind is None else bind(default, value, type(value))
