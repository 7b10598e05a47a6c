from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from torch import nn

from core.config import PlacementConfig
from core.errors import GateMissed
from deploy.graph.opgraph import Node
from deploy.placement.decide import matches
from qat.quantization.quantizers import weight_quantizer
from qat.sensitivity.report.results import SCHEMA_VERSION, ranges_of, require_met, skip_yaml, write_results
from tests.sensitivity.report.findings import findings


def test_results_file_holds_every_group_with_its_interval(tmp_path: Path) -> None:
    write_results(findings(), tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["schema"] == SCHEMA_VERSION and content["met"] is True
    assert [group["name"] for group in content["groups"]] == ["body.0", "head", "stem"]
    assert content["groups"][0]["exact"] == {"value": 0.3, "low": 0.25, "high": 0.35, "images": 8}
    assert content["groups"][0]["float"] and not content["groups"][1]["float"]
    assert content["baseline"]["float_loss"] == 1.0 and content["ranges"]["body.0.weight_quantizer"] == [1.0, 2.0]
    assert content["cost"] == {"full_evaluations": 2.0} and content["chosen"]["damage"]["value"] == pytest.approx(0.03)


def test_results_file_holds_the_causes(tmp_path: Path) -> None:
    write_results(findings(), tmp_path)
    (cause,) = json.loads((tmp_path / "results.json").read_text())["causes"]
    assert (cause["group"], cause["fault"], cause["mend"]) == ("body.0", "channels", "float")
    assert cause["share"] == pytest.approx(0.9) and cause["without"]["rounding"] == 0


def test_the_skip_list_is_what_a_run_config_takes() -> None:
    section = yaml.safe_load(skip_yaml(findings()))["placement"]
    patterns = PlacementConfig(**section).skip
    assert patterns == ("body.0",)
    assert matches(Node("/body/body.0/Conv", "Conv", (), (), {}), patterns[0])


def test_a_missed_tolerance_is_exit_code_1() -> None:
    missed = findings(tolerance=-1.0)
    with pytest.raises(GateMissed, match="MISSED") as error:
        require_met(missed)
    assert error.value.exit_code == 1
    require_met(replace(missed, recovered={"before": 0.33, "after": 0.01, "met": True}))
    require_met(findings())


def test_ranges_are_those_of_the_quantizers() -> None:
    conv = nn.Conv2d(1, 2, 1, bias=False)
    model = nn.ModuleDict({"conv": conv, "quantizer": weight_quantizer(conv.weight, 0)})
    assert ranges_of(model)["quantizer"] == pytest.approx(conv.weight.detach().abs().flatten().tolist())
