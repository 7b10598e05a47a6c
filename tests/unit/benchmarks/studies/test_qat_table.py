"""The QAT table: rows change the config, measured rows are kept, markdown has means and changes."""

import json
from types import SimpleNamespace

import pytest

from benchmarks.measure.accuracy import Accuracy
from benchmarks.qat_table import ROWS
from benchmarks.studies import qat_measure
from benchmarks.studies.qat_markdown import markdown
from benchmarks.studies.qat_measure import FP32, QatRow, ensure_row, train_minutes
from benchmarks.studies.qat_rows import parse
from core.config import load_config
from core.errors import UserError
from core.files.artifacts import read_json, write_json
from core.interval import Interval
from deploy.targets import get_backend
from tests.unit.benchmarks.fakes import Squares, built

CONFIG = "configs/pidnet_s_camvid.yaml"


def accuracy(car, bus=None, change=(0.0, 0.0)):
    per_class = {"car": car, "bus": bus}
    interval = Interval(0.0, *change)
    against = {"agreement": {FP32: 98.5}, "change": {FP32: interval}}
    return Accuracy(values={"mIoU": Interval(car, car, car)}, per_class=per_class, images=7, **against)


def row(name, seed, miou, simulated=None, minutes=0.0, change=(0.0, 0.0)):
    precision = "int8" if simulated else "fp32"
    return QatRow(
        name=name,
        seed=seed,
        key="k",
        split="val",
        backend="openvino",
        precision=precision,
        engine=accuracy(miou, change=change),
        simulated_score=simulated,
        train_minutes=minutes,
    )


@pytest.mark.parametrize(
    ("text", "trains", "expected"),
    [
        ("fp32", False, {}),
        ("fp32_extra", True, {}),
        ("ptq:entropy", False, {"epochs": 0, "approach": "calibrate"}),
        ("ptq:percentile:99.9", False, {"epochs": 0}),
        ("qat:direct+qat.lr=2e-4+qat.distill.weight=1", True, {"approach": "direct", "lr": 2e-4}),
    ],
)
def test_row_changes_the_config(monkeypatch, pytestconfig, text, trains, expected):
    monkeypatch.chdir(pytestconfig.rootpath)
    spec = parse(text)
    found = load_config(pytestconfig.rootpath / CONFIG, [f"run={spec.run('base', 3)}", "qat.seed=3", *spec.overrides])
    assert spec.trains == trains
    assert found.run.endswith("-seed3") == trains
    assert found.fine_tuning_seed == 3 and found.seed == 0
    assert {key: getattr(found.qat, key) for key in expected} == expected
    if text.startswith("ptq:percentile"):
        assert found.qat.calibration.percentile == 99.9


def test_rows_do_not_share_a_run():
    specs = [parse(text) for text in ROWS.split(",")]
    assert len({spec.run("base", 0) for spec in specs}) == len(specs) > 8


@pytest.mark.parametrize("text", ["", "fp16", "ptq", "qat", "qat:direct:1", "ptq:percentile:1:2", "fp32:max"])
def test_row_of_no_known_form_is_refused(text):
    with pytest.raises(UserError, match="no row"):
        parse(text)


def test_markdown_gives_mean_spread_and_change():
    rows = [
        row("fp32", 0, 60.0),
        row("qat:direct", 0, 61.0, 61.5, 3.0, change=(-0.5, 1.5)),
        row("qat:direct", 1, 62.0, 61.5, 5.0, change=(0.2, 3.25)),
    ]
    lines = markdown(rows, "python x").splitlines()
    assert lines[0].startswith("mIoU in % over 7 validation images; several seeds as mean (lowest to highest).")
    assert "| `fp32` | openvino fp32 | 1 | 60.00 | – | 98.50 | – | 0.0 |" in lines
    direct = "61.50 (61.00 to 62.00) | +1.50 [−0.50, +3.25] | 98.50 | 61.50 (61.50 to 61.50) | 4.0"
    assert f"| `qat:direct` | openvino int8 | 2 | {direct} |" in lines
    assert "| row | car |" in lines, "a class that val lacks has no column"
    assert "| fp32 | 60.00 |" in lines
    assert "| qat:direct | +1.50 |" in lines
    assert "python x" in lines


def test_markdown_without_a_baseline_has_no_changes():
    text = markdown([row("ptq:mse", 0, 61.0, 61.0)], "python x")
    assert "| `ptq:mse` | openvino int8 | 1 | 61.00 | – | 98.50 | 61.00 | 0.0 |" in text
    assert "by class" not in text


def test_minutes_are_those_of_the_fine_tuning_steps(tmp_path):
    lines = [
        {"stage": "fp32", "step": 1, "images_per_s": 0.001},
        {"stage": "qat", "step": 1, "images_per_s": 0.1},
        {"stage": "qat", "step": 2, "images_per_s": 0.2},
        {"stage": "qat", "step": 2, "val_score": 3.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert train_minutes(tmp_path / "metrics.jsonl", 6) == pytest.approx((60 + 30) / 60)


def test_row_is_kept_until_its_config_or_weights_change(tmp_path, monkeypatch, pytestconfig):
    monkeypatch.chdir(tmp_path)
    made = []
    monkeypatch.setattr(qat_measure, "pipeline", SimpleNamespace(ensure_fp32=lambda config: made.append(config.run)))
    monkeypatch.setattr(qat_measure, "_score", lambda *_: accuracy(50.0))
    checkpoint = tmp_path / "fp32.pt"
    checkpoint.write_bytes(b"weights")

    def measure(*overrides):
        changes = [f"model.checkpoint={checkpoint}", "run=r", *overrides]
        config = load_config(pytestconfig.rootpath / CONFIG, changes)
        return ensure_row(parse("fp32"), config, "openvino", config, "val")

    first = measure()
    assert measure() == first and made == ["r"]
    assert measure("data.val_images=3").key != first.key and len(made) == 2
    measure("data.val_images=3")
    checkpoint.write_bytes(b"others")
    measure("data.val_images=3")
    assert len(made) == 3

    stored = tmp_path / "benchmarks" / "results" / "r" / qat_measure.file_name("val")
    write_json(stored, {"key": "of another form", "engine": {}})
    measure("data.val_images=3")
    assert len(made) == 4


def test_a_row_without_a_qat_stage_gets_an_engine(tmp_path, monkeypatch, pytestconfig):
    """Engines hold the names of the classes, which otherwise come from the QAT stage."""
    monkeypatch.chdir(tmp_path)
    found = built(tmp_path, "openvino", "fp32")

    def ensure_engine(config, paths, backend, precision):
        assert [entry["name"] for entry in read_json(paths.classes)] == list(Squares.class_names)
        return found

    monkeypatch.setattr(qat_measure, "ensure_engine", ensure_engine)
    monkeypatch.setattr(qat_measure, "dataset_of", lambda config, split: Squares())
    config = load_config(pytestconfig.rootpath / CONFIG, ["run=r"])
    assert qat_measure._engine(config, get_backend("openvino"), "fp32") == found.bundle
