"""core/config/run.py: a config is refused with a sentence that names the key, before anything expensive starts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from core.config import Config, load_config, renamed, section_dict
from core.errors import UserError

MINIMAL = """
run: tiny
model: {}
data: {height_px: 64, width_px: 96}
train: {epochs: 1, crop_height_px: 64, crop_width_px: 64}
qat: {epochs: 0}
"""
EXAMPLE = Path(__file__).parents[4] / "configs" / "pidnet_s_streets.yaml"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(path, list(overrides))
    return str(caught.value)


def test_minimal_config_gets_the_defaults(write: Write) -> None:
    config = load_config(write(MINIMAL))
    assert (config.run, config.seed, config.model.name, config.deploy.opset) == ("tiny", 0, "pidnet_s", 18)


def test_a_config_cannot_be_changed(write: Write) -> None:
    config = load_config(write(MINIMAL))
    with pytest.raises(ValidationError, match="frozen"):
        config.train.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("seeed: 1", "seeed"),
        ("bench: {warmup: 3}", "bench.warmup"),
        ("placement: {disabled: []}", "placement.disabled"),
    ],
)
def test_an_unknown_key_is_refused_by_its_full_name(write: Write, line: str, key: str) -> None:
    assert f"{key} is not a key" in refusal(write(MINIMAL + line))


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        (MINIMAL + "seed: 1\nseed: 2\n", "seed", 8),
        (MINIMAL + "bench:\n  rounds: 1\n  threads: 1\n  rounds: 2\n", "rounds", 10),
        (MINIMAL + "qat: {epochs: 3}\n", "qat", 7),
    ],
    ids=["top level", "nested", "section"],
)
def test_a_repeated_key_is_refused_with_its_line(write: Write, text: str, key: str, line: int) -> None:
    assert f"key '{key}' appears twice, line {line}" in refusal(write(text))


def test_the_same_key_in_two_sections_is_fine(write: Write) -> None:
    config = load_config(write(MINIMAL + "bench: {threads: 2}\n"))
    assert config.train.epochs == 1 and config.qat.epochs == 0


@pytest.mark.parametrize("text", ["run: [", "a: b: c", "\tx: 1"])
def test_broken_yaml(write: Write, text: str) -> None:
    assert "not valid YAML" in refusal(write(text))


@pytest.mark.parametrize("text", ["", "- 1", "just words"])
def test_yaml_that_is_no_mapping(write: Write, text: str) -> None:
    assert "is not a mapping" in refusal(write(text))


def test_yaml_cannot_make_python_objects(write: Write) -> None:
    assert "not valid YAML" in refusal(write(MINIMAL + "seed: !!python/object/apply:os.getcwd []\n"))


def test_missing_file_lists_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "none here" in refusal(Path("absent.yaml"))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.yaml").touch()
    assert "configs/mine.yaml" in refusal(Path("absent.yaml"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("placement: {profile: openvino}", "placement.profile is now placement.rule_set"),
        ("deploy: {rest: fp32}", "deploy.rest is now deploy.fallback_precision"),
        ("deploy: {trt: {cuda_graph: true}}", "deploy.trt is now deploy.tensorrt"),
        ("deploy: {backends: [openvino, trt]}", "deploy.backends.1: trt is now tensorrt or tensorrt_rtx"),
        ("bench: {sweep: {backends: [trt]}}", "bench.sweep.backends.0: trt is now tensorrt or tensorrt_rtx"),
    ],
)
def test_a_renamed_key_or_value_is_refused_with_its_new_name(write: Write, line: str, words: str) -> None:
    assert f"{words}\n" in refusal(write(MINIMAL + line)) + "\n"


def test_every_new_name_is_a_key() -> None:
    ours = [new for old, new in renamed.KEYS.items() if not old.startswith("search.")]
    assert ours
    for new in ours:
        section, key = new.split(".")
        assert key in type(getattr(load_config(EXAMPLE), section)).model_fields


def test_every_error_is_named_at_once(write: Write) -> None:
    text = refusal(write(MINIMAL), "train.lr=-1", "deploy.opset=11", "bench.rounds=0")
    assert all(f"{key} must be " in text for key in ("train.lr", "deploy.opset", "bench.rounds"))
    assert "docs/reference/config.md" in text


def test_set_changes_one_value(write: Write) -> None:
    config = load_config(write(MINIMAL), ["train.lr=0.5", "qat.calibration.method=entropy", "seed=7"])
    assert (config.train.lr, config.qat.calibration.method, config.seed) == (0.5, "entropy", 7)
    assert config.train.epochs == 1


def test_set_makes_sections_that_the_file_leaves_out(write: Write) -> None:
    assert load_config(write(MINIMAL), ["bench.threads=2"]).bench.threads == 2


def test_the_last_set_wins(write: Write) -> None:
    assert load_config(write(MINIMAL), ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "value"),
    [("[residual-add, fan-out]", ("residual-add", "fan-out")), ("[]", ())],
)
def test_set_values_are_yaml(write: Write, override: str, value: tuple[str, ...]) -> None:
    assert load_config(write(MINIMAL), [f"placement.disable={override}"]).placement.disable == value


def test_set_value_may_hold_an_equals_sign(write: Write) -> None:
    assert load_config(write(MINIMAL), ["data.root=/a=b/c"]).data.root == Path("/a=b/c")


def test_set_null_clears_a_value(write: Write) -> None:
    assert load_config(write(MINIMAL + "seed: 3\n"), ["data.root=null"]).data.root is None


@pytest.mark.parametrize("override", ["seed", "=1", ""])
def test_set_without_key_or_value(write: Write, override: str) -> None:
    assert "not of the form a.b=c" in refusal(write(MINIMAL), override)


def test_set_below_a_value(write: Write) -> None:
    assert "run is a value, not a section" in refusal(write(MINIMAL), "run.name=x")


def test_set_of_an_unknown_key(write: Write) -> None:
    assert "train.learning_rate is not a key; there are " in refusal(write(MINIMAL), "train.learning_rate=1")


@pytest.mark.parametrize("side", ["data.height_px=60", "data.width_px=100"])
def test_pidnet_sides_are_multiples_of_eight(write: Write, side: str) -> None:
    assert "multiples of 8" in refusal(write(MINIMAL), side)


def test_a_custom_model_may_have_any_sides(write: Write) -> None:
    config = load_config(write(MINIMAL), ["data.height_px=60", "model.name=custom", "model.factory=net.py:make"])
    assert config.data.height_px == 60


@pytest.mark.parametrize("override", ["model.name=custom", "model.factory=net.py:make"])
def test_factory_goes_with_custom_only(write: Write, override: str) -> None:
    assert "`factory` goes with `name: custom`" in refusal(write(MINIMAL), override)


@pytest.mark.parametrize("run", ["../escape", "Upper", "with space", ".hidden", "a/b"])
def test_a_run_name_is_a_plain_folder_name(write: Write, run: str) -> None:
    assert "run must match" in refusal(write(MINIMAL), f"run={run}")


def test_sections_become_plain_json_and_come_back(write: Write) -> None:
    config = load_config(write(MINIMAL), ["data.root=/data", "placement.skip=[head*]"])
    plain = section_dict(config)
    assert plain["data"]["root"] == "/data"
    assert Config.model_validate(yaml.safe_load(yaml.safe_dump(plain))) == config


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[4] / "configs").glob("*.yaml")), ids=lambda path: path.name
)
def test_shipped_configs_load(path: Path) -> None:
    assert load_config(path).run


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"run: caf\xe9\n")
    assert "not valid YAML" in refusal(tmp_path / "latin.yaml")


@pytest.mark.parametrize("key", ["? [1, 2]\n: 3\n", "3: x\n"])
def test_keys_are_names(write: Write, key: str) -> None:
    assert "is not a name, line 7" in refusal(write(MINIMAL + key))


@pytest.mark.parametrize("value", ["[", "1\nx: 2", "{a: 1, a: 2}"])
def test_set_value_is_not_yaml(write: Write, value: str) -> None:
    assert "the value is not valid YAML" in refusal(write(MINIMAL), f"seed={value}")


def test_training_images_without_masks_need_fp32_weights_and_its_teaching(write: Write) -> None:
    path = write(MINIMAL)
    without = "data.train_masks=false"
    assert "set model.checkpoint" in refusal(path, without)
    given = (without, "model.checkpoint=fp32.pt")
    assert not load_config(path, list(given)).data.train_masks
    assert "qat.distill.labels: false" in refusal(path, *given, "qat.epochs=1")
    load_config(path, [*given, "qat.epochs=1", "qat.distill={weight: 1, labels: false}"])
