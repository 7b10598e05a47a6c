"""Networks with several inputs, for all ways in which batches and `forward` name them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core.errors import UserError
from qat.sensitivity import load
from qat.sensitivity.finish import finish
from qat.sensitivity.pipeline import analyse
from qat.sensitivity.user.batch import input_and_target
from qat.sensitivity.user.data import read_images
from qat.sensitivity.user.user_file import load_user_file
from qat.tracing.inputs import apply
from tests.sensitivity.users import PLAIN, spoil, write_user

A, B, TARGET = torch.zeros(2, 3), torch.ones(2, 1), torch.arange(2)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ((A, TARGET), A),
        ((A, TARGET, B), A),
        ([A, TARGET], A),
        (((A, B), TARGET), (A, B)),
        (([A, B], TARGET), (A, B)),
        ((((A, B),), TARGET), ((A, B),)),
        (({"image": A, "depth": B}, TARGET), {"image": A, "depth": B}),
        ({"x": A, "target": TARGET}, {"x": A}),
        ({"image": A, "depth": B, "name": ["a", "b"], "target": TARGET}, {"image": A, "depth": B}),
    ],
)
def test_the_input_and_target_of_a_batch(batch, expected) -> None:
    inputs, target = input_and_target(batch)
    assert inputs is expected if isinstance(expected, Tensor) else inputs == expected
    assert target is TARGET


@pytest.mark.parametrize(
    "batch", [{"image": A, "label": TARGET}, A, (A,), (A, None), {"target": TARGET}, (["a"], TARGET), ((), TARGET)]
)
def test_a_batch_of_another_form_is_refused_with_the_documented_ones(batch) -> None:
    with pytest.raises(UserError, match=r"batches of \(input, target\)") as refused:
        input_and_target(batch)
    assert "'target'" in refused.value.fix and refused.value.why.startswith("it gave ")


TWO = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.depth1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv3 = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, image, depth):
        image = torch.relu(self.conv2(torch.relu(self.conv1(image))))
        x = image + torch.relu(self.depth1(depth))
        return self.fc(torch.relu(self.conv3(x)).mean((2, 3)))
"""
UNPACKED = TWO.replace("forward(self, image, depth):\n", "forward(self, pair):\n        image, depth = pair\n")
NAMED = TWO.replace("self, image, depth", "self, *, image, scale=2.0, depth=None").replace("+ torch", "+ scale * torch")
BRANCHING = TWO.replace(
    "        x = image", "        if image.sum() > 1e9:\n            depth = depth / 2\n        x = image"
)
DATA = """
def get_data_loader(data_path):
    numbers = torch.Generator().manual_seed(1)
    image, depth = (torch.randn(24, c, 8, 8, generator=numbers) for c in (3, 1))
    label = torch.load(data_path, weights_only=True)
    parts = [tuple(values[i : i + 6] for values in (image, depth, label)) for i in range(0, 24, 6)]
    return [{form} for image, depth, label in parts]
"""
FORMS = {
    "a tuple": (TWO, "((image, depth), label)"),
    "a mapping": (TWO, "{'image': image, 'depth': depth, 'target': label}"),
    "a pair": (UNPACKED, "(((image, depth),), label)"),
    "by name": (NAMED, "({'depth': depth, 'image': image}, label)"),
    "branching": (BRANCHING, "{'image': image, 'depth': depth, 'target': label}"),
}
BUILT = ("a tuple", "by name")  # of the others only "a pair" and "branching" could not be
ENGINE = {"rounds": 2, "runs_per_round": 1, "pareto_points": 0}


@pytest.mark.parametrize("form", FORMS)
def test_a_network_of_two_inputs_from_end_to_end(tmp_path, form) -> None:
    net, batches = FORMS[form]
    engine = ENGINE if form in (*BUILT, "a pair") else None
    keys = {"engine": engine, "exact_top": 2, "full_top": 0, "screen_images": 6}
    config = write_user(tmp_path, PLAIN, later=net + DATA.replace("{form}", batches), tolerance=1e3, **keys)
    user = load_user_file(config)
    model = user.model().eval()
    spoil(model, "conv2")
    torch.save(model.state_dict(), config.model_path)
    found = analyse(config)
    trials = found.evaluator.trials
    assert found.ranking.groups[0].group == "conv2"
    assert (found.subject.form == "layers") == (form == "branching") == (not trials.reuses)
    if form != "branching":
        joined = next(group for group in found.evaluator.groups if group.name == "conv3")
        assert len(joined.quantizers) >= 2
    worst = frozenset({"conv2"})
    inputs, target = trials.inputs(tuple(range(6)))
    with found.subject.only(worst), torch.no_grad():
        losses = nn.functional.cross_entropy(apply(found.subject.model, inputs), target, reduction="none")
    assert [item.loss for item in trials.of(worst, range(6))] == pytest.approx(losses.tolist(), abs=1e-6)
    done = finish(found)
    assert done.model == config.output_file and done.histograms
    assert (done.engine is not None) == (form in BUILT)
    assert any("takes several tensors as pair" in note for note in done.notes) == (form == "a pair")
    if done.engine is not None:
        assert done.engine["loss"] == pytest.approx(done.engine["simulated_loss"], rel=0.01)
    with found.subject.only(found.evaluator.everything), torch.no_grad():
        assert torch.equal(apply(load(done.model, user.model()), inputs), apply(found.subject.model, inputs))


def test_a_dataset_of_pairs_is_read_image_by_image(tmp_path) -> None:
    user = load_user_file(write_user(tmp_path, PLAIN))
    pairs = [((A[i], B[i]), TARGET[i]) for i in range(2)]
    user.functions.get_data_loader = lambda: torch.utils.data.DataLoader(pairs, batch_size=2)
    images = read_images(user.loader("val"), None, 0)
    assert len(images) == 2 and [tuple(x.shape) for x in images.samples[1][0]] == [(1, 3), (1, 1)]
