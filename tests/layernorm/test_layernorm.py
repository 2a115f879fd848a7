from __future__ import annotations

import dlcli.layernorm as room


def test_every_public_name_loads():
    for name in room.__all__:
        assert getattr(room, name).__name__ == name
