"""One tree of errors: each has the text so far, and survives a pickle."""

from __future__ import annotations

import copy
import pickle

import pytest

from mellea_rx import errors
from mellea_rx.core.runtime.stored_errors import raisable
from mellea_rx.errors import MelleaRxError, StatusError

KINDS = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_is_of_the_tree_and_drawn_in_it(kind: type[MelleaRxError]) -> None:
    assert issubclass(kind, MelleaRxError)
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.__doc__


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_survives_a_pickle_and_a_copy(kind: type[MelleaRxError]) -> None:
    more = {"status": 503} if issubclass(kind, StatusError) else {}
    error = kind("what was wrong", text="so far", **more)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == "what was wrong"
        assert vars(twin) == vars(error)


def test_a_plain_handler_catches_what_it_would_expect() -> None:
    assert issubclass(errors.WaitTimeoutError, TimeoutError)
    assert issubclass(errors.IdleTimeoutError, TimeoutError)
    assert issubclass(errors.ConnectionFailedError, ConnectionError)
    assert issubclass(errors.OptionError, ValueError)


def test_the_tree_lists_all_there_are() -> None:
    def below(kind: type[MelleaRxError]) -> set[str]:
        return {kind.__name__}.union(*(below(each) for each in kind.__subclasses__()))

    ours = {n for n in below(MelleaRxError) if hasattr(errors, n)}
    assert ours == set(errors.__all__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_raised_of_a_kept_error_says_the_same(kind: type[MelleaRxError]) -> None:
    more = {"status": 503} if issubclass(kind, StatusError) else {}
    kept = kind("what was wrong", text="so far", **more)
    kept.__cause__ = ZeroDivisionError()
    raised = raisable(kept)
    assert type(raised) is kind
    assert raised is not kept
    assert (str(raised), raised.args) == ("what was wrong", kept.args)
    assert vars(raised) == vars(kept)
    assert (raised.__cause__, raised.__suppress_context__) == (kept.__cause__, True)
