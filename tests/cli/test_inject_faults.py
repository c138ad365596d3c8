"""`bnnkit inject --fault`: every site, tables by rate, layer and bit, sites on disk, campaigns that are resumed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bnnkit import checkpoint, faults, runs
from bnnkit.models import create_model

Command = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("empty_folder")
SMALL = ("--limit", "60", "--repeats", "3")


def document(bnnkit: Command, *arguments: str) -> dict[str, Any]:
    code, out, err = bnnkit("inject", *arguments, "--json")
    assert code == 0, err
    return dict(json.loads(out))


def network(name: str = "mlp", **options: Any) -> str:
    """Store a network that nobody trained."""
    torch.manual_seed(3)
    metadata = {"preparation": {"mean": [0.5], "std": [0.25]}, "provenance": {"dataset": "digits"}}
    model = create_model(name, **{"width": 1, "in_shape": (1, 8, 8), **options})
    with torch.no_grad():
        model.train()(torch.randn(64, 1, 8, 8))
    path = f"{name}.safetensors"
    checkpoint.save(path, model, metadata=metadata)
    return path


def rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["row"]: row for row in found["tables"][0]["rows"]}


def counts(found: dict[str, Any]) -> list[tuple[int, ...]]:
    keys = ("correct", "changed_predictions", "faulty_bits", "wrong_bits")
    return [tuple(entry[key] for key in keys) for row in found["tables"][0]["rows"] for entry in row["maps"]]


@pytest.mark.parametrize(
    "fault",
    [
        "input:flip@0.1",
        "input:random@1,bit=7",
        "input:burst@0.1,len=3",
        "input:gauss@0.3",
        "weight:flip@0.2",
        "weight:stuck0@0.3",
        "weight:burst@0.2",
        "latent:gauss@0.3",
        "latent:lognormal@1",
        "line:stuck1@0.2",
        "line:flip@0.2,axis=column",
        "activation:flip@0.2",
        "activation:stuck1@0.2",
        "partial-sum:gauss@6",
        "partial-sum:offset@6",
        "partial-sum:gain@0.5",
        "adc:flip@0.2",
        "adc:stuck0@0.2",
        "adc:offset@6",
    ],
)
def test_every_site_changes_predictions_and_depends_on_the_seed_only(bnnkit: Command, fault: str) -> None:
    # Two-bit converters: a gain has no effect on the sign.
    options = ("--fault", fault, "--model", network(adc_bit=2), *SMALL)
    found = document(bnnkit, *options)
    assert counts(document(bnnkit, *options, "--batch", "7", "--threads", "1")) == counts(found)
    [row] = rows(found).values()
    if fault != "latent:lognormal@1":  # which changes no sign
        assert row["changed_predictions"] > 0
        assert counts(document(bnnkit, *options, "--seed", "4")) != counts(found)
    assert len(row["maps"]) == 3 and row["faults"] == [fault]


@pytest.mark.parametrize(
    ("fault", "kept"),
    [("activation:flip@0.1", 0.0), ("activation:random@0.1", 0.5), ("adc:flip@0.1", 0.0), ("adc:random@0.2", 0.5)],
)
def test_faults_while_it_runs_are_counted(bnnkit: Command, fault: str, kept: float) -> None:
    found = document(bnnkit, "--fault", fault, "--model", network(adc_bit=2), "--limit", "300", "--repeats", "2")
    for entry in rows(found)["faulty"]["maps"]:
        faulty, wrong, expected = (entry[f"{which}_bits"] for which in ("faulty", "wrong", "expected_faulty"))
        assert faulty > 1000 and abs(faulty - expected) < 5 * expected**0.5
        assert abs(wrong - (1 - kept) * faulty) <= 5 * kept * faulty**0.5


@pytest.mark.parametrize("fault", ["weight:flip@0.1", "line:random@0.1", "latent:gauss@0.5", "weight:burst@0.1"])
def test_weight_faults_are_the_same_in_every_backend(bnnkit: Command, fault: str) -> None:
    options = ("--fault", fault, "--model", network(), *SMALL)
    found = counts(document(bnnkit, *options))
    assert counts(document(bnnkit, *options, "--backend", "reference")) == found
    assert counts(document(bnnkit, *options, "--backend", "torch")) == found


def test_several_faults_act_at_once(bnnkit: Command) -> None:
    both = ("--fault", "weight:flip@0.05", "--fault", "adc:offset@2", "--fault", "input:flip@0.01")
    found = document(bnnkit, *both, "--model", network(), *SMALL)
    assert found["tables"][0]["table"] == "weight:flip@0.05 and adc:offset@2 and input:flip@0.01"
    alone = document(bnnkit, *both[:2], "--model", "mlp.safetensors", *SMALL)
    assert counts(found) != counts(alone)
    for some, entry in zip(rows(found)["faulty"]["maps"], rows(alone)["faulty"]["maps"], strict=True):
        assert some["faulty_bits"] > entry["faulty_bits"]
        assert some["expected_faulty_bits"] == pytest.approx(entry["expected_faulty_bits"] + 0.01 * 60 * 64 * 8)


def test_no_faults_change_nothing(bnnkit: Command) -> None:
    every = [f"{site}@0" for site in ("weight:flip", "activation:flip", "adc:offset", "partial-sum:gauss", "line:flip")]
    options = [part for fault in every for part in ("--fault", fault)]
    [row] = rows(document(bnnkit, *options, "--limit", "60")).values()
    assert (row["changed_predictions"], len(row["maps"]), row["same_for_all_maps"]) == (0, 1, True)


def test_a_curve_over_rates(bnnkit: Command) -> None:
    found = document(bnnkit, "--fault", "weight:flip@0", "--rate", "1e-3:0.5:log4", "--repeats", "3")
    amounts = [row["amount"] for row in found["tables"][0]["rows"]]
    assert (amounts[0], amounts[-1], len(amounts)) == (1e-3, 0.5, 4)
    wrong = [row["maps"][0]["wrong_bits"] for row in found["tables"][0]["rows"]]
    assert wrong == sorted(wrong)
    knee = found["tables"][0]["knee"]
    assert knee["low"] <= knee["knee"] <= knee["high"]
    assert found["picture"].endswith("curve.png") and Path(found["picture"]).stat().st_size > 10_000
    code, out, _err = bnnkit("inject", "--fault", "weight:flip@0", "--rate", "0.01,0.5", "--repeats", "2")
    assert code == 0 and "\nknee, 1 point below golden: " in out and "\namount " in out


def test_a_table_of_the_network_has_no_picture(bnnkit: Command) -> None:
    code, _out, err = bnnkit("inject", "--fault", "weight:flip@0.1", *SMALL, "--picture", "a.png")
    assert (code, Path("a.png").exists(), "warning: a.png: not written" in err) == (0, False, True)


def test_a_row_per_layer(bnnkit: Command) -> None:
    found = rows(document(bnnkit, "--fault", "weight:flip@0.5", "--per-layer", "--layers", "hidden.[12]", *SMALL))
    assert list(found) == ["hidden.1", "hidden.2"]
    assert [row["layers"] for row in found.values()] == [["hidden.1"], ["hidden.2"]]


def test_a_row_per_bit(bnnkit: Command) -> None:
    path = network(w_bit=2, adc_bit=3)
    found = rows(document(bnnkit, "--fault", "weight:flip@0.2", "--per-bit", "--model", path, *SMALL))
    assert list(found) == ["bit 0", "bit 1"]
    low, high = found.values()
    assert low["maps"][0]["faulty_bits"] == pytest.approx(low["maps"][0]["expected_faulty_bits"], rel=0.1)
    assert low["changed_predictions"] < high["changed_predictions"]
    assert len(rows(document(bnnkit, "--fault", "adc:flip@0.1", "--per-bit", "--model", path, *SMALL))) == 3
    assert len(rows(document(bnnkit, "--fault", "input:flip@0.1", "--per-bit", *SMALL))) == 8


def test_maps_until_the_interval_is_narrow(bnnkit: Command) -> None:
    options = ("--fault", "weight:flip@0.05", "--limit", "100", "--repeats", "auto", "--ci")
    few, many = (document(bnnkit, *options, ci) for ci in ("20", "0.9"))
    [few_row], [many_row] = few["tables"][0]["rows"], many["tables"][0]["rows"]
    assert (few["repeats"], len(few_row["maps"])) == ("auto", 8)
    assert len(many_row["maps"]) in (16, 32, 64, 128)
    low, high = many_row["interval95"]
    assert (high - low) / 2 <= 0.9 or len(many_row["maps"]) == 128
    assert many["finished"] and many["evaluations"] == [len(many_row["maps"]) + 1] * 2


def test_sigma_of_latent_weights(bnnkit: Command) -> None:
    path = network()
    squared = document(bnnkit, "--fault", "latent:gauss@0.5", "--model", path, *SMALL)
    plain = document(bnnkit, "--fault", "latent:gauss@0.25", "--noise-std", "--model", path, *SMALL)
    assert counts(squared) == counts(plain)
    assert plain["tables"][0]["table"] == "latent:gauss@0.25,std=plain"


def test_faulty_cells_of_a_bit_serial_network(bnnkit: Command) -> None:
    path = network("vgg7")
    options = ("--model", path, "--limit", "20", "--repeats", "2")
    found = document(bnnkit, "--fault", "cell:stuck1@0.2", *options)
    assert rows(found)["faulty"]["changed_predictions"] > 0 and found["backend"].startswith("chips with 1-bit cells")
    assert rows(document(bnnkit, "--fault", "cell:stuck1@0", *options))["faulty"]["changed_predictions"] == 0
    assert rows(document(bnnkit, "--fault", "adc:offset@30", "--adc-bit", "5", *options))["faulty"]["maps"]
    code, _out, err = bnnkit("inject", "--fault", "weight:flip@0.1", *options)
    assert (code, "a bit-serial network has cell:stuck0, cell:stuck1" in err) == (2, True)


def test_sites_are_saved_and_replayed(bnnkit: Command) -> None:
    path = network()
    options = ("--model", path, "--limit", "60")
    drawn = document(
        bnnkit, "--fault", "weight:random@0.1", "--repeats", "3", "--save-sites", "s.safetensors", *options
    )
    again = document(bnnkit, "--replay", "s.safetensors", *options)
    assert counts(again) == counts(drawn)
    assert again["tables"][0]["table"] == "weight:random@0.1, as recorded in s.safetensors"
    other = document(
        bnnkit, "--replay", "s.safetensors", "--repeats", "2", "--model", network(adc_bit=3), "--limit", "60"
    )
    assert [entry["faulty_bits"] for entry in rows(other)["faulty"]["maps"]] == [
        entry["faulty_bits"] for entry in rows(drawn)["faulty"]["maps"][:2]
    ]
    code, _out, err = bnnkit("inject", "--replay", "s.safetensors", "--repeats", "4", *options)
    assert (code, "holds 3 maps" in err) == (2, True)
    code, _out, err = bnnkit("inject", "--replay", "s.safetensors", "--model", network("mlp", width=2))
    assert (code, "bits in the network" in err) == (4, True)


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> Callable[[], None]:
    """Interrupt the program in a later batch; return what undoes that."""
    predict, calls = faults.Network.predict, []

    def interrupted(self: faults.Network, networks: Any, images: Tensor, indices: Tensor) -> list[Tensor]:
        calls.append(len(networks))
        if len(calls) == after:
            signal.raise_signal(signal.SIGINT)
        return predict(self, networks, images, indices)

    monkeypatch.setattr(faults.Network, "predict", interrupted)
    return lambda: monkeypatch.setattr(faults.Network, "predict", predict)


@pytest.mark.parametrize(("after", "done"), [(1, 0), (3, 1), (5, 9), (7, 17)])
def test_an_interrupted_campaign_is_resumed(
    bnnkit: Command, monkeypatch: pytest.MonkeyPatch, after: int, done: int
) -> None:
    options = ("--fault", "weight:flip@0.05", "--rate", "0.01,0.1", "--repeats", "12", "--limit", "50", "--batch", "25")
    whole = document(bnnkit, *options)
    undo = interrupt(monkeypatch, after)
    code, _out, err = bnnkit("inject", *options)
    undo()
    run = runs.resolve("latest", command="inject")
    assert code == 130 and f"hint: bnnkit inject --resume {run.path}" in err and not run.finished
    before = run.read_metrics()
    assert len(before) == done
    resumed = document(bnnkit, "--resume", "latest")
    assert resumed["run"] == str(run.path) and run.finished
    assert counts(resumed) == counts(whole)
    assert run.read_metrics()[: len(before)] == before, "what was finished is not computed again"


def test_resuming_with_other_options_is_refused(bnnkit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    path = network()
    options = ("--fault", "weight:flip@0.05", "--limit", "50", "--batch", "25", "--model", path)
    undo = interrupt(monkeypatch, 3)
    bnnkit("inject", *options)
    undo()
    code, _out, err = bnnkit("inject", "--resume", "latest", "--fault", "weight:flip@0.1", "--limit", "50")
    assert code == 4 and "\n  fault: ['weight:flip@0.05'] in the run, ['weight:flip@0.1'] now" in err
    assert "limit" not in err
    torch.manual_seed(9)
    network(ao_bit=2, adc_bit=2)
    code, _out, err = bnnkit("inject", "--resume", "latest")
    assert (code, "mlp.safetensors has changed since" in err) == (4, True)


def test_damaged_campaigns_are_refused(bnnkit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    undo = interrupt(monkeypatch, 3)
    bnnkit("inject", "--fault", "weight:flip@0.05", "--limit", "50", "--batch", "25")
    undo()
    run = runs.resolve("latest", command="inject")
    np.save(run.path / "golden.npy", np.zeros(3, np.int32))
    code, _out, err = bnnkit("inject", "--resume", "latest")
    assert (code, "damaged; predictions without faults were needed" in err) == (4, True)
    (run.path / "golden.npy").write_bytes(b"nothing")
    assert bnnkit("inject", "--resume", "latest")[0] == 4
    run.config.write_text("fault = [", encoding="utf-8")
    code, _out, err = bnnkit("inject", "--resume", "latest")
    assert (code, "config.toml: damaged" in err) == (4, True)


def test_a_list_of_sites(bnnkit: Command) -> None:
    code, out, _err = bnnkit("inject", "--sites")
    assert code == 0
    for site in faults.SITES:
        assert f"\n{site} " in out
