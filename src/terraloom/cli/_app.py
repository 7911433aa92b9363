"""The Typer application, the options that commands share, and the entry point."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from terraloom.errors import OutputError, TerraloomError
from terraloom.settings import load_settings
from terraloom.terminal import output

app = typer.Typer(
    name="terraloom",
    help="Weaves labelled, captioned, verified land-cover data sets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigArgument = Annotated[
    Path, typer.Argument(help="terraloom.toml, or the folder that holds it.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Project folder; left out, the folder of the settings file."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
RetryOption = Annotated[
    bool,
    typer.Option("--retry-failed", help="Try again what could not be fetched or captioned."),
]
EngineOption = Annotated[
    str, typer.Option("--engine", help="Where shards are computed: local (this process).")
]


def main() -> None:
    """Entry point: runs a command; wrong input ends with one message and exit code 2."""
    try:
        app()
    except TerraloomError as error:
        print(f"terraloom: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except PermissionError as error:
        print(
            f"terraloom: no permission for {error.filename}. Choose a folder that you may use.",
            file=sys.stderr,
        )
        sys.exit(OutputError.exit_code)
    except KeyboardInterrupt:
        print("terraloom: stopped; run the same command again to go on.", file=sys.stderr)
        sys.exit(130)


def pipeline_of(config: Path, out: Path | None) -> Any:  # noqa: ANN401 - imported late
    """The pipeline of a settings file, in its own folder where no other is given."""
    from terraloom.pipeline import Pipeline

    settings = load_settings(config)
    default = config if config.is_dir() else config.parent
    return Pipeline(settings, out if out is not None else default)


def run_stage(pipeline: Any, name: str, as_json: bool) -> None:  # noqa: ANN401
    """Run one stage and print its folder, or its record."""
    pipeline.run(only=name)
    record = pipeline.context.project.stage(name).record() or {}
    if as_json:
        print(json.dumps(record, indent=1))
    else:
        output.print(f"{name}: {pipeline.context.path(name)}", soft_wrap=True)


def forget_failed(pipeline: Any) -> None:  # noqa: ANN401
    """Let what failed for good be tried again, and say how much that is."""
    from terraloom.progress import console

    count = pipeline.retry_failed()
    console.print(
        f"to be tried again: {count} that could not be fetched or captioned", soft_wrap=True
    )


def check_engine(engine: str) -> None:
    """Refuse an engine that is not there."""
    if engine != "local":
        from terraloom.errors import InputError

        raise InputError(f"--engine {engine!r} is unknown; there is: local.")
