"""The page of a real run is small enough to mail: results of `make bench`, with pictures of the size of CamVid's."""

import gzip
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure.example_images import write_png
from benchmarks.record.files import Results
from benchmarks.report.page import render
from core.config import DataConfig
from core.files.paths import RunPaths
from qat.data import build_dataset
from qat.tasks.masks import colorize, difference

MOST_BYTES = 2_000_000
RESULTS = Path(__file__).with_name("streets_results.json.gz")  # results.json of `make bench`, gzip -9
SIZE = {"height_px": 360, "width_px": 480}


def streets(folder: Path, monkeypatch) -> Results:
    """The results, and below the working directory, which becomes `folder`, their pictures with generated content."""
    monkeypatch.chdir(folder)
    found = Results.model_validate_json(gzip.decompress(RESULTS.read_bytes()))
    scenes = build_dataset(DataConfig(name="streets", val_images=4, **SIZE), "val", seed=0)
    for scene, item in zip(scenes, found.examples.items, strict=True):
        fp32, int8 = (cv2.medianBlur(scene.label, size) for size in (9, 11))
        masks = [colorize(mask, scenes.colors) for mask in (scene.label, fp32, int8)]
        pictures = [scene.image, *masks, difference(scene.image, scene.label, fp32, int8)]
        for file, picture in zip(item.pictures.values(), pictures, strict=True):
            write_png(RunPaths(found.run).results / file, np.ascontiguousarray(picture), smooth=False)
    return found


def test_the_page_is_below_the_limit(tmp_path, monkeypatch):
    found = streets(tmp_path, monkeypatch)
    page = render(found)
    assert len(page.encode()) < MOST_BYTES
    assert page.count("<img") == 20 and sum(map(len, found.layers.values())) > 900, "nothing was left out"
