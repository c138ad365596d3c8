"""The loss: cross-entropy, imitation of a teacher, penalty on gates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit import checkpoint, runs
from bnnkit.errors import InterruptedRunError, MismatchError, MissingError, UsageError
from bnnkit.models import create_model
from bnnkit.train import Outcome, Plan, Preparation, Silent, resolve, resume, start
from bnnkit.train.config import Config
from bnnkit.train.losses import Objective, distribution_loss
from bnnkit.train.teacher import Teacher
from bnnkit.train.training import Training

from .stopping import StopAt, fingerprint, start_and_stop

CPU = torch.device("cpu")


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    student, teacher = (3 * torch.randn(6, 10, generator=generator) for _ in range(2))
    return student.requires_grad_(), teacher


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(6)


@pytest.fixture
def trained(tiny: Callable[..., Plan], root: Path) -> Outcome:
    """A finished run to learn from."""
    (outcome,) = start(tiny(w_bit="fp", seed=7), Silent(), argv=[], root=root)
    return outcome


def test_a_student_that_equals_its_teacher_has_the_entropy_as_loss(logits: tuple[Tensor, Tensor]) -> None:
    student, _ = logits
    entropy = torch.distributions.Categorical(logits=student).entropy().mean()
    assert distribution_loss(student, student).item() == pytest.approx(entropy.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(distribution_loss(student, student), student)
    assert gradient.abs().max() < 1e-7


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_gradient_is_the_difference_of_the_distributions(logits: tuple[Tensor, Tensor], temperature: float) -> None:
    student, teacher = logits
    (gradient,) = torch.autograd.grad(distribution_loss(student, teacher, temperature), student)
    difference = (student / temperature).softmax(1) - (teacher / temperature).softmax(1)
    assert torch.allclose(gradient, temperature * difference / len(student), atol=1e-7)


def test_at_temperature_1_it_is_the_loss_of_the_origin(logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits
    # As ReActNet writes it: a batched product of rows and columns.
    rows, columns = F.softmax(teacher, 1).unsqueeze(1), F.log_softmax(student, 1).unsqueeze(2)
    assert torch.allclose(distribution_loss(student, teacher), -torch.bmm(rows, columns).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_a_teacher_it_is_torchs_cross_entropy(
    tiny: Callable[..., Plan], logits: tuple[Tensor, Tensor], labels: Tensor, smoothing: float
) -> None:
    config = tiny(label_smoothing=smoothing).config
    found = Objective(config, nn.Identity(), None)(logits[0], torch.empty(0), labels)
    assert torch.equal(found, F.cross_entropy(logits[0], labels, label_smoothing=smoothing))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_two_losses_are_mixed(
    tiny: Callable[..., Plan], logits: tuple[Tensor, Tensor], labels: Tensor, trained: Outcome, share: float
) -> None:
    config: Config = tiny(teacher=str(trained.run.best), distill=share, label_smoothing=0.1, temperature=2.0).config
    teacher = Teacher(trained.run.best, (1, 8, 8), 10, CPU)
    images = torch.randint(256, (6, 1, 8, 8), dtype=torch.uint8)
    found = Objective(config, nn.Identity(), teacher)(logits[0], images, labels)
    hard = F.cross_entropy(logits[0], labels, label_smoothing=0.1)
    expected = share * distribution_loss(logits[0], teacher(images), 2.0) + (1 - share) * hard
    assert torch.allclose(found, expected)


def test_a_teacher_normalizes_images_as_it_was_trained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("res20", width=1, ao_bit="fp", w_bit="fp", adc_bit="fp").eval()
    preparation = Preparation((3, 32, 32), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    path = tmp_path / "teacher.safetensors"
    checkpoint.save(path, model, metadata={"preparation": preparation.metadata()})
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        expected = model(preparation(images))
    teacher = Teacher(path, (1, 8, 8), 10, CPU)
    found = teacher(images)
    assert torch.equal(found, expected) and not found.requires_grad
    assert torch.equal(teacher(images), found), "its batch statistics must not move"
    assert teacher.digest == runs.file_digest(path)


def test_a_training_shows_student_and_teacher_the_same_augmented_images(
    tiny: Callable[..., Plan], trained: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny(teacher=str(trained.run.best), augment="crop-flip")
    training = Training(plan.config, plan.dataset)
    seen: dict[str, Tensor] = {}
    training.model.register_forward_pre_hook(lambda _, inputs: seen.update(student=inputs[0]))
    assert training.teacher is not None
    shown = Teacher.__call__
    monkeypatch.setattr(Teacher, "__call__", lambda self, x: (seen.setdefault("teacher", x), shown(self, x))[1])
    training.step()
    assert torch.equal(training.preparation(seen["teacher"]), seen["student"])


def test_every_way_to_name_a_teacher_leads_to_its_file(tiny: Callable[..., Plan], trained: Outcome, root: Path) -> None:
    plan = tiny()
    for reference in (str(trained.run.best), str(trained.run.path), trained.run.name, "latest", "mlp"):
        options = {"dataset": "digits", "teacher": reference}
        assert resolve(plan.config.model, options, root=root).config.teacher == str(trained.run.best)


def test_imitation_resumes_bit_for_bit_and_refuses_another_teacher(
    tiny: Callable[..., Plan], trained: Outcome, root: Path
) -> None:
    plan = tiny(teacher=str(trained.run.best), distill=0.5, temperature=3.0, label_smoothing=0.1)
    (whole,) = start(plan, Silent(), argv=[], root=root)
    assert whole.run.read_json("stamp.json")["teacher"] == runs.file_digest(trained.run.best)
    with pytest.raises(InterruptedRunError):
        start_and_stop(plan, root, StopAt("epoch 2/3", 2))
    file = trained.run.best
    kept = file.read_bytes()
    file.write_bytes(trained.run.last.read_bytes())
    with pytest.raises(MismatchError, match="is not the teacher the series was begun with"):
        resume("latest", {}, Silent(), argv=[], root=root)
    file.write_bytes(kept)
    given = {"teacher": trained.run.name, "distill": 0.5}
    (outcome,) = resume("latest", given, Silent(), argv=[], root=root)
    assert fingerprint(outcome.run) == fingerprint(whole.run)


def test_teachers_that_do_not_fit(tiny: Callable[..., Plan], trained: Outcome, tmp_path: Path, root: Path) -> None:
    with pytest.raises(MissingError, match="does not exist; a checkpoint file was needed"):
        tiny(teacher=str(tmp_path / "none.safetensors"))
    path = tmp_path / "hundred.safetensors"
    model = create_model("mlp", width=1, classes=100, in_shape=(1, 8, 8))
    checkpoint.save(path, model, metadata={"preparation": {"mean": [0.5], "std": [0.5]}})
    with pytest.raises(MismatchError, match="100 classes; 10, those of the dataset, were needed") as caught:
        start(tiny(teacher=str(path)), Silent(), argv=[], root=root)
    assert caught.value.exit_code == 4
    plan = tiny("res20", teacher=str(trained.run.best), limit=40)
    with pytest.raises(UsageError, match="images of 3x32x32 do not fit a network for 1x8x8"):
        Training(plan.config, plan.dataset)


def test_gates_are_pulled_to_their_target(tiny: Callable[..., Plan], logits: tuple[Tensor, Tensor]) -> None:
    student, labels = logits[0], torch.arange(6)
    model = create_model("fracbnn20", width=1)
    config = replace(tiny().config, gate_penalty=0.5, gate_target=0.25)
    plain = F.cross_entropy(student, labels)
    thresholds = [p for name, p in model.named_parameters() if name.endswith("threshold")]
    assert thresholds
    expected = plain + 0.25 * torch.stack([(p - 0.25).square().sum() for p in thresholds]).sum()
    found = Objective(config, model, None)(student, torch.empty(0), labels)
    assert torch.allclose(found, expected)
    found.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and torch.allclose(p.grad, 0.5 * (p - 0.25)) for p in thresholds)
    assert torch.equal(Objective(config, nn.Identity(), None)(student, torch.empty(0), labels), plain)
