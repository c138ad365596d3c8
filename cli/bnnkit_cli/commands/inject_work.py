"""One fault campaign of `bnnkit inject`: from the network to the printed tables."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnkit.errors import InterruptedRunError
from bnnkit_cli import output
from bnnkit_cli.commands.inject_report import print_tables

if TYPE_CHECKING:
    from bnnkit.data import Dataset
    from bnnkit.faults import Campaign
    from bnnkit.runs import Run
    from bnnkit.train.subject import Subject


@dataclass
class Work:
    """What a campaign is made of.

    Attributes:
        options: see `bnnkit.faults.plan.DEFAULTS`.
        run: where results go; set before `measure`.
    """

    trained: Subject
    data: Dataset
    options: dict[str, Any]
    campaign: Campaign
    run: Run

    @classmethod
    def of(cls, trained: Subject, data: Dataset, options: dict[str, Any], device: str) -> Work:
        """Pack the network and plan the tables.

        Raises:
            UsageError: the network has no such site or layer.
        """
        from bnnkit.cim import parse_adc_bits, parse_chip_adc_bits
        from bnnkit.faults import Campaign, Network, plan
        from bnnkit.faults.cells import is_bit_serial
        from bnnkit.runs import Run
        from bnnkit.train.images import limited

        bits = options["adc_bit"]
        parse = parse_chip_adc_bits if is_bit_serial(trained) else parse_adc_bits
        changes = {} if bits is None else {"adc_bit": parse(bits)}
        network = Network(trained, changes, options["backend"], data, device)
        if network.not_packed is not None and options["backend"] == "auto":
            output.log(f"not packed: {network.not_packed}")
        recorded, repeats = None, plan.repeats_of(options)
        if options["replay"]:
            settings, recorded, repeats = plan.replayed(options, network)
        else:
            settings = plan.settings_of(options, network)
        indices = limited(len(data.test), options["limit"])
        if options["repeats"] is None:
            options["repeats"] = str(repeats.fixed)
        elif recorded is None and options["repeats"] != "1" and not any(setting.varies for setting in settings):
            output.log("the same in every fault map: one is evaluated")
        images, seed, batch = data.test.to(device), options["seed"], options["batch"]
        campaign = Campaign(network, images, indices, settings, repeats, seed, batch, recorded=recorded)
        return cls(trained, data, options, campaign, Run(Path()))

    def save_sites(self, path: Path) -> None:
        """Write the faulty bits of the memory, for as many maps as are sure to be evaluated."""
        from bnnkit.faults import plan

        campaign = self.campaign
        maps = range(max(campaign.planned(setting) for setting in campaign.settings))
        found = plan.record_sites(campaign.settings, campaign.network, campaign.seed, maps)
        found.save(path, self.trained.checkpoint.config)
        output.log(f"fault sites of {len(maps)} maps: {path}")

    def resume(self, run: Run) -> None:
        """Go on with an interrupted campaign."""
        from bnnkit.faults import record

        self.run = run
        record.resume(run, self.campaign, self.trained, self.data)
        output.log(f"{len(self.campaign.trials)} of {self.campaign.evaluations} evaluations are finished")

    def measure(self, *, json: bool, picture: Path | None) -> None:
        """Evaluate, save, draw and print.

        Raises:
            InterruptedRunError: after Ctrl-C, when everything that is finished is saved and printed.
        """
        from bnnkit.faults.record import finish

        start = time.perf_counter()
        earlier = sum(trial.seconds for trial in self.campaign.trials)
        self._evaluate()
        trials, planned = self.campaign.trials, self.campaign.evaluations
        if trials:
            document = self._document(earlier + time.perf_counter() - start)
            document["picture"] = self._draw(document, picture)
            if document["finished"]:
                finish(self.run, document)
            if json:
                output.emit_json("inject", document)
            else:
                print_tables(document)
        if len(trials) < planned:
            raise InterruptedRunError(
                f"inject: {len(trials)} of {planned} evaluations are finished, and saved in {self.run.path}",
                hint=f"bnnkit inject --resume {self.run.path}",
            )

    def _evaluate(self) -> None:
        from bnnkit.faults.record import save
        from bnnkit.train.interrupt import stop_on_signals

        campaign, before = self.campaign, len(self.campaign.trials)
        with stop_on_signals() as stop, output.progress("images", self._left(before)) as bar:

            def each(done: int) -> None:
                total = self._left(before)
                if done < total:
                    bar.update(done, total, f"{len(campaign.trials)} evaluated")

            for _ in campaign.run(each, lambda: stop):
                save(self.run, campaign)

    def _left(self, before: int) -> int:
        return (self.campaign.evaluations - before) * len(self.campaign.indices)

    def _draw(self, document: dict[str, Any], picture: Path | None) -> str | None:
        """Draw images where only those are faulty, a curve where there is one; return the path."""
        from bnnkit.cim.fault import unit
        from bnnkit.faults import curve
        from bnnkit.faults.picture import draw

        campaign, config = self.campaign, self.trained.checkpoint.config
        limited = ", limited" if document["limited"] else ""
        title = f"{config['name']} on {self.data.name}, {document['images']:,} images{limited}"
        series = [
            curve.Series(table["table"], *zip(*_points(table), strict=True))
            for table in document["tables"]
            if len(table["rows"]) > 1 and table["rows"][0]["amount"] is not None
        ]
        if series:
            path = self.run.path / "curve.png" if picture is None else picture
            golden, chance = document["golden"]["accuracy"], 100 / len(self.data.classes)
            label = " and ".join(dict.fromkeys(map(unit, campaign.settings[0].faults)))
            curve.draw(path, title, label, golden, series, chance=chance, drop=self.options["drop"])
            return str(path)
        if not all(setting.image_faults and not setting.layer_faults for setting in campaign.settings):
            if picture is not None:
                output.warn(f"{picture}: not written; faulty images and curves (--rate) have a picture")
            return None
        path = self.run.path / "images.png" if picture is None else picture
        accuracies: dict[Any, float] = {None: document["golden"]["accuracy"]}
        rows = [row for table in document["tables"] for row in table["rows"]]
        accuracies |= {s: row["accuracy"] for s, row in zip(campaign.settings, rows, strict=False)}
        draw(path, title, self.data.test, campaign.indices, campaign.settings, campaign.seed, accuracies)
        return str(path)

    def _document(self, seconds: float) -> dict[str, Any]:
        from bnnkit.faults.result import row, tables

        data, campaign = self.data, self.campaign
        config = {**self.trained.checkpoint.config}
        config |= campaign.network.changes
        trials, planned = campaign.trials, campaign.evaluations
        return {
            "checkpoint": str(self.trained.path),
            "model": config,
            "provenance": self.trained.provenance,
            "dataset": {"name": data.name, "fingerprint": data.fingerprint, "note": data.note},
            "images": len(campaign.indices),
            "of_images": len(data.test),
            "limited": len(campaign.indices) < len(data.test),
            "backend": campaign.network.computed,
            "device": str(campaign.network.device),
            "seed": campaign.seed,
            "repeats": campaign.repeats.fixed or "auto",
            "finished": len(trials) == planned,
            "evaluations": [len(trials), planned],
            "golden": row(campaign, None),
            "tables": tables(campaign, self.options["drop"]),
            "seconds": seconds,
            "fault_seconds": sum(trial.fault_seconds for trial in trials),
            "run": str(self.run.path),
            "stamp": self.run.read_json("stamp.json"),
        }


def _points(table: dict[str, Any]) -> list[tuple[float, float, float, float]]:
    return [(row["amount"], row["accuracy"], *row["interval95"]) for row in table["rows"]]
