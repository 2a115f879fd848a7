from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from dlcli.layernorm.measurement import measure
from tests.layernorm.test_measurement import small


def test_a_result_becomes_json_with_the_agreed_names():
    found = json.loads(json.dumps(asdict(measure(small(equations=True))), allow_nan=False))
    assert list(found["placements"]) == ["post", "pre"]
    for name in ("post", "pre"):
        result = found["placements"][name]
        assert result["depths"] == [1, 2, 4]
        assert len(result["last_layer_norm"]) == 3
        assert len(result["slope_ci95"]) == 2
        assert isinstance(result["slope"], float)
        assert [row["layer"] for row in result["per_layer"]] == [1, 2, 3]
        assert found["theorem"][name]["verdict"] in ("pass", "fail")
    assert found["verdict"] in ("pass", "fail")
    assert found["signature"].startswith("measure:ln-gradients|setting:theorem")


def test_results_cannot_be_changed():
    with pytest.raises(AttributeError):
        measure(small()).done = 0.5
