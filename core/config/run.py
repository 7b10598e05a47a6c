"""What a run is: one YAML file, checked before anything expensive starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from core.backends import BACKEND_NAMES, BackendName
from core.config.data import CLASSIFIED
from core.config.data import DataConfig as DataConfig
from core.config.schema_errors import blamed, problems, shortened
from core.config.section import Device, Section, require_order
from core.config.tensorrt_options import TensorrtConfig
from core.config.yaml_file import parse, read_mapping
from core.errors import UserError
from core.nearest import path_hint
from core.packaged_file import packaged

TaskName = Literal["segmentation", "classification"]
MOST_CLASSES: dict[TaskName, int] = {  # of segmentation: label maps are 8 bits, and 255 marks pixels without a class
    "segmentation": 255,
    "classification": 65535,
}
NETWORKS: dict[TaskName, tuple[str, ...]] = {
    "segmentation": ("pidnet_s", "pidnet_m", "pidnet_l"),
    "classification": ("resnet18", "resnet50", "efficientnet_lite0"),
}


class ModelConfig(Section):
    """The network. `custom` calls `factory` ("file.py:function"), which returns an `nn.Module`."""

    name: Literal["pidnet_s", "pidnet_m", "pidnet_l", "resnet18", "resnet50", "efficientnet_lite0", "custom"] = (
        "pidnet_s"
    )
    num_classes: int = Field(default=11, ge=2)
    factory: str | None = None
    output: int | str | None = None  # position or key of the head that is evaluated and deployed, if there are several
    loss: str | None = None  # "file.py:function" of FP32 training and of fine-tuning with labels; None: the task's
    checkpoint: Annotated[Path | None, BeforeValidator(packaged)] = None  # FP32 weights, instead of FP32 training

    @model_validator(mode="after")
    def _factory_for_custom(self) -> ModelConfig:
        if (self.name == "custom") != (self.factory is not None):
            raise ValueError("`factory` goes with `name: custom`, and only with it")
        return self


class TrainConfig(Section):
    """FP32 training, as in the PIDNet paper (Xu et al., CVPR 2023) unless set otherwise."""

    epochs: int = Field(default=0, ge=0)  # 0 with model.checkpoint
    batch_size: int = Field(default=6, gt=0)  # per process
    optimizer: Literal["sgd", "adamw"] = "sgd"  # adamw learns faster when there are only some hundred steps
    lr: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    poly_power: float = Field(default=0.9, gt=0)
    scale_min: float = Field(default=0.5, gt=0)
    scale_max: float = Field(default=2.0, gt=0)
    crop_height_px: int | None = Field(default=None, gt=0)  # None: the height of the pictures
    crop_width_px: int | None = Field(default=None, gt=0)
    flip: bool = True
    ohem_threshold: float = Field(default=0.9, gt=0, le=1)
    ohem_min_kept: float = Field(default=0.125, ge=0, le=1)  # share of the batch's pixels
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where CPU (AMX/AVX512_BF16) or GPU has it
    checkpoint_every_steps: int = Field(default=200, gt=0)

    @model_validator(mode="after")
    def _scales_in_order(self) -> TrainConfig:
        require_order(self.scale_min, self.scale_max)
        return self


ActivationCalibrator = Literal["max", "moving_average", "percentile", "entropy", "mse"]
WeightCalibrator = Literal["max", "mse"]


class CalibrationOverride(Section):
    """Other settings for the quantizers that a pattern names; None leaves what they had."""

    match: str  # fnmatch: module paths as in placement.skip, or names of tensors
    method: ActivationCalibrator | None = None
    percentile: float | None = Field(default=None, gt=0, le=100)
    weights: WeightCalibrator | None = None


class CalibrationConfig(Section):
    """How a range becomes an amax."""

    method: ActivationCalibrator = "mse"
    images: int = Field(default=32, gt=0)
    percentile: float = Field(default=99.99, gt=0, le=100)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # moving_average: share of the old range that an image keeps
    weights: WeightCalibrator = "max"  # per channel
    overrides: tuple[CalibrationOverride, ...] = ()  # the last one that matches wins


class DistillConfig(Section):
    """What fine-tuning learns from the FP32 network besides the labels."""

    weight: float = Field(default=1.0, ge=0)  # of the distance between the logits; 0: no distillation
    temperature: float = Field(default=1.0, gt=0)
    features: tuple[str, ...] = ()  # module-path patterns (fnmatch) whose outputs are compared, too
    feature_weight: float = Field(default=1.0, ge=0)
    labels: bool = True  # False: masks are not used at all

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> DistillConfig:
        if self.weight == 0 and (self.features or not self.labels):
            raise ValueError("`features` and `labels: false` need a `weight` above 0")
        return self


class QatConfig(Section):
    """Quantization-aware fine-tuning; `epochs: 0` is post-training quantization."""

    approach: Literal["calibrate", "stats_only", "direct"] = "calibrate"
    toolkit: Literal["auto", "modelopt", "pytorch-quantization", "builtin"] = "auto"  # whose quantizers train
    epochs: int = Field(ge=0)
    batch_size: int = Field(default=6, gt=0)
    optimizer: Literal["sgd", "adamw"] = "sgd"  # adamw also moves weights whose gradients are small, as of large ranges
    lr: float = Field(default=1e-4, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)
    batch_norm_steps: int = Field(default=0, ge=0)  # BatchNorm statistics move for these first steps, then freeze
    correct_means: bool = False  # before training, biases that give each layer the mean output of the float network
    ema_decay: float | None = Field(default=None, gt=0, lt=1)  # None: the weights themselves are exported
    keep: Literal["best", "last"] = "best"  # best: of all epochs and PTQ, by the tuning split; last: what was trained
    early_stop_epochs: int | None = Field(default=None, gt=0)  # None: train to the end
    distill: DistillConfig = DistillConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    seed: int | None = Field(default=None, ge=0, lt=2**32)  # order and augmentation of the images; None: the run's
    learned_scales: bool = False  # LSQ for `calibrate`/`stats_only`; `direct` always learns
    freeze_last_epochs: float = Field(default=0.5, ge=0)  # stats_only: the EMA stops for these
    observe_steps: int = Field(default=20, gt=0)  # direct: steps whose EMA gives the first range
    scale_min: float = Field(default=0.75, gt=0)
    scale_max: float = Field(default=1.5, gt=0)

    @model_validator(mode="after")
    def _scales_in_order(self) -> QatConfig:
        require_order(self.scale_min, self.scale_max)
        return self

    @model_validator(mode="after")
    def _has_ranges_before_training(self) -> QatConfig:
        if self.approach == "direct" and self.correct_means:
            raise ValueError("`correct_means` needs ranges before training, which `direct` has not")
        return self

    @model_validator(mode="after")
    def _follows_before_it_freezes(self) -> QatConfig:
        if self.approach == "stats_only" and 0 < self.epochs <= self.freeze_last_epochs:
            raise ValueError("stats_only would never follow a range: `freeze_last_epochs` must be less than `epochs`")
        return self


class LayerSpec(Section):
    """Which sides of the weighted operators that a pattern names are quantized."""

    match: str  # as in placement.skip
    inputs: bool = True
    weights: bool = True

    @model_validator(mode="after")
    def _one_side(self) -> LayerSpec:
        if not (self.inputs or self.weights):
            raise ValueError("neither inputs nor weights: name the layer in `placement.skip`")
        return self


class PlacementConfig(Section):
    """Which placement rules apply; names as `python -m deploy rules` lists them."""

    rule_set: Literal["auto", "tensorrt", "openvino", "onnxruntime"] = (
        "auto"  # auto: trained as tensorrt, built as each engine likes
    )
    custom: tuple[Path, ...] = ()  # Python files whose RULES join those of the rule set
    tuned: tuple[Path, ...] = ()  # files of `python -m deploy autotune`, one per target; they replace its rules
    disable: tuple[str, ...] = ()
    only: tuple[str, ...] = ()  # patterns as in `skip`; when given, all other weighted operators stay float
    skip: tuple[str, ...] = ()  # node-name patterns (fnmatch) or operator kinds left in float
    layers: tuple[LayerSpec, ...] = ()  # the last one that matches wins
    weights: Literal["int8", "float"] = "int8"  # stored as integers behind a DQ, or as float32 before Q and DQ
    weight_scales: Literal["channel", "tensor"] = "channel"  # a scale per output channel, or one for the whole weight


class DeployConfig(Section):
    """Which engines are built."""

    backends: tuple[BackendName, ...] = Field(default=BACKEND_NAMES, min_length=1)
    opset: int = Field(default=18, ge=18, le=20)
    workspace_mib: int = Field(default=4096, gt=0)
    image_to_mask: tuple[Literal["fp32", "bf16", "fp16", "int8"], ...] = ("fp32", "int8")  # also built as image → mask
    pixels: bool = True  # INT8 engines take 8-bit pixels, and QAT trains so; False: normalised float32
    fallback_precision: Literal["fp16", "fp32"] = "fp16"  # of the float part of TensorRT's INT8 engines
    tensorrt: TensorrtConfig = TensorrtConfig()  # TensorRT-RTX reads it, too


class SweepConfig(Section):
    """Points of the cost curves; one network is exported and built for each, from the run's weights."""

    enabled: bool = False  # `make bench` sweeps too; `python benchmarks/sweep.py` always does
    backends: tuple[BackendName, ...] = ("openvino",)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16)  # at the size of `data`
    sizes_px: tuple[tuple[int, int], ...] = ((256, 512), (360, 480), (512, 1024), (768, 1536), (1024, 2048))
    rounds: int = Field(default=5, gt=0)
    runs_per_round: int = Field(default=2, gt=0)

    @model_validator(mode="after")
    def _positive(self) -> SweepConfig:
        if min((*self.batches, *(side for size in self.sizes_px for side in size)), default=1) < 1:
            raise ValueError("batches and sides are at least 1")
        return self


class BenchConfig(Section):
    """How engines are timed and judged."""

    rounds: int = Field(default=20, gt=0)  # interleaved A B A B rounds
    runs_per_round: int = Field(default=5, gt=0)
    warmup_ms: int = Field(default=5000, ge=0)  # at most; it ends when the engine is steady
    throughput_ms: int = Field(default=3000, ge=0)  # 0: throughput is not measured
    threads: int = Field(default=1, gt=0)
    strip_images: int = Field(default=4, gt=0)
    gate_drop_points: float = Field(default=1.0, ge=0)  # of the task's metric below FP32 that --gate allows
    gate_bytes_ratio: float | None = Field(default=None, gt=0)  # bytes that INT8 may move over BF16 or FP16; None: any
    sweep: SweepConfig = SweepConfig()


class Config(Section):
    """One run, from data to table."""

    run: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    task: TaskName = "segmentation"
    seed: int = Field(default=0, ge=0, lt=2**32)  # as NumPy takes them
    device: Device = "auto"  # of training, calibration and scoring in PyTorch; auto: CUDA where there is any
    model: ModelConfig
    data: DataConfig
    train: TrainConfig = TrainConfig()
    qat: QatConfig
    placement: PlacementConfig = PlacementConfig()
    deploy: DeployConfig = DeployConfig()
    bench: BenchConfig = BenchConfig()

    @model_validator(mode="after")
    def _fits_the_task(self) -> Config:
        most, networks = MOST_CLASSES[self.task], (*NETWORKS[self.task], "custom")
        if self.model.name not in networks:
            raise ValueError(f"`task: {self.task}` goes with model.name {' | '.join(networks)}, not {self.model.name}")
        if self.model.num_classes > most:
            raise ValueError(f"model.num_classes is {self.model.num_classes}; {self.task} has at most {most} classes")
        if self.data.name != "custom" and (self.data.name in CLASSIFIED) != (self.task == "classification"):
            raise ValueError(f"data.name {self.data.name} has no labels for `task: {self.task}`")
        return self

    @model_validator(mode="after")
    def _sides(self) -> Config:
        if self.model.name in NETWORKS["segmentation"] and (self.data.height_px % 8 or self.data.width_px % 8):
            raise ValueError("PIDNet needs data.height_px and data.width_px to be multiples of 8")
        return self

    @model_validator(mode="after")
    def _masks_where_they_are_needed(self) -> Config:
        if not self.data.train_masks and self.model.checkpoint is None:
            raise ValueError("FP32 training needs labels: with `data.train_masks: false` set model.checkpoint")
        if not self.data.train_masks and self.qat.epochs and self.qat.distill.labels:
            raise ValueError("without labels fine-tuning learns from FP32 alone: set qat.distill.labels: false")
        return self

    @model_validator(mode="after")
    def _weights_from_somewhere(self) -> Config:
        if self.train.epochs == 0 and self.model.checkpoint is None:
            raise ValueError("there are no FP32 weights: set model.checkpoint, or train.epochs above 0")
        return self

    @property
    def image_to_mask(self) -> tuple[str, ...]:
        """Precisions that are also built from image to label map: there is none where images have one class each."""
        return self.deploy.image_to_mask if self.task == "segmentation" else ()

    @property
    def fine_tuning_seed(self) -> int:
        """Of the order and augmentation of images in fine-tuning."""
        return self.seed if self.qat.seed is None else self.qat.seed


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a YAML run config and apply `a.b=c` overrides (values are YAML).

    Raises:
        UserError: no such file, a YAML error, a repeated key, or a value the schema refuses.
    """
    if not path.is_file():
        known = ", ".join(sorted(str(p) for p in Path("configs").glob("*.yaml"))) or "none here"
        raise UserError(f"no config file {path}", fix=path_hint(path, f"give --config one of: {known}"))
    raw = read_mapping(path, "configs/pidnet_s_streets.yaml")
    of_file = _problems(raw) if overrides else []
    for override in overrides or []:
        _apply(raw, override)
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        found = problems(error, Config)
        of_set = not set(found) & set(of_file)
        what = f"{blamed(overrides, found)} is not valid" if overrides and of_set else f"{path} is not a valid config"
        raise UserError(what, why="; ".join(found), fix="see docs/reference/config.md") from error


def _problems(raw: dict[str, Any]) -> list[str]:
    try:
        Config.model_validate(raw)
    except ValidationError as error:
        return problems(error, Config)
    return []


def section_dict(section: BaseModel) -> dict[str, Any]:
    """A section as plain JSON values, for hashes and manifests."""
    return section.model_dump(mode="json")


def _apply(raw: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    shown = f"--set {shortened(override)}"
    if not separator or not dotted:
        raise UserError(shown, why="not of the form a.b=c")
    *parents, leaf = dotted.split(".")
    section = raw
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise UserError(shown, why=f"{parent} is a value, not a section")
    section[leaf] = parse(text, f"{shown}: the value is not valid YAML")
