from __future__ import annotations

import inspect

from flowbench import errors


def test_every_error_is_drawn_in_the_docstring() -> None:
    classes = [
        c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__
    ]
    assert all(issubclass(c, errors.FlowbenchError) for c in classes)
    assert all(c.__name__ in (errors.__doc__ or "") for c in classes)


def test_unknown_name_suggests_the_nearest() -> None:
    message = errors.unknown_name("model", "relanvp", ["glow", "realnvp"], "flowbench plugins")
    assert message == "unknown model 'relanvp'; did you mean 'realnvp'? (flowbench plugins)"


def test_unknown_name_lists_all_when_none_is_near() -> None:
    assert "known: glow, nice" in errors.unknown_name("model", "zzzz", ["nice", "glow"], "see")
