"""Every test here drives the real thing on both sides: our relay and somebody else's client, over sockets."""

import pytest

from tests.relay.conftest import start as start  # the fixture that runs a relay on a free port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "peers" in item.path.parts:
            item.add_marker(pytest.mark.peer)
