"""What a training consists of: network, optimizer, images, position; one step of it; its state on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnnkit import checkpoint, deploy
from bnnkit.data import Dataset, Split
from bnnkit.errors import GateError, MismatchError
from bnnkit.models import MODELS, Model, create_model
from bnnkit.nn import current_backend, gated_layers, perturb, set_progress, set_step
from bnnkit.runs import Run
from bnnkit.train.clipping import clip_gradients, clipped_parameters
from bnnkit.train.config import Config
from bnnkit.train.evaluation import Evaluation, evaluate, evaluate_packed
from bnnkit.train.faults import trained_faults
from bnnkit.train.images import Preparation, TrainingImages, limited, network_shape
from bnnkit.train.losses import Objective
from bnnkit.train.nonfinite import all_finite, first_non_finite
from bnnkit.train.optimizers import PREFIX, load_state_tensors, make_optimizer, state_tensors
from bnnkit.train.precision import reduced_precision
from bnnkit.train.schedule import learning_rate
from bnnkit.train.teacher import Teacher
from bnnkit.train.workers import ALONE, Workers

EVALUATION_BATCH = 256


@dataclass
class Position:
    """How far a training is: `step` steps of `epoch` are done (both from 0), with these sums over them."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: int = 0
    seen: int = 0
    step_seconds: float = 0.0
    epoch_seconds: float = 0.0
    total_seconds: float = 0.0
    best_epoch: int | None = None
    best_correct: int = -1

    @property
    def recorded(self) -> int:
        """Epochs whose metrics are complete; a part of an epoch counts when the training ended with it."""
        return self.epoch + (1 if self.step and not self.seen else 0)


class Training:
    """A network, its optimizer, its images, and how far they are.

    Everything random is a function of (seed, epoch, image) or (seed, step), and everything else is in the state that
    `save` writes, so a training continued from it computes the same bits as one that never stopped.

    Args:
        config: a resolved config.
        dataset: the dataset it names.
        labels: what checkpoints should say about their origin.
        workers: the processes that compute it together.

    Raises:
        MissingError, MismatchError, UsageError: the teacher's, see `Teacher`.
        UsageError: faults that the network cannot be trained with.
    """

    def __init__(
        self, config: Config, dataset: Dataset, labels: Mapping[str, Any] | None = None, workers: Workers = ALONE
    ) -> None:
        torch.set_num_threads(config.threads)
        self.config = config
        self.dataset = dataset
        self.labels = dict(labels or {})
        self.workers = workers
        self.device = _deterministic_device(config.device, config.precision)
        stored = dataset.train.images.shape
        shape = network_shape(config.model, (int(stored[1]), int(stored[2]), int(stored[3])))
        torch.manual_seed(config.seed)
        classes = len(dataset.classes)
        self.model: Model = create_model(**config.model_options(), classes=classes, in_shape=shape)
        self.model.to(self.device)
        perturb(self.model, trained_faults(config.faults), config.seed)
        self.preparation = Preparation.of(dataset, shape, normalized=MODELS.get(config.model).normalized)
        self.images = TrainingImages(config, dataset, shape, self.device)
        self.parameters = list(self.model.parameters())
        self.clipped = clipped_parameters(self.model) if config.clip_factor else []
        self.optimizer = make_optimizer(self.model, config)
        self.teacher = Teacher(Path(config.teacher), shape, classes, self.device) if config.teacher else None
        self.objective = Objective(config, self.model, self.teacher)
        self.position = Position()
        self.test_images = dataset.test.to(self.device)
        self.test_indices = limited(len(dataset.test), config.limit)

    def initialise(self) -> None:
        """Start from the weights of `config.init`, if one is given.

        Raises:
            MissingError, MismatchError: there is no such file, or it holds another network.
        """
        if self.config.init is not None:
            checkpoint.load_weights(checkpoint.read(self.config.init), self.model)

    @property
    def notices(self) -> list[str]:
        """What the person should know about the options: those without effect on this network, and faults."""
        config, notices = self.config, []
        if config.gate_penalty and not gated_layers(self.model):
            notices.append(f"note: {config.model} has no gates; gate penalty {config.gate_penalty:g} has no effect")
        if self.workers.world_size > 1:
            notices.append(f"{self.workers.world_size} processes with a share of every batch each")
        if config.faults:
            notices.append(f"faults in every step, none in evaluations: {', '.join(config.faults)}")
        return notices

    @property
    def steps_done(self) -> int:
        return self.position.epoch * self.images.steps + self.position.step

    @property
    def steps_total(self) -> int:
        every = self.config.epochs * self.images.steps
        return every if self.config.max_steps is None else min(every, self.config.max_steps)

    @property
    def training_is_over(self) -> bool:
        """Whether all steps are done and validated."""
        return self.steps_done >= self.steps_total and not self.position.seen

    @property
    def epoch_end(self) -> int:
        """Steps of this epoch that are to be done, those included that are."""
        return min(self.images.steps, self.position.step + self.steps_total - self.steps_done)

    def end_epoch(self) -> None:
        """Begin the next epoch; where the training ends within one, stay there."""
        position = self.position
        if position.step == self.images.steps:
            position.epoch, position.step = position.epoch + 1, 0
        position.loss, position.correct, position.seen, position.step_seconds = 0.0, 0, 0, 0.0

    def step(self) -> None:
        """Do one step: forward, backward, clipping, optimizer, clamp.

        Raises:
            GateError: the loss or a gradient is not finite; the weights are still those before the step.
        """
        start = time.perf_counter()
        position, config, workers = self.position, self.config, self.workers
        indices = self.images.indices(position.epoch, position.step)
        share = workers.share(len(indices))
        stored, labels = self.images.augmented(indices[share.images], position.epoch)
        images = self.preparation.normalize(stored)
        rate = learning_rate(config, position.epoch + position.step / self.images.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        set_progress(self.model, self.steps_done / self.steps_total)
        set_step(self.model, self.steps_done, share.images.start)
        self.model.train()
        self.optimizer.zero_grad()
        try:
            with workers.statistics(share), reduced_precision(self.model, config.precision, self.device):
                logits = self.model(images)
        except RuntimeError as failure:
            # The packed kernels refuse NaN.
            raise self._non_finite(math.nan, failure) from failure
        correct = int((logits.detach().argmax(1) == labels).sum())
        loss, correct = workers.backward(self.objective(logits, stored, labels), correct, share, self.parameters)
        if not all_finite(loss, self.parameters):
            raise self._non_finite(float(loss))
        clip_gradients(self.clipped, config.clip_factor)
        self.optimizer.step()
        self.model.clamp_latent()
        position.loss += float(loss) * share.total
        position.correct += correct
        position.seen += share.total
        position.step += 1
        position.step_seconds += time.perf_counter() - start

    def validate(self, each: Callable[[int], None]) -> Evaluation | None:
        """Return the evaluation on the validation images, None if there are none."""
        if not len(self.images.validation):
            return None
        return self._evaluate(self.images.split, self.images.validation, each)

    def test(self, each: Callable[[int], None]) -> Evaluation:
        """Return the evaluation on the test images (`limit` of them)."""
        return self._evaluate(self.test_images, self.test_indices, each)

    def save(self, run: Run) -> None:
        """Write last.safetensors: weights, optimizer, position, random state."""
        extra = state_tensors(self.optimizer, self.model)
        extra["rng.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            extra["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        metadata = {**self._metadata(), "position": asdict(self.position)}
        checkpoint.save(run.last, self.model, extra=extra, metadata=metadata)

    def save_best(self, run: Run) -> None:
        """Write best-val.safetensors: the weights as they are."""
        checkpoint.save(run.best, self.model, metadata=self._metadata())

    def save_broken(self, run: Run) -> None:
        """Write nonfinite.safetensors: the weights whose loss or gradient is not finite."""
        checkpoint.save(run.path / "nonfinite.safetensors", self.model, metadata=self._metadata())

    def restore(self, run: Run) -> None:
        """Continue where `save` was called.

        Raises:
            MismatchError: last.safetensors is damaged, or belongs to another network.
        """
        state = checkpoint.read(run.last)
        checkpoint.check(state, self.model.config)
        checkpoint.load_weights(state, self.model)
        load_state_tensors(self.optimizer, self.model, state.part(PREFIX))
        try:
            self.position = Position(**state.metadata["position"])
            torch.set_rng_state(state.tensors["rng.cpu"])
        except (KeyError, TypeError) as failure:
            raise MismatchError(f"{run.last}: holds no state to continue from", hint="train again") from failure
        if self.device.type == "cuda" and "rng.cuda" in state.tensors:
            torch.cuda.set_rng_state(state.tensors["rng.cuda"], self.device)

    def state(self) -> dict[str, Any]:
        """Return weights, optimizer and position for another process to `adopt`; tensors on the processor."""
        kept = state_tensors(self.optimizer, self.model)
        return {
            "weights": {name: value.cpu() for name, value in self.model.state_dict().items()},
            "optimizer": {name.removeprefix(PREFIX): value.cpu() for name, value in kept.items()},
            "position": asdict(self.position),
        }

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned in another process."""
        self.model.load_state_dict(state["weights"])
        load_state_tensors(self.optimizer, self.model, state["optimizer"])
        self.position = Position(**state["position"])

    def _evaluate(self, split: Split, indices: Tensor, each: Callable[[int], None]) -> Evaluation:
        """Evaluate packed where that is possible: the same logits, much sooner."""
        if current_backend() == "auto" and self.device.type == "cpu" and self._can_be_packed():
            network = deploy.compile(self.model, self.preparation.mean, self.preparation.std)
            [found] = evaluate_packed([network], split, indices, self.preparation, batch=EVALUATION_BATCH, each=each)
            return found
        return evaluate(self.model, split, indices, self.preparation, batch=EVALUATION_BATCH, each=each)

    def _can_be_packed(self) -> bool:
        # What is not finite is left to the layers, which say where it comes from.
        finite = all(bool(t.isfinite().all()) for t in self.model.state_dict().values() if t.is_floating_point())
        return finite and deploy.why_not(self.model) is None

    def _metadata(self) -> dict[str, Any]:
        source = {"dataset": self.dataset.name, "fingerprint": self.dataset.fingerprint, "seed": self.config.seed}
        source |= {"steps": self.steps_done, "limited": self.config.limited}
        return {"preparation": self.preparation.metadata(), "provenance": {**source, **self.labels}}

    def _non_finite(self, loss: float, cause: Exception | None = None) -> Exception:
        # The whole batch in this process, so that all find the same and none has to wait for another.
        stored, labels = self.images.batch(self.position.epoch, self.position.step)
        images = self.preparation.normalize(stored)
        layer = first_non_finite(self.model, images, labels)
        if layer is None and cause is not None:
            return cause
        where = f"train {self.config.model}: epoch {self.position.epoch + 1}, step {self.position.step + 1}"
        found = f"loss {loss:.4g}; {layer or 'every layer is finite, the sum of the gradients is not'}"
        return GateError(f"{where}: {found}; finite numbers were needed", hint=f"--lr {self.config.lr / 10:g}")


def _deterministic_device(name: str, precision: str) -> torch.device:
    if name == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        # Gradients through converters are rounded to bfloat16 with the layers that are; see bnnkit/ops/cuda.py.
        torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
    return torch.device(name)
