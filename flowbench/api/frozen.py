"""What configurations and records share: unchanging, closed to unknown keys, of finite numbers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of all configurations and records."""

    # Closed, because a misspelt key that is ignored is a wrong result; finite, because JSON has no
    # NaN.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def refuse_not_yet(field: str, is_set: bool, until_then: str) -> None:
    """Refuses a field whose name is settled and whose work is still to come.

    Args:
        field: The field, as a user writes it.
        is_set: Whether it was set to anything but its default.
        until_then: What holds, or what to set, until it works.

    Raises:
        ValueError: It was set.
    """
    if is_set:
        raise ValueError(f"{field}: not yet; {until_then}")
