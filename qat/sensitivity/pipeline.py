"""From a config to a ranking of its network's units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from core.artifacts import sha256_file, sha256_json
from core.config import section_dict
from core.console import console, say
from qat.processes.stages import is_main
from qat.sensitivity.config import SensitivityConfig
from qat.sensitivity.measure.cache import ProbeCache
from qat.sensitivity.measure.judge import ImageJudge
from qat.sensitivity.measure.probes import Probes
from qat.sensitivity.measure.rank import rank_units
from qat.sensitivity.measure.rehearsal import rehearse, rehearse_saving
from qat.sensitivity.network.foreign import settings_of
from qat.sensitivity.network.save import quantization_of
from qat.sensitivity.network.subject import Subject, make_subject
from qat.sensitivity.network.weights import load_weights, model_hash
from qat.sensitivity.types import Ranking
from qat.sensitivity.user.batch import parameters_of
from qat.sensitivity.user.data import read_images, seed_user_code
from qat.sensitivity.user.device import place, to_device
from qat.sensitivity.user.precision import half_precision_of, in_float32
from qat.sensitivity.user.user_file import UserFile, load_user_file
from qat.tracing.inputs import Inputs, device_of

CACHE_VERSION = 2
DECISION = ("search", "engine", "recover")
RESULT_ONLY = {
    "output_file",
    "tolerance",
    "cache",
    "device",
    "screen",
    "model_path",
    "data_path",
    "model_file",
    *DECISION,
}  # no probe depends on them


@dataclass(frozen=True)
class Analysis:
    """Everything that is known before anything is decided."""

    config: SensitivityConfig
    user: UserFile
    subject: Subject
    judge: ImageJudge
    ranking: Ranking


def analyse(config: SensitivityConfig) -> Analysis:
    """Load, quantize where needed, measure the baseline, rank the units."""
    console.quiet = not is_main()
    seed_user_code(config.seed)
    user = load_user_file(config)
    model = _network(user)
    parameters = parameters_of(model)
    images = read_images(user.loader("val"), config.images, config.seed, parameters)
    training = read_images(user.loader("train"), config.calibration.images, config.seed, parameters)
    example, target = images.split(images.samples[0])

    def calibration() -> Iterator[Inputs]:
        for sample in training.samples:
            yield to_device(training.split(sample)[0], device_of(model))

    criterion = in_float32(user.criterion())

    def works() -> None:
        rehearse(model, example, target, to_device(criterion, device_of(model)))

    place(model, config.device, user.places_itself(), works)
    example = to_device(example, device_of(model))
    subject = make_subject(model, example, calibration(), config)
    _rehearse_saving(subject, user, example)
    settings = {key: value for key, value in section_dict(config).items() if key not in RESULT_ONLY}
    fingerprint = sha256_json(
        [
            CACHE_VERSION,
            device_of(model).type,
            model_hash(subject.model),
            settings_of(subject.model),
            images.fingerprint(),
            sha256_file(user.path),
            settings,
        ]
    )
    cache = ProbeCache(config.cache or config.output_file.with_suffix(".probes.jsonl"), fingerprint)
    probes = Probes(subject, images, criterion, cache, user.evaluate)
    judge = ImageJudge(probes, config)
    say(f"loss {judge.baseline.float_loss:.4f} in float, {judge.baseline.quantized_loss:.4f} all quantized")
    return Analysis(config, user, subject, judge, rank_units(judge, config))


def _network(user: UserFile) -> nn.Module:
    """What `get_model` returns, with its weights, in float32."""
    model = user.model()
    if not user.loads_itself():
        model = load_weights(model, user.config.model_path)
    half = half_precision_of(model)
    if half:
        say(f"the network is in {' and '.join(half)}: it is analysed, saved and built in float32")
    return in_float32(model)


def _rehearse_saving(subject: Subject, user: UserFile, example: Inputs) -> None:
    everything = frozenset(unit.name for unit in subject.units)
    with subject.only(everything):
        how = quantization_of(subject, everything, example)
        rehearse_saving(subject.model, how, user.model, example)
