"""From options to a resolved training: recipes, defaults, scaling, refusals; and its form as config.toml."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bnnkit.data import load
from bnnkit.errors import MismatchError, MissingError, UsageError
from bnnkit.quantizers import GRADIENTS
from bnnkit.train import RECIPES, Plan, resolve
from bnnkit.train.config import Config, differences, from_run, read_toml, to_toml
from bnnkit.train.schedule import learning_rate


@pytest.fixture(autouse=True)
def no_prepared_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BNNKIT_DATA", str(tmp_path / "data"))


def test_the_published_schedule_of_res20() -> None:
    config = resolve("res20", {"dataset": "digits", "epochs": 250, "batch": 128}).config
    assert (config.optimizer, config.batch, config.weight_decay, config.width) == ("adam", 128, 0.0, 5)
    steps = [learning_rate(config, epoch) for epoch in (0, 100.9, 101, 142, 184, 220, 249)]
    assert steps == [5e-3, 5e-3, 1e-3, 5e-4, 1e-4, 1e-5, 1e-5]


def test_milestones_move_with_epochs_and_scale_with_lr() -> None:
    config = resolve("vgg9", {"dataset": "digits", "epochs": 16, "lr": 5e-4}).config
    assert config.milestones[0] == pytest.approx((4.0, 1e-4))
    assert learning_rate(config, 15) == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("schedule", "middle", "end"), [("cosine", 0.5, 0.0), ("linear", 0.5, 0.0), ("constant", 1.0, 1.0)]
)
def test_schedules(tiny: Callable[..., Plan], schedule: str, middle: float, end: float) -> None:
    config = tiny(epochs=10, lr=1.0, schedule=schedule).config
    assert learning_rate(config, 0) == 1.0
    assert learning_rate(config, 5) == pytest.approx(middle)
    assert learning_rate(config, 10) == pytest.approx(end)


def test_digits_stand_in_for_a_dataset_that_is_not_prepared_and_train_briefly() -> None:
    plan = resolve("res20", {})
    assert plan.config.dataset == "digits"
    assert (plan.config.epochs, plan.config.batch) == (RECIPES.get("iga-res").short, 32)
    assert plan.config.augment == "none"
    assert "bnnkit data prepare cifar10" in plan.notices[0]
    assert resolve("res20", {"dataset": "digits"}).notices == ()


def test_a_tenth_is_held_out_unless_asked_otherwise() -> None:
    def held_out(**given: object) -> int:
        return resolve("mlp", {"dataset": "digits", **given}).config.val_split

    assert (held_out(), held_out(limit=100), held_out(val_split=0.5), held_out(val_split=7.0)) == (144, 10, 718, 7)
    assert held_out(val_split=0.0) == 0


def test_bits_are_taken_as_text() -> None:
    config = resolve("mlp", {"dataset": "digits", "ao_bit": "1.5", "w_bit": "fp", "adc_bit": "8"}).config
    assert (config.ao_bit, config.w_bit, config.adc_bit) == (1.5, "fp", "fp")


@pytest.mark.parametrize(
    ("model", "recipe", "given", "message"),
    [
        (None, None, {}, "no model; MODEL or a recipe"),
        (None, "iga-cosine", {}, "no model"),
        ("res21", None, {}, "unknown model 'res21'"),
        ("mlp", "iga-rse", {}, "unknown recipe 'iga-rse'"),
        ("mlp", None, {"epochs": 0}, "--epochs 0: at least 1"),
        ("mlp", None, {"batch": 1}, "--batch 1: at least 2"),
        ("mlp", None, {"lr": -1.0}, "--lr -1.0: a positive number"),
        ("mlp", None, {"lr": float("nan")}, "--lr nan"),
        ("mlp", None, {"optimizer": "adan"}, "unknown optimizer 'adan'"),
        ("mlp", None, {"schedule": "cosin"}, "unknown schedule 'cosin'"),
        ("mlp", None, {"schedule": "piecewise"}, "schedule piecewise: no milestones"),
        ("mlp", None, {"augment": "flip"}, "unknown augmentation 'flip'"),
        ("mlp", None, {"precision": "fp16"}, "--precision fp16"),
        ("mlp", None, {"device": "tpu"}, "--device tpu"),
        ("mlp", None, {"value_gradient": "igo"}, "unknown value gradient 'igo'"),
        ("mlp", None, {"decay_on": "convs"}, "--decay-on convs: unknown"),
        ("mlp", None, {"weight_decay": -1.0}, "--weight-decay -1.0: 0 or a positive number was needed"),
        ("mlp", None, {"clip_factor": -1.0}, "--clip-factor -1.0: 0 (off) or a positive number was needed"),
        ("mlp", None, {"label_smoothing": 1.0}, "--label-smoothing 1.0: a number from 0 to below 1 was needed"),
        ("mlp", None, {"distill": 1.5}, "--distill 1.5: a number from 0 to 1 was needed"),
        ("mlp", None, {"distill": 0.5}, "--distill 0.5: a teacher was needed"),
        ("mlp", None, {"temperature": 0.0}, "--temperature 0.0: a positive number was needed"),
        ("mlp", None, {"temperature": 2.0}, "--temperature 2.0: a teacher was needed"),
        ("mlp", None, {"gate_penalty": float("nan")}, "--gate-penalty nan: 0 or a positive number was needed"),
        ("mlp", None, {"gate_target": float("inf")}, "--gate-target inf: a number was needed"),
        ("mlp", None, {"ao_bit": "7"}, "7"),
        ("mlp", None, {"val_split": 1.5}, "--val-split 1.5"),
        ("mlp", None, {"dataset": "minst"}, "minst"),
    ],
)
def test_impossible_options(model: str | None, recipe: str | None, given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(model, {"dataset": "digits", **given}, recipe=recipe)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_an_environment_error() -> None:
    with pytest.raises(MissingError, match="torch sees no GPU"):
        resolve("mlp", {"dataset": "digits", "device": "cuda"})


def test_config_toml_comes_back_and_is_a_recipe(tmp_path: Path) -> None:
    given = {"dataset": "digits", "adc_sigma": 2.5, "ao_bit": "1.5", "limit": 50, "max_steps": 4, "epochs": 20}
    config = resolve("vgg9", given).config
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config, heading="two\nlines"))
    assert from_run(path) == config
    assert resolve(None, {}, recipe=str(path)).config == config
    shorter = resolve(None, {"epochs": 10}, recipe=str(path)).config
    assert [start for start, _ in shorter.milestones] == [start / 2 for start, _ in config.milestones]


def test_new_options_are_off_written_and_read(tiny: Callable[..., Plan], tmp_path: Path) -> None:
    config = tiny().config
    off = {"decay_on": "all", "clip_factor": 0, "label_smoothing": 0, "teacher": None, "distill": 1, "temperature": 1}
    off |= {"gate_penalty": 0, "gate_target": 0}
    assert {name: getattr(config, name) for name in off} == off
    on = {"decay_on": "convolutions", "clip_factor": 0.01, "label_smoothing": 0.1, "distill": 0.5, "temperature": 4.0}
    on |= {"gate_penalty": 1e-5, "gate_target": 0.5, "value_gradient": "ede", "augment": "reflect-crop-flip"}
    changed = replace(tiny(**{k: v for k, v in on.items() if k not in ("distill", "temperature")}).config, **on)
    changed = replace(changed, teacher="runs/train/x/best-val.safetensors")
    path = tmp_path / "config.toml"
    path.write_text(to_toml(changed))
    assert from_run(path) == changed
    # Runs that were begun before these options existed can be continued.
    lines = to_toml(config).splitlines()
    path.write_text("\n".join(line for line in lines if not line.lstrip("# ").startswith(tuple(off))))
    assert from_run(path) == config


def test_every_estimator_of_gradients_can_be_chosen(tiny: Callable[..., Plan]) -> None:
    for name in GRADIENTS:
        assert tiny(value_gradient=name).config.value_gradient == name
    assert (resolve("res20", {"dataset": "digits"}).config.value_gradient) == "ste"
    assert (resolve("reactnet18", {"dataset": "digits"}).config.value_gradient) == "sigmoid"


def test_the_augmentation_of_a_recipe_is_for_colour_images(
    tiny: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny("res20", "ab-bnn").config.augment == "none"
    digits = load("digits")
    colour = replace(digits.train, images=digits.train.images.expand(-1, 3, -1, -1))
    coloured = replace(digits, train=colour, mean=digits.mean * 3, std=digits.std * 3)
    monkeypatch.setattr("bnnkit.train.plan.load", lambda *names, **options: coloured)
    plan = tiny("res20", "ab-bnn")
    assert [config.augment for config in plan.steps] == ["reflect-crop-flip"] * 2
    assert tiny("res20").config.augment == "crop-flip"
    assert tiny("res20", "ab-bnn", augment="none").config.augment == "none"


def test_every_option_has_a_comment(tiny: Callable[..., Plan]) -> None:
    lines = [line for line in to_toml(tiny().config).splitlines() if line and not line.startswith("[")]
    assert len(lines) == len(vars(tiny().config))
    assert all(line.count("#") == (2 if line.startswith("#") else 1) for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3", "[epochs] is not a section"),
        ("[training]\nepochz = 3", "unknown option 'epochz'"),
        ("[model]\nepochs = 3", "epochs stands in [model]"),
        ("[training]\nepochs = 2.5", "epochs = 2.5; needed int"),
        ("[training]\nepochs = true", "epochs = True; needed int"),
        ("[training]\nmilestones = [1, 2]", "needed a list of [epoch, learning rate]"),
        ("[training", "cannot be read as TOML"),
    ],
)
def test_a_wrong_recipe_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_toml(path)
    assert message in caught.value.message
    with pytest.raises(MismatchError):
        from_run(path)


def test_a_recipe_file_may_hold_a_few_options(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[model]\nmodel = "mlp"\n[data]\ndataset = "digits"\n[training]\nlr = 1\n')
    config = resolve(None, {"seed": 4}, recipe=str(path)).config
    assert (config.model, config.lr, config.seed, config.schedule) == ("mlp", 1, 4, "cosine")


def test_differences_name_options_and_both_values(tiny: Callable[..., Plan]) -> None:
    config: Config = tiny().config
    assert differences(config, {"lr": config.lr, "adc_bit": "fp"}) == []
    changed = differences(replace(config, adc_sigma=2.0), {"adc_sigma": 3.0, "epochs": 5})
    assert changed == ["--adc-sigma: the run has 2.0, given 3.0", "--epochs: the run has 3, given 5"]
