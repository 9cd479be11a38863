"""The command line: reads settings and flags, hands over to the code of a command, turns errors into one line.

Nothing heavy is imported before a command needs it, so that `coterie --help` answers at once.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from flows.settings import Settings

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
CONFIGURATION_ERRORS = {"flows.settings": "ConfigurationError", "state.store": "StoreError"}
FAILURES = {
    "flows.redis_server": "RedisServerError",
    "flows.commands.records": "NoRecordError",
    "kafka.errors": "KafkaError",
    "operators.convert.output": "ConvertError",
    "operators.load_kafka": "LoadError",
    "operators.read_files": "LogError",
    "operators.read_kafka": "KafkaReadError",
    "operators.write_redis": "RedisRefused",
    "redis.exceptions": "RedisError",
    "state.journal": "CorruptJournal",
}
"""Errors told in one line, by module: their classes are looked up only where the module was loaded."""

F = TypeVar("F", bound=Callable[..., Any])


class _Speed(click.ParamType[str]):
    """max, or how many times faster than the log's own pace."""

    name = "max|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "max":
            return "max"
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 < number < float("inf"):
            self.fail(f"{value!r} is neither max nor a number above 0", param, ctx)
        return str(value)


class _NewFile(click.Path):
    """A file to be written at the end of a run: that its folder is not there is told before it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path: Any = super().convert(value, param, ctx)
        if not path.parent.is_dir():
            self.fail(f"{str(value)!r}: there is no folder {str(path.parent)!r}", param, ctx)
        return path


class _Finite(click.FloatRange):
    """A number within bounds, which nan is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


LOG_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
CONFIG_FILE = click.Path(dir_okay=False, path_type=Path)
OUT_FILE = _NewFile(dir_okay=False, path_type=Path)
_OPTIONS = {
    "config": click.option(
        "--config", type=CONFIG_FILE, metavar="FILE", help="Settings, TOML (default: coterie.toml if it is there)."
    ),
    "redis": click.option("--redis", "redis_url", metavar="URL", help="Where Redis is."),
    "kafka": click.option("--kafka", metavar="HOST:PORT,...", help="Kafka brokers."),
    "state": click.option("--state", metavar="DIR", help="The state directory."),
    "processes": click.option("--processes", type=int, metavar="N", help="Worker processes."),
    "json": click.option("--json", "as_json", is_flag=True, help="Print JSON alone."),
    "log": click.argument("log", nargs=-1, required=True, type=LOG_FILE),
}


def _options(*names: str) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for name in reversed(("config", *names)):
            command = _OPTIONS[name](command)
        return command

    return decorate


def _settings(
    config: Path | None,
    redis_url: str | None = None,
    kafka: str | None = None,
    state: str | None = None,
    processes: int | None = None,
) -> Settings:
    """The settings of a command, with its logs set up by them."""
    from flows.logs import configure_logs
    from flows.settings import load_settings

    flags = {"redis.url": redis_url, "kafka.bootstrap": kafka, "state.directory": state, "worker.processes": processes}
    settings = load_settings(config, flags)
    configure_logs(settings.log)
    return settings


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="coterie")
def cli() -> None:
    """Segments, propensities and recommendations for every shopper, learned from the stream and kept in Redis."""


@cli.command()
@_options()
def demo(config: Path | None) -> int:
    """Run a made-up shop through a worker, and show what it learned."""
    settings = _settings(config)
    from flows.demo import demo as run_demo

    return run_demo(settings)


@cli.command()
@_options("kafka", "redis", "state", "processes")
def run(config: Path | None, **flags: Any) -> int:
    """Run the worker on Kafka's topics until SIGTERM or SIGINT."""
    settings = _settings(config, **flags)
    from flows.run import run as run_worker

    return run_worker(settings)


@cli.command()
@_options("redis", "state", "processes", "log")
@click.option(
    "--speed",
    type=_Speed(),
    metavar="max|N",
    default="max",
    show_default=True,
    help="max, or times the log's own pace.",
)
@click.option("--report", type=OUT_FILE, metavar="FILE", help="Write the figures of the run there, JSON.")
def replay(config: Path | None, log: tuple[Path, ...], speed: str, report: Path | None, **flags: Any) -> int:
    """Run event logs (.jsonl, .jsonl.gz, .jsonl.zst) through a worker to their end.

    Without --redis (or redis.url in the settings) a Redis of its own holds the records until the end; without --state
    (or state.directory) a temporary directory holds the state.
    """
    if report is not None and not report.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {report.absolute().parent}", param_hint="--report")
    settings = _settings(config, **flags)
    import tempfile

    from flows.redis_server import embedded_redis
    from flows.replay import replay as run_replay
    from flows.settings import redacted

    with ExitStack() as stack:
        own: dict[str, object] = {}
        if not settings.is_given("redis.url"):
            own["redis.url"] = stack.enter_context(embedded_redis())
        if not settings.is_given("state.directory"):
            own["state.directory"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="coterie-state-"))
        settings = settings.with_values(own)
        click.echo(f"records go to {redacted(settings.redis.url)}, state to {settings.state.directory}", err=True)
        return run_replay(settings, list(log), speed, settings.worker.processes, report)


@cli.command()
@_options("kafka", "log")
@click.option("--topic", help="One topic for everything (default: by the event's type).")
@click.option("--rate", type=_Finite(min=0, min_open=True), metavar="N", help="Events a second.")
@click.option("--speed", type=_Speed(), metavar="max|N", help="max (the default), or times the log's own pace.")
@click.option(
    "--partitions", type=click.IntRange(1, 1000), default=4, show_default=True, help="Of a topic that has to be made."
)
def load(
    config: Path | None,
    kafka: str | None,
    log: tuple[Path, ...],
    topic: str | None,
    rate: float | None,
    speed: str | None,
    partitions: int,
) -> int:
    """Send event logs to Kafka."""
    if rate is not None and speed is not None:
        raise click.UsageError("--rate and --speed exclude each other; give one")
    settings = _settings(config, kafka=kafka)
    from flows.commands.logs import load_logs

    return load_logs(settings, list(log), topic, rate, speed, partitions)


@cli.command()
@_options()
@click.argument("format_name", metavar="FORMAT")
@click.argument("file", type=LOG_FILE)
@click.option(
    "-o", "--out", type=OUT_FILE, required=True, metavar="OUT", help="The event log: .jsonl, .jsonl.gz or .jsonl.zst."
)
@click.option(
    "--skipped", type=OUT_FILE, metavar="FILE", help="Write every line that was not taken in there, with its class."
)
def convert(config: Path | None, format_name: str, file: Path, out: Path, skipped: Path | None) -> int:
    """Turn a public data set into an event log, and account for every line of it."""
    _settings(config)
    from flows.commands.logs import convert_file

    return convert_file(format_name, file, out, skipped)


@cli.command()
@_options("log")
@click.option(
    "--rules", type=LOG_FILE, required=True, metavar="FILE", help="TOML with the [segments] tables to be tried."
)
@click.option(
    "--churn-max",
    type=_Finite(0, 1),
    metavar="SHARE",
    help="Exit with 3 where more of a segment's shoppers enter or leave.",
)
@click.option("--report", type=OUT_FILE, metavar="FILE", help="Write what was found there, JSON.")
@click.option("--plot", type=OUT_FILE, metavar="FILE", help="Draw the sizes over time: .png, .svg or .pdf.")
def backtest(
    config: Path | None,
    log: tuple[Path, ...],
    rules: Path,
    churn_max: float | None,
    report: Path | None,
    plot: Path | None,
) -> int:
    """Replay event logs under the rules of the settings and under others, and tell who enters and leaves each segment.

    Churn of a segment is the share of the shoppers in it under either rule at the end of the logs who are not in it
    under both. A segment that is gone has a churn of 1, a new one of 0.
    """
    if plot is not None and plot.suffix not in (".png", ".svg", ".pdf"):
        raise click.BadParameter(f"{plot.name}: its name must end in .png, .svg or .pdf", param_hint="--plot")
    settings = _settings(config)
    from flows.commands.backtest import backtest as run_backtest
    from flows.rules import read_rules_file, ruleset

    return run_backtest(
        settings, ruleset(settings), read_rules_file(settings, rules), list(log), churn_max, report, plot
    )


@cli.command()
@_options("redis", "state", "json")
@click.argument("user")
def show(config: Path | None, user: str, as_json: bool, **flags: Any) -> int:
    """Show a shopper: the segment, why, what to show next, and the features."""
    settings = _settings(config, **flags)
    from flows.commands.records import show_user

    show_user(settings, user, as_json)
    return EXIT_OK


@cli.command()
@_options("redis", "state", "json")
def segments(config: Path | None, as_json: bool, **flags: Any) -> int:
    """Show the segments found so far."""
    settings = _settings(config, **flags)
    from flows.commands.records import show_segments

    show_segments(settings, as_json)
    return EXIT_OK


@cli.command()
@_options("json")
def features(config: Path | None, as_json: bool) -> int:
    """Show the catalogue of features."""
    settings = _settings(config)
    from flows.commands.records import show_features

    show_features(settings, as_json)
    return EXIT_OK


@cli.command()
@_options("kafka", "redis", "state")
def check(config: Path | None, **flags: Any) -> int:
    """Check the settings, the state directory, Redis and Kafka."""
    settings = _settings(config, **flags)
    from flows.commands.checks import check as check_all

    return check_all(settings)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; ends the process with 0 (done), 1 (failed while running) or 2 (usage or configuration)."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="coterie", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        name = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "coterie"
        return _complain(f"{name}: {error.format_message().rstrip('.')}; {name} --help tells more", EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _complain("coterie: interrupted", EXIT_FAILED)
    except BrokenPipeError:  # `coterie features | head`: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:
        if _is_one_of(error, CONFIGURATION_ERRORS):
            return _complain(str(error), EXIT_USAGE)
        if isinstance(error, OSError) or _is_one_of(error, FAILURES):
            from flows.settings import redacted

            return _complain(f"coterie: {redacted(str(error)) or type(error).__name__}{_remedy(error)}", EXIT_FAILED)
        raise
    return code if isinstance(code, int) else EXIT_OK


def _is_one_of(error: Exception, classes: dict[str, str]) -> bool:
    found = [getattr(sys.modules[module], name, ()) for module, name in classes.items() if module in sys.modules]
    return any(isinstance(error, kind) for kind in found)


def _remedy(error: Exception) -> str:
    """What to do, for the errors of libraries; ours say it themselves."""
    module = type(error).__module__
    if module.startswith("redis."):
        return "; is Redis there? (--redis URL or redis.url)"
    if module.startswith("kafka."):
        return "; is Kafka there? (--kafka HOST:PORT or kafka.bootstrap)"
    return ""


def _complain(text: str, code: int) -> int:
    sys.stderr.write(" ".join(text.split()) + "\n")
    return code


if __name__ == "__main__":
    main()
