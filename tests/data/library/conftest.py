from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web import Web, serve


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as web:
        yield web
