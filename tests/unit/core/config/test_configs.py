"""The shipped configs: valid, named after their file, with a size that the network accepts."""

from pathlib import Path

import pytest

from core.config import load_config

CONFIGS = sorted((Path(__file__).parents[4] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_valid_and_named_after_its_file(path):
    config = load_config(path)
    assert config.run == path.stem
    assert config.model.num_classes == (19 if config.data.name == "cityscapes" else 11)
    assert config.train.crop_height_px <= config.data.height_px * config.train.scale_max


def test_there_is_one_for_every_data_set():
    assert {load_config(path).data.name for path in CONFIGS} == {"streets", "camvid", "camvid_original", "cityscapes"}
