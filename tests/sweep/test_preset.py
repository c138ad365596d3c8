"""Published tables: their cells, their values, and that the two belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import typer

from bnnkit.errors import UsageError
from bnnkit.sweep import PRESETS, TRAINED, Cell, Entry, load_preset, rows_of
from bnnkit_cli.commands.sweep_words import check_words
from bnnkit_cli.main import build_app
from tests.sweep.documents import chip_document, entry, eval_document, inject_document, train_cell, train_document

EXTRA = {"train": ["--epochs", "1"], "eval": ["--limit", "9"], "inject": ["--limit", "9"]}
PUBLISHED = {"iga-table1": 40, "iga-table2": 16, "image-faults": 8, "rram-vgg7": 3, "weight-noise": 12}


def finished(cells: Sequence[Cell]) -> list[Entry]:
    """Return the cells with documents of the form that their command lines print, a different accuracy each."""
    count = iter(range(1000))

    def accuracy() -> float:
        return 50.0 + next(count) / 100

    return [entry(cell, document_of(list(cell.arguments), cell.command, accuracy)) for cell in cells]


def document_of(words: list[str], command: str, accuracy: Any) -> dict[str, Any]:
    def values(option: str) -> list[str]:
        return words[words.index(option) + 1].split(",") if option in words else []

    if command == "train":
        return train_document(accuracy())
    if command == "eval" and "--cell-bit" in words:
        return chip_document(accuracy(), {int(bit): [accuracy()] for bit in values("--cell-bit")})
    if command == "eval":
        return eval_document({bit: accuracy() for bit in values("--adc-bit")})
    rates = [f"{float(rate):g}" for rate in values("--rate")]
    names = rates or ["faulty", *(f"repair {name}" for name in values("--repair"))]
    return inject_document(accuracy(), {name: accuracy() for name in names})


def test_all_presets_are_tried_here() -> None:
    assert sorted(PRESETS) == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_value_stands_in_exactly_one_row(name: str) -> None:
    preset = load_preset(name)
    assert len(preset.published) == PUBLISHED[name]
    assert len({tuple(sorted(each.labels.items())) for each in preset.published}) == PUBLISHED[name]
    cells = preset.cells({})
    assert len({cell.key for cell in cells}) == len(cells)
    rows = rows_of(finished(cells), preset.published)
    for each in preset.published:
        found = [row for row in rows if each.belongs_to(row.labels)]
        assert len(found) == 1, f"{each.labels}: {len(found)} rows"
        assert found[0].published == each.accuracy and preset.across in each.labels
        assert found[0].difference == pytest.approx((found[0].mean or 0.0) - each.accuracy)
    assert sum(row.published is not None for row in rows) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_commands_understand_its_cells(name: str) -> None:
    command = typer.main.get_command(build_app())
    root = command.make_context("bnnkit", ["sweep", "--help"], resilient_parsing=True)
    for cell in load_preset(name).cells(EXTRA, seeds=["1", "2"]):
        for each in (cell, cell.needs):
            if each is not None:
                check_words(root, each.words(None))


def test_the_cells_of_iga_table1() -> None:
    cells = load_preset("iga-table1").cells(EXTRA)
    assert len(cells) == 4 + 4 + 16 + 16
    lines = [cell.line.removeprefix("bnnkit ") for cell in cells]
    assert lines[0] == "train mlp --ao-bit fp --w-bit fp --adc-bit fp --epochs 1"
    assert "train res20 --epochs 1 --adc-bit 4" in lines
    through = [cell for cell in cells if cell.command == "eval"]
    assert all(cell.arguments[0] == TRAINED and cell.needs in cells for cell in through)
    assert through[0].line == "bnnkit eval '{trained}' --limit 9 --adc-bit 1"
    assert through[0].labels == {"model": "mlp", "training": "BNN, no ADC", "adc-bit": "1"}


def test_trainings_on_the_way_are_no_rows() -> None:
    [arrays] = load_preset("rram-vgg7").cells(EXTRA)
    assert arrays.needs is not None and arrays.needs.command == "train"
    assert arrays.needs.arguments[:5] == ("vgg7", "--w-bit", "4", "--ao-bit", "4")
    assert arrays.labels["model"] == "vgg7"


def test_seeds_multiply_trainings_and_what_follows() -> None:
    cells = load_preset("image-faults").cells({}, seeds=["3", "5"])
    assert [(cell.labels["bit"], cell.labels["seed"]) for cell in cells] == [
        ("6", "3"), ("6", "5"), ("5", "3"), ("5", "5"),
    ]  # fmt: skip
    assert [cell.needs.arguments for cell in cells if cell.needs][:2] == [
        ("cnv", "--seed", "3"),
        ("cnv", "--seed", "5"),
    ]
    assert all("--seed" not in cell.arguments for cell in cells)
    rows = rows_of(finished(cells), load_preset("image-faults").published)
    assert all(len(row.accuracies) == 2 for row in rows)


def test_only_some_cells() -> None:
    preset = load_preset("iga-table1")
    cells = preset.cells({}, only={"model": ["mlp"], "adc-bit": ["1", "2"]})
    assert [(cell.command, cell.labels["adc-bit"]) for cell in cells] == [
        ("eval", "1"), ("eval", "2"), ("train", "1"), ("train", "2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("only", "message", "hint"),
    [
        (
            {"model": ["cnv"]},
            "--only model=cnv: nothing like that in preset iga-table1",
            "model: mlp, vgg9, res18, res20",
        ),
        (
            {"network": ["mlp"]},
            "--only network: nothing like that in preset iga-table1",
            "labels: training, adc-bit, model",
        ),
        (
            {"training": ["IGA"], "adc-bit": ["fp"]},
            "--only training=IGA --only adc-bit=fp: no cell of preset iga-table1 is all of that",
            "give fewer of them",
        ),
    ],
)
def test_only_what_is_not_there(only: dict[str, list[str]], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as failure:
        load_preset("iga-table1").cells({}, only=only)
    assert (failure.value.message, failure.value.hint) == (message, hint)


def test_a_checkpoint_in_place_of_the_training() -> None:
    cells = load_preset("image-faults").cells(EXTRA, trained="mine.safetensors")
    assert [cell.needs for cell in cells] == [None, None]
    assert cells[0].line.startswith(
        "bnnkit inject --model mine.safetensors --repair neighbor,msb --repeats 8 --limit 9"
    )
    rows = rows_of(finished(cells), load_preset("image-faults").published)
    assert sum(row.published is not None for row in rows) == 8
    with pytest.raises(UsageError, match="one checkpoint does not stand for all"):
        load_preset("iga-table1").cells({}, trained="mine.safetensors")
    with pytest.raises(UsageError, match="trains its networks"):
        load_preset("iga-table2").cells({}, trained="mine.safetensors")


def test_options_that_a_preset_varies() -> None:
    assert load_preset("iga-table1").varied() == {"model", "adc-bit"}
    assert load_preset("iga-table2").varied() == {"model", "ao-bit", "w-bit"}
    assert load_preset("weight-noise").varied() == {"model"}


def test_an_unknown_preset() -> None:
    with pytest.raises(UsageError, match="unknown preset 'iga-table3'") as failure:
        load_preset("iga-table3")
    assert str(failure.value.hint).startswith("did you mean 'iga-table")


def test_a_part_of_a_table_keeps_its_published_values() -> None:
    preset = load_preset("iga-table2")
    cells = preset.cells({}, only={"ao-bit": ["4"], "w-bit": ["1"]})
    [row] = rows_of(finished(cells), preset.published)
    assert (row.published, row.labels["model"]) == (86.35, "res20")
    assert rows_of([entry(train_cell(model="mlp"))], preset.published)[0].published is None
