from __future__ import annotations

import subprocess
import sys

import dlcli.evidence as evidence


def test_every_public_name_can_be_had():
    for name in evidence.__all__:
        assert getattr(evidence, name) is not None


def test_opening_the_room_imports_nothing_heavy():
    code = "import sys, dlcli.evidence; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
