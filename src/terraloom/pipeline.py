"""Running stages in order: skip what is done, go on with what was cut off, keep records."""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from terraloom.errors import InputError, LeakFound, SettingsError, StageMissing
from terraloom.files import append_line, read_json, read_lines, sha256_of, write_json
from terraloom.progress import console
from terraloom.runs import Project, stage_key
from terraloom.settings import Settings
from terraloom.sources._face import ForgettingSource
from terraloom.stages import SETTINGS_COPY, STAGES, Context, Stage, stages_needed

LOG_NAME: Final = "log.jsonl"
"""One line per stage that ended, in the project folder."""


class Pipeline:
    """One project with its settings; stages meet on disk only."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        inputs: Path | None = None,
        sibling: Context | None = None,
    ) -> None:
        self.context = Context(settings, folder, inputs, sibling)

    def run(self, until: str | None = None, only: str | None = None) -> None:
        """Run every stage that is not done, in order.

        Args:
            until: last stage to run; left out, all.
            only: run this stage alone; those that it needs must be done.

        Raises:
            StageMissing: `only` was asked for, and a stage that it needs is not done.
        """
        self.context.source.given()  # wrong inputs are told before anything is written
        with self.context.project.locked():
            settings = self.context.settings.model_dump(mode="json")
            write_json(self.context.project.folder / SETTINGS_COPY, settings)
            self._send_curves()
            for stage in STAGES:
                if only is not None and stage.name != only:
                    if stage.name in stages_needed(only):
                        self._check_done(stage)
                    continue
                self._run_stage(stage)
                if stage.name in (until, only):
                    break

    def _send_curves(self) -> None:
        """Begin to send training curves where the settings name a project for them.

        Raises:
            SettingsError: the package wandb is not installed.
        """
        project = self.context.settings.project
        if project.wandb is None:
            return
        if find_spec("wandb") is None:
            raise SettingsError(
                f'project.wandb = "{project.wandb}" needs a package that is not installed; run: '
                "pip install wandb. Without the key, curves are written for TensorBoard alone."
            )
        from terraloom.learning.curves import send_to_wandb

        send_to_wandb(project.wandb, project.name, self.context.project.folder)

    def retry_failed(self) -> int:
        """Make the next run try again what could not be fetched or captioned.

        A finished build or caption stage is opened for it. Where nothing new can be had, it ends
        with the same bytes, and later stages stay done.

        Returns:
            Items and captions that will be tried again.

        Raises:
            InputError: the source fetches nothing, and the captioner asks no model.
        """
        from terraloom.captioners._face import ModelCaptioner

        source, captioner = self.context.source, self.context.built_captioner(
            self.context.settings.caption.captioner
        )  # fmt: skip
        fetches, asks = isinstance(source, ForgettingSource), isinstance(captioner, ModelCaptioner)
        if not fetches and not asks:
            raise InputError(
                f"[sources.{self.context.settings.source_name}] fetches nothing and "
                f"[captioners.{self.context.settings.caption.captioner}] asks no model, so there "
                "is nothing to try again; leave --retry-failed out."
            )
        source.given()
        count = 0
        with self.context.project.locked():
            # The record first: what is forgotten must not lie behind a stage that counts as done.
            if isinstance(source, ForgettingSource):
                self.context.project.stage(STAGES[0].name).reopen()
                count += source.forget_failed(self.context.acquired)
            if asks:
                count += self._forget_captions()
        return count

    def _forget_captions(self) -> int:
        """Open the caption stage for captions that could not be had; their number."""
        from terraloom.captioners._face import ModelCaptioner
        from terraloom.captioning import reopen_failed

        captioner = self.context.captioner
        assert isinstance(captioner, ModelCaptioner)
        forgotten = captioner.forget_failed()
        folder = self.context.project.stage("caption")
        left_out = [
            reopen_failed(folder.path / kind)
            for kind in ("real", "synthetic")
            if folder.path.exists()
        ]
        if any(left_out):
            folder.reopen()
        return forgotten

    def state(self, stage: Stage) -> str:
        """What a run would find: "done", "goes on" or "would run"."""
        try:
            key, _, _ = self._key(stage)
        except StageMissing:
            return "would run"
        folder = self.context.project.stage(stage.name)
        if folder.is_done(key):
            return "done"
        return "goes on" if folder.is_started(key) else "would run"

    def _check_done(self, stage: Stage) -> None:
        if self.state(stage) != "done":
            raise StageMissing(
                f"stage {stage.name} is not done with these settings; "
                f"run: terraloom run --until {stage.name}"
            )

    def _key(self, stage: Stage) -> tuple[str, dict[str, Any], dict[str, str]]:
        settings = stage.settings_of(self.context)
        inputs = {} if stage.needs else dict(self.context.source.given())
        for name in stage.needs:
            record = self.context.project.stage(name).record()
            if record is None:
                raise StageMissing(f"stage {stage.name} needs stage {name}, which is not done.")
            inputs |= {f"{name}/{key}": value for key, value in record["outputs"].items()}
        for name in stage.beside:
            if (path := self.context.project.folder / name).is_file():
                inputs[name] = sha256_of(path)
        return stage_key(stage.name, settings, inputs), settings, inputs

    def _run_stage(self, stage: Stage) -> None:
        folder = self.context.project.stage(stage.name)
        key, settings, inputs = self._key(stage)
        if folder.is_done(key):
            console.print(f"[green]✓[/] {stage.name}: done before", soft_wrap=True)
            return
        resumed = folder.is_started(key)
        changes = folder.begin(key, settings, inputs)
        if changes:
            shown = "; ".join(changes[:4])
            console.print(f"{stage.name}: made anew, since {shown}", soft_wrap=True)
        console.print(
            f"[bold]{stage.name}[/]: {stage.does}{' (goes on)' if resumed else ''}", soft_wrap=True
        )
        start = time.monotonic()
        try:
            outputs = stage.run(self.context, folder)
        except InputError as error:
            # Wrong input leaves nothing half-written; but finished work of a later stage, which
            # may be hours, stays for when the settings are right.
            # What the leak test found stays too, to be read.
            if (not stage.needs and not isinstance(error, LeakFound)) or folder.is_bare():
                folder.discard()
            self._log(stage, start, resumed, error=str(error))
            raise
        except Exception as error:
            # What was done stays, and the same command goes on from there.
            self._log(stage, start, resumed, error=f"{type(error).__name__}: {error}")
            raise
        folder.finish(key, settings, inputs, outputs)
        self._log(stage, start, resumed)

    def _log(self, stage: Stage, start: float, resumed: bool, error: str | None = None) -> None:
        """One line per stage that ended, well or not."""
        append_line(
            self.context.project.folder / LOG_NAME,
            {
                "stage": stage.name,
                "seconds": round(time.monotonic() - start, 2),
                "resumed": resumed,
                **({} if error is None else {"error": error}),
            },
        )


def stage_seconds(project: Project) -> dict[str, float]:
    """Seconds that each stage took when it last ran in one go, from the project's log."""
    return {
        row["stage"]: float(row["seconds"])
        for row in read_lines(project.folder / LOG_NAME)
        if not row["resumed"] and "error" not in row
    }


def stage_errors(project: Project) -> dict[str, str]:
    """Why stages failed that did not end well when they last ran, from the project's log."""
    last = {row["stage"]: row.get("error") for row in read_lines(project.folder / LOG_NAME)}
    return {stage: error for stage, error in last.items() if error is not None}


def read_results(folder: Path) -> dict[str, Any]:
    """The benchmark's results of a project.

    Raises:
        StageMissing: the benchmark has not finished.
    """
    path = folder / "benchmark" / "results.json"
    if not path.exists():
        raise StageMissing(f"{folder} holds no benchmark results; run: terraloom run")
    results: dict[str, Any] = read_json(path)
    return results
