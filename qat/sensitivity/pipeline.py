"""From a config to a ranking of its network's quantizer groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from core.config import section_dict
from core.console import console, say
from core.files.artifacts import sha256_file, sha256_json
from qat.device import device_for, process_on
from qat.processes.stages import is_main
from qat.sensitivity.config import SensitivityConfig
from qat.sensitivity.measure.cache import TrialCache
from qat.sensitivity.measure.evaluator import ImageEvaluator
from qat.sensitivity.measure.preflight import check_forward, check_saving
from qat.sensitivity.measure.rank import rank_groups
from qat.sensitivity.measure.trials import Trials
from qat.sensitivity.network.foreign import settings_of
from qat.sensitivity.network.save import quantization_of
from qat.sensitivity.network.subject import Subject, make_subject
from qat.sensitivity.network.weights import load_weights, model_hash
from qat.sensitivity.types import Ranking
from qat.sensitivity.user.batch import input_and_target
from qat.sensitivity.user.data import read_images, seed_user_code
from qat.sensitivity.user.device import half_precision_of, in_float32, place, to_device
from qat.sensitivity.user.user_file import UserFile, load_user_file
from qat.tracing.inputs import Inputs, device_of

PATHS = {"output_file", "cache", "model_path", "data_path", "model_file"}
NO_TRIAL_DEPENDS_ON = {*PATHS, "tolerance", "trust_pickle", "device", "screen", "search", "engine", "recover"}
CODE = ("user", "network", "measure")  # folders whose source trials depend on


@dataclass(frozen=True)
class Analysis:
    """Everything that is known before anything is decided."""

    config: SensitivityConfig
    user: UserFile
    subject: Subject
    evaluator: ImageEvaluator
    ranking: Ranking
    calibration: tuple[Inputs, ...]  # inputs of the training split, a batch of one each
    class_names: tuple[str, ...]  # empty where the user's file has none


def analyse(config: SensitivityConfig) -> Analysis:
    """Load, quantize where needed, measure the baseline, rank the groups."""
    process_on(device_for(config.device))
    console.quiet = not is_main()
    seed_user_code(config.seed)
    user = load_user_file(config)
    class_names = user.class_names()
    model = _network(user)
    images = read_images(user.loader("val"), config.images, config.seed)
    training = read_images(user.loader("train"), config.calibration.images, config.seed)
    example, target = input_and_target(images.samples[0])
    criterion = in_float32(user.criterion())

    calibration = tuple(input_and_target(sample)[0] for sample in training.samples)

    def check() -> None:
        check_forward(model, example, target, to_device(criterion, device_of(model)))

    place(model, config.device, user.places_itself(), check)
    example = to_device(example, device_of(model))
    subject = make_subject(model, example, calibration, config)
    everything = frozenset(group.name for group in subject.groups)
    with subject.only(everything):
        check_saving(subject.model, quantization_of(subject, everything, example), user.model, example)
    settings = {key: value for key, value in section_dict(config).items() if key not in NO_TRIAL_DEPENDS_ON}
    network = [device_of(model).type, model_hash(subject.model), settings_of(subject.model)]
    fingerprint = sha256_json([_source(), network, images.fingerprint(), sha256_file(user.path), settings])
    cache = TrialCache(config.cache or config.output_file.with_suffix(".trials.jsonl"), fingerprint)
    evaluator = ImageEvaluator(Trials(subject, images, criterion, cache, user.evaluate), config)
    base = evaluator.baseline
    say(f"loss {base.float_loss:.4f} in float, {base.quantized_loss:.4f} all quantized")
    return Analysis(config, user, subject, evaluator, rank_groups(evaluator), calibration, class_names)


def _network(user: UserFile) -> nn.Module:
    """The network of `get_model`, with its weights, in float32."""
    model = user.model()
    if not user.loads_itself():
        model = load_weights(model, user.config.model_path, user.config.trust_pickle)
    half = half_precision_of(model)
    if half:
        say(f"the network is in {' and '.join(half)}: it is analysed, saved and built in float32")
    return in_float32(model)


def _source() -> list[str]:
    """Hashes of the code that decides what a trial measures."""
    here = Path(__file__).parent
    return [sha256_file(path) for folder in CODE for path in sorted((here / folder).glob("*.py"))]
