"""Pictures in the form of an engine's input."""

import numpy as np
import pytest

from core.errors import UserError
from deploy.bundle.manifest import manifest_problems
from deploy.bundle.pixels import Feeder
from tests.unit.deploy.rewrites.stems import PICTURE, normalized, pictures

SIZE = (12, 16)


def manifest(block, dtype, constants):
    height, width = (side // block for side in SIZE)
    return {
        "tensors": {"inputs": [{"shape": [1, height, width, 4 * block**2], "dtype": dtype}]},
        "pixels": {"constants": constants, "gain": PICTURE.gain.tolist(), "zero": PICTURE.zero.tolist()},
    }


def in_blocks(rgb, block, dtype, constants):
    """Pixel by pixel, as the words say."""
    height, width = (side // block for side in SIZE)
    made = np.zeros((len(rgb), height, width, 4 * block**2), np.int64)
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            place = (y % block) * block + x % block
            made[:, y // block, x // block, 4 * place : 4 * place + 3] = rgb[:, y, x].astype(np.int64) - 128
            made[:, y // block, x // block, 4 * place + 3] = constants[place]
    return (made + (128 if dtype == "uint8" else 0)).astype(dtype)


@pytest.mark.parametrize("block, constants", [(1, [34]), (1, [127]), (2, [127, 127, 127, 1])])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_picture_becomes_blocks(block, constants, dtype, count):
    rgb = pictures(SIZE, count)
    expected = in_blocks(rgb, block, dtype, constants)
    feeder = Feeder(manifest(block, dtype, constants))
    flipped = np.ascontiguousarray(rgb[:, ::-1, ::-1])[:, ::-1, ::-1]  # a view that runs backwards
    for value in (rgb, flipped, normalized(rgb), expected):
        (got,) = feeder.ready({"image": value}).values()
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    target = np.zeros_like(expected)
    feeder.put(rgb, target)
    np.testing.assert_array_equal(target, expected)


def test_every_pixel_value_comes_back_from_its_normalized_form():
    rgb = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    of_values = manifest(1, "uint8", [1])
    of_values["tensors"]["inputs"][0]["shape"] = [1, 16, 16, 4]
    (got,) = Feeder(of_values).ready({"image": normalized(rgb)}).values()
    np.testing.assert_array_equal(got[..., :3], rgb)


def test_a_picture_of_another_size_or_type_is_refused():
    feeder = Feeder(manifest(2, "int8", [127, 127, 127, 1]))
    for value in (pictures((12, 12)), pictures(SIZE)[..., :2], pictures(SIZE).astype(np.float64)):
        with pytest.raises(UserError, match="does not take"):
            feeder.ready({"image": value})


def test_other_engines_are_fed_as_they_were():
    value = np.arange(6, dtype=np.float32).reshape(2, 3).T
    (got,) = Feeder({}).ready({"x": value}).values()
    assert got.flags.c_contiguous and got.dtype == np.float32
    np.testing.assert_array_equal(got, value)
    target = np.zeros((3, 2), np.float32)
    Feeder({}).put(value, target)
    np.testing.assert_array_equal(target, value)


@pytest.mark.parametrize("constants", [[], [1, 2], [128], ["1"], [1.5]])
def test_a_manifest_with_other_constants_is_refused(constants):
    found = manifest_problems({"pixels": {"constants": constants, "gain": [1.0] * 3, "zero": [0.0] * 3}})
    assert any("pixels" in problem for problem in found)
