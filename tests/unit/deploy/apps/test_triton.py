"""Triton repositories, read back by protobuf's own parser of text format."""

import openvino
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from core.errors import UserError
from deploy.apply.bake import Normalization, bake
from deploy.apps.triton import config_text, write_repository
from deploy.bundle.types import BuildOptions, Bundle
from deploy.targets import get_backend

FIELD = descriptor_pb2.FieldDescriptorProto
STRING, INT32, INT64, UINT64, MESSAGE, ENUM = (
    FIELD.TYPE_STRING,
    FIELD.TYPE_INT32,
    FIELD.TYPE_INT64,
    FIELD.TYPE_UINT64,
    FIELD.TYPE_MESSAGE,
    FIELD.TYPE_ENUM,
)

# Names, numbers and types of the written part of Triton's model_config.proto; "*" means repeated.
SCHEMA = {
    "ModelParameter": {"string_value": (1, STRING)},
    "ParametersEntry": {"key": (1, STRING), "value": (2, "ModelParameter")},
    "ModelInput": {"name": (1, STRING), "data_type": (2, "DataType"), "dims*": (4, INT64)},
    "ModelOutput": {
        "name": (1, STRING),
        "data_type": (2, "DataType"),
        "dims*": (3, INT64),
        "label_filename": (4, STRING),
    },
    "ModelInstanceGroup": {"kind": (4, "Kind"), "count": (2, INT32)},
    "ModelDynamicBatching": {"preferred_batch_size*": (1, INT32), "max_queue_delay_microseconds": (2, UINT64)},
    "ModelConfig": {
        "name": (1, STRING),
        "platform": (2, STRING),
        "max_batch_size": (4, INT32),
        "input*": (5, "ModelInput"),
        "output*": (6, "ModelOutput"),
        "instance_group*": (7, "ModelInstanceGroup"),
        "dynamic_batching": (11, "ModelDynamicBatching"),
        "parameters*": (14, "ParametersEntry"),
        "backend": (17, STRING),
    },
}
ENUMS = {
    "DataType": {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_FP16": 10, "TYPE_FP32": 11},
    "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2, "KIND_MODEL": 3},
}


@pytest.fixture(scope="module")
def model_config():
    """The message class `ModelConfig`, made of `SCHEMA`."""
    file = descriptor_pb2.FileDescriptorProto(name="triton.proto", package="inference", syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for key, (number, kind) in fields.items():
            field = message.field.add(name=key.rstrip("*"), number=number)
            field.label = FIELD.LABEL_REPEATED if key.endswith("*") else FIELD.LABEL_OPTIONAL
            field.type = kind if isinstance(kind, int) else ENUM if kind in ENUMS else MESSAGE
            if isinstance(kind, str):
                field.type_name = f".inference.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


@pytest.fixture(scope="module")
def baked(exported, tmp_path_factory):
    path = tmp_path_factory.mktemp("baked") / "mask.onnx"
    bake(exported.placed, path, Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), "bands")
    return path


MEANING = {"kind": "mask", "classes": [{"name": name, "color": [0, 0, 0]} for name in ("road", "car")]}


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_the_repository_describes_the_model_it_holds(baked, backend, tmp_path, model_config):
    options = BuildOptions("int8", threads=2, meaning=MEANING)
    bundle = get_backend(backend).build(baked, tmp_path / "engine", options)
    folder = write_repository(bundle, tmp_path / "repository", "pidnet", max_batch=8)
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config())
    assert (config.name, config.backend) == (folder.name, backend) == ("pidnet", backend)
    assert [group.kind for group in config.instance_group] == [2]
    image, mask = config.input[0], config.output[0]
    assert (image.name, list(image.dims), image.data_type) == ("rgb_image", [1, 32, 32, 3], 2)
    assert (mask.name, list(mask.dims), mask.data_type) == ("label_map", [1, 32, 32], 2)
    assert config.max_batch_size == 0 and not config.HasField("dynamic_batching")
    assert "2" in {entry.value.string_value for entry in config.parameters}
    assert (folder / "labels.txt").read_text().split() == ["road", "car"]
    served = sorted(path.name for path in (folder / "1").iterdir())
    model = openvino.Core().read_model(folder / "1" / next(n for n in served if not n.endswith(".bin")))
    assert [port.get_any_name() for port in model.inputs] == [image.name]
    assert list(model.inputs[0].shape) == list(image.dims)
    assert list(model.outputs[0].shape) == list(mask.dims)


def bundle_of(tmp_path, backend="tensorrt", version="tensorrt 10.9.0", batch="N", trt=()):
    """A bundle whose engine is never opened."""
    tensors = {
        "inputs": [{"name": "rgb_image", "dtype": "uint8", "shape": [batch, 360, 480, 3]}],
        "outputs": [{"name": "label_map", "dtype": "uint8", "shape": [batch, 360, 480]}],
    }
    options = {"tensorrt": dict(trt)}
    manifest = {
        "version": version,
        "tensors": tensors,
        "meaning": MEANING,
        "files": {},
        "threads": 1,
        "options": options,
    }
    return Bundle(tmp_path, backend, "int8", manifest)


def test_a_dynamic_batch_is_left_out_of_dims_and_batched(tmp_path, model_config):
    config = text_format.Parse(config_text(bundle_of(tmp_path), "pidnet", 16), model_config())
    assert (config.backend, config.max_batch_size) == ("tensorrt", 16)
    assert list(config.input[0].dims) == [360, 480, 3] and list(config.output[0].dims) == [360, 480]
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    assert config.instance_group[0].kind == 1


@pytest.mark.parametrize(("asked", "served"), [(2, 2), (16, 4)])
def test_a_batch_stays_within_the_profile_of_the_engine(tmp_path, model_config, asked, served):
    bundle = bundle_of(tmp_path, batch="batch", trt={"batch": {"min": 1, "opt": 2, "max": 4}})
    config = text_format.Parse(config_text(bundle, "pidnet", asked), model_config())
    assert config.max_batch_size == served


def test_a_fixed_batch_is_never_batched(tmp_path, model_config):
    config = text_format.Parse(config_text(bundle_of(tmp_path, batch=4), "pidnet", 16), model_config())
    assert config.max_batch_size == 0 and not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [4, 360, 480, 3]


@pytest.mark.parametrize("name", ['a "quoted" name', "back\\slash", "straße"])
def test_names_survive_the_text_format(tmp_path, name, model_config):
    assert text_format.Parse(config_text(bundle_of(tmp_path), name, 1), model_config()).name == name


def test_plans_of_rtx_are_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be served"):
        write_repository(bundle_of(tmp_path, "tensorrt_rtx", "tensorrt_rtx 1.7"), tmp_path / "out", "pidnet", 8)
    assert not (tmp_path / "out").exists()


def test_a_plan_is_copied_under_tritons_name_and_a_changed_one_is_not(tmp_path):
    from core.files.artifacts import sha256_file

    (tmp_path / "model.engine").write_bytes(b"plan")
    bundle = bundle_of(tmp_path)
    bundle.manifest["files"]["model.engine"] = sha256_file(tmp_path / "model.engine")
    folder = write_repository(bundle, tmp_path / "out", "pidnet", 8)
    assert (folder / "1" / "model.plan").read_bytes() == b"plan"
    (tmp_path / "model.engine").write_bytes(b"other")
    with pytest.raises(UserError, match="changed since it was built"):
        write_repository(bundle, tmp_path / "out", "pidnet", 8)


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "two words", ""])
def test_a_name_that_leaves_the_repository_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="cannot name a model"):
        write_repository(bundle_of(tmp_path), tmp_path / "out", name, 8)
    assert not (tmp_path / "out").exists()
