"""`python -m deploy run`: sources, drawing, files, modes, and what is refused."""

import cv2
import numpy as np
import pytest

from core.errors import UnsupportedEnvironment, UserError
from deploy.apply.bake import Normalization, bake
from deploy.apps.run.command import drawn, run, segmented, select
from deploy.apps.run.inference import Requests, open_requests
from deploy.apps.run.overlay import CHANGED, difference, overlay, side_by_side, to_engine, with_legend
from deploy.apps.run.sources import Frame, open_source, read_frame
from deploy.bundle.types import BuildOptions
from deploy.targets import get_backend
from deploy.targets.base import Unavailable

CLASSES = [{"name": f"class {index}", "color": [20 * index, 255 - 20 * index, 7]} for index in range(10)]
COLORS = np.array([entry["color"] for entry in CLASSES], np.uint8)
NORMALIZATION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def engines(exported, tmp_path_factory):
    """Folder of image → mask bundles, fp32 and int8 for OpenVINO, fp32 for ONNX Runtime."""
    root = tmp_path_factory.mktemp("run") / "engines"
    for name, precision in (("openvino", "fp32"), ("openvino", "int8"), ("onnxruntime", "fp32")):
        backend = get_backend(name)
        baked = root.parent / f"{name}-{precision}.onnx"
        bake(exported.source(precision, backend.target), baked, NORMALIZATION, "bands")
        meaning = {"kind": "mask", "input": {"height_px": 32, "width_px": 32}, "classes": CLASSES}
        backend.build(baked, root / f"{name}-{precision}-mask", BuildOptions(precision, meaning=meaning))
    return root


@pytest.fixture
def photos(tmp_path):
    """Three noisy PNG files of 48×64."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        image = np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)
        cv2.imwrite(str(folder / f"p{index}.png"), image)
    return folder


@pytest.fixture
def video(tmp_path, photos):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    for index in range(6):
        writer.write(cv2.imread(str(photos / f"p{index % 3}.png")))
    writer.release()
    return path


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    return count


def test_a_folder_becomes_one_overlay_an_image(engines, photos, tmp_path):
    summary = run(engines / "openvino-int8-mask", str(photos), tmp_path / "out")
    assert summary.frames == 3 and summary.fps > 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["p0.png", "p1.png", "p2.png"]
    picture = read_frame(tmp_path / "out" / "p1.png").image
    assert picture.shape[1] == 64 and picture.shape[0] > 48  # the legend is below
    image, bundle = read_frame(photos / "p1.png").image, select(engines / "openvino-int8-mask", ())[0]
    with open_requests(bundle, "latency", 1) as requests:
        mask = requests.submit(to_engine(image, 32, 32))()
    assert np.array_equal(picture[:48], overlay(image, mask, COLORS))


def test_comparing_puts_both_precisions_beside_the_image(engines, photos, tmp_path):
    run(engines / "openvino-int8-mask", str(photos / "p0.png"), tmp_path / "o.png", compare=("fp32", "int8"))
    assert read_frame(tmp_path / "o.png").image.shape[1] == 4 * 64


def test_two_precisions_are_followed_by_the_pixels_that_differ():
    image = np.full((40, 60, 3), 200, np.uint8)
    one, other = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    other[:, :15] = 1
    picture = difference(image, one, other)
    assert (picture[:, :15] == CHANGED).all()
    assert len(np.unique(picture[:, 15:])) == 1
    colors = np.zeros((2, 3), np.uint8)
    row = drawn(image, {"fp32": one, "int8": other}, colors, [], {"fp32": "fp32, 9.0 ms", "int8": "int8, 3.0 ms"})
    assert row.shape[1] == 4 * image.shape[1]


def test_label_maps_are_saved_as_class_indices(engines, photos, tmp_path):
    folder = tmp_path / "masks"
    run(engines / "openvino-int8-mask", str(photos / "p0.png"), tmp_path / "o", masks_to=folder)
    alone = cv2.imread(str(folder / "p0.png"), cv2.IMREAD_UNCHANGED)
    assert alone.dtype == np.uint8
    assert alone.ndim == 2
    both = ("fp32", "int8")
    run(engines / "openvino-int8-mask", str(photos / "p0.png"), tmp_path / "o", compare=both, masks_to=folder)
    assert np.array_equal(cv2.imread(str(folder / "p0-int8.png"), cv2.IMREAD_UNCHANGED), alone)
    assert (folder / "p0-fp32.png").is_file()


def test_a_video_becomes_a_video_and_stops_where_told(engines, video, tmp_path):
    run(engines / "openvino-fp32-mask", str(video), tmp_path / "out")
    assert frames_of(tmp_path / "out" / "clip.mp4") == 6
    run(engines / "openvino-fp32-mask", str(video), tmp_path / "short.mp4", limit=2)
    assert frames_of(tmp_path / "short.mp4") == 2


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_throughput_gives_the_masks_of_latency_in_order(engines, backend):
    bundle = select(engines / f"{backend}-fp32-mask", ())[0]
    images = [np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8) for seed in range(9)]
    found = {}
    for mode in ("latency", "throughput"):
        with open_requests(bundle, mode, threads=2) as requests:
            frames = (Frame(str(index), image) for index, image in enumerate(images))
            found[mode] = [(frame.name, masks["a"]) for frame, masks in segmented({"a": requests}, frames, (32, 32))]
    assert [name for name, _ in found["throughput"]] == [str(index) for index in range(9)]
    for (_, one), (_, other) in zip(found["latency"], found["throughput"], strict=True):
        assert np.array_equal(one, other)


def test_never_more_frames_under_way_than_every_engine_allows():
    waiting, most = [], []

    def submit(image):
        waiting.append(image)
        most.append(len(waiting))
        return lambda: np.full((1, 1), waiting.pop(0)[0, 0, 0])

    engines = {"small": Requests(2, submit), "large": Requests(5, lambda image: lambda: image)}
    frames = (Frame(str(value), np.full((1, 1, 3), value, np.uint8)) for value in range(7))
    found = [int(masks["small"][0, 0]) for _, masks in segmented(engines, frames, (1, 1))]
    assert found == list(range(7)) and max(most) == 2


def test_masks_grow_without_mixing_classes():
    mask = np.array([[0, 9]], np.uint8)
    picture = overlay(np.zeros((4, 8, 3), np.uint8), mask, COLORS)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 2
    assert np.array_equal(picture[0, 0], np.round(COLORS[0] * 0.55)) and (picture[:, :4] == picture[0, 0]).all()


def test_a_legend_takes_the_lines_it_needs():
    narrow, wide = (with_legend(np.zeros((10, width, 3), np.uint8), CLASSES) for width in (120, 1200))
    assert narrow.shape[0] > wide.shape[0] and narrow.shape[1] == 120
    for color in COLORS:
        assert (narrow == color).all(axis=2).any()
    assert side_by_side({"a": wide, "b": wide}).shape[1] == 2400


def test_what_cannot_be_read_is_told_by_name(tmp_path, photos):
    (photos / "p1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"p1\.png cannot be read"):
        list(open_source(str(photos)).frames)
    with pytest.raises(UserError, match="no file or folder"):
        open_source(str(tmp_path / "absent.png"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images in"):
        open_source(str(tmp_path / "empty"))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match="cannot be opened as a video"):
        open_source(str(tmp_path / "broken.mp4"))


def test_an_absent_camera_is_the_machines_fault(monkeypatch):
    class Absent:
        def isOpened(self):
            return False

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", lambda number: Absent())
    with pytest.raises(UnsupportedEnvironment, match="camera 7"):
        open_source("7")


def test_an_encoder_that_is_missing_leaves_no_file(engines, video, tmp_path, monkeypatch):
    class Closed:
        def isOpened(self):
            return False

        def release(self):
            pass

    monkeypatch.setattr(
        cv2,
        "VideoWriter",
        type("Writer", (Closed,), {"fourcc": staticmethod(lambda *_: 0), "__init__": lambda self, *_: None}),
    )
    with pytest.raises(UnsupportedEnvironment, match="cannot write MP4"):
        run(engines / "openvino-fp32-mask", str(video), tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_results_that_cannot_go_where_they_should_are_refused(engines, photos, video, tmp_path):
    bundle = engines / "openvino-fp32-mask"
    with pytest.raises(UserError, match="cannot hold the results"):
        run(bundle, str(photos), tmp_path / "all.png")
    with pytest.raises(UserError, match="cannot hold the results"):
        run(bundle, str(video), tmp_path / "all.png")


def test_bundles_that_are_not_there_are_named(engines, tmp_path):
    with pytest.raises(UserError, match="no engine bundle"):
        select(tmp_path, ())
    with pytest.raises(UserError, match="onnxruntime-int8-mask"):
        select(engines / "onnxruntime-fp32-mask", ("fp32", "int8"))


def test_an_engine_that_cannot_run_here_is_the_machines_fault(engines, monkeypatch):
    backend = type(get_backend("openvino"))
    monkeypatch.setattr(backend, "runnable", lambda self, precision: Unavailable("no such device", "buy one"))
    with pytest.raises(UnsupportedEnvironment, match="cannot run here"):
        select(engines / "openvino-fp32-mask", ())


def test_results_never_replace_what_they_were_made_from(engines, photos, video):
    before = {path: path.read_bytes() for path in (*photos.iterdir(), video)}
    for source, out in ((photos, photos), (photos / "p1.png", photos / "p1.png"), (video, video.parent)):
        with pytest.raises(UserError, match="is not replaced"):
            run(engines / "openvino-fp32-mask", str(source), out)
    assert {path: path.read_bytes() for path in (*photos.iterdir(), video)} == before


def test_label_maps_never_replace_pictures(engines, photos, tmp_path):
    before = {path: path.read_bytes() for path in photos.iterdir()}
    for folder in (photos, tmp_path / "out"):
        with pytest.raises(UserError, match="cannot hold the label maps"):
            run(engines / "openvino-fp32-mask", str(photos), tmp_path / "out", masks_to=folder)
    assert {path: path.read_bytes() for path in photos.iterdir()} == before and not (tmp_path / "out").exists()


def test_pictures_of_one_name_and_two_formats_give_two_results(photos):
    (photos / "p1.bmp").write_bytes(cv2.imencode(".bmp", cv2.imread(str(photos / "p1.png")))[1].tobytes())
    assert [frame.name for frame in open_source(str(photos)).frames] == ["p0", "p1.bmp", "p1.png", "p2"]
