"""The command line: one thin function per command. Flags come from the dataclasses and signatures alone.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or unusable data,
130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict

import headstart
from headstart import launch
from headstart.cli_compare import compare
from headstart.cli_export import export
from headstart.cli_input import Json, Source, exact, file_settings, split_paths, usage_words
from headstart.cli_output import fail, internal, print_result, say, show_json
from headstart.cli_pictures import check, show
from headstart.cli_predict import predict
from headstart.cli_report import explain, report, suspects, threshold
from headstart.cli_serve import serve
from headstart.config import TrainConfig
from headstart.errors import HeadstartError, UsageError

SHARED = ("train", "evaluate", "val")
"""Commands whose work several processes share; the others are done by the first one alone."""

_words: list[str] = []  # of the command under way

app = App(
    name="headstart",
    help="Fine-tune a pretrained vision model on your own pictures, and know how far to trust the result.",
    default_parameter=Parameter(converter=exact),
    help_epilogue="Add --debug to any command to see where an error comes from.",
    version=headstart.__version__,
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,  # `main` answers it
    result_action="return_value",
)


@app.command
def train(
    data: str | None = None,
    /,
    settings: TrainConfig = TrainConfig(),  # noqa: B008
    *,
    config: Annotated[Path | None, Parameter(alias="-c")] = None,
    resume: Path | None = None,
    json: Json = False,
) -> int:
    """Fine-tune on a folder of pictures, and evaluate.

    Args:
        data: Folder with one folder of pictures per class, or with train/ and test/ (or val/) that hold them;
            or a table of paths and classes (CSV, TSV, JSON Lines, Parquet); or a zip or tar archive, or its
            address.
        config: Settings from a YAML file, such as the config.yaml of a run; flags win over it.
        resume: Go on with an interrupted run, with its pictures and settings, from its last checkpoint.
        json: Print the result as one JSON object.
    """
    processes = launch.processes_to_start(settings.gpus, settings.device)
    if processes > 1 and settings.folds is None:
        return launch.start(_words, processes)
    run = headstart.train(data, settings, resume=resume)
    if launch.place().rank > 0:
        return 130 if run.interrupted else 0
    if json:
        show_json({"run": str(run.path), **run.metrics, "findings": run.findings})
    if run.interrupted:
        return 130
    if not json and run.model.is_dir():
        if (run.path / "report.html").is_file():
            say(f"report: {run.path / 'report.html'}")
        say(f"next: headstart predict {run.path} PICTURES")
    return 0


@app.command
def tune(
    data: str | None = None,
    /,
    settings: TrainConfig = TrainConfig(),  # noqa: B008
    *,
    trials: int | None = None,
    fields: str | None = None,
    timeout: str | None = None,
    config: Annotated[Path | None, Parameter(alias="-c")] = None,
    resume: Path | None = None,
    json: Json = False,
) -> int:
    """Search for better settings, then train with the best ones, and evaluate.

    Args:
        data: As for `headstart train`. The reported pictures take no part in the search.
        trials: Trainings to compare; the first is the settings as given. Default: 20.
        fields: What is searched, with commas: lr,epochs,freeze,augment,batch_size,img_size. Default: all
            but img_size that are not given.
        timeout: Begin no trial after this time, such as 90s, 10m or 1h30m.
        config: Settings from a YAML file, such as the config.yaml of a run; flags win over it.
        resume: Go on with an interrupted search, with its pictures and settings.
        json: Print the result as one JSON object.
    """
    run = headstart.tune(data, settings, trials=trials, fields=fields, timeout=timeout, resume=resume)
    if json:
        from headstart.search import outcome_of

        told = {"tuning": outcome_of(run), "findings": run.findings}
        show_json({"run": str(run.path), **run.metrics, **told})
    if run.interrupted:
        return 130
    if not json:
        say(f"next: headstart predict {run.path} PICTURES")
    return 0


app.command(compare)


@app.command(alias="val")
def evaluate(
    *paths: str,
    source: Source = Source(),  # noqa: B008
    workers: Annotated[int | None, Parameter(alias="-j")] = None,
    device: str | None = None,
    corruptions: Annotated[bool, Parameter(negative=())] = False,
    by: str | None = None,
    table: Path | None = None,
    json: Json = False,
) -> int:
    """Figures of a run, on its own held-out pictures or on others; several runs are compared.

    Args:
        paths: One or several runs, and optionally pictures as for `headstart train`: RUN... [DATA].
        workers: Threads that read pictures.
        device: cpu, cuda, cuda:1, mps.
        corruptions: Measure on the same pictures with noise, blur, JPEG compression, brightness, contrast and
            pixelation, too, each at three strengths. Without DATA, --images says where the pictures are now.
        by: A column of the table that the pictures come from (site, camera, lot): the accuracy of each value,
            and whether the worst is so by chance.
        table: The table that has the column of --by, where the pictures come from none.
        json: Print the figures as one JSON object.
    """
    runs, data = split_paths(paths)
    found = headstart.evaluate(
        *runs,
        data=data,
        workers=workers,
        device=device,
        corruptions=corruptions,
        by=by,
        table=table,
        **source.fields(),
    )
    if json and launch.place().rank == 0:
        show_json(found)
    return 0


app.command(report)
app.command(suspects)


app.command(predict)
app.command(threshold)
app.command(explain)
app.command(export)
app.command(serve)
app.command(show)
app.command(check)


models = App(name="models", help="List source models, or describe one; carry one to another machine.")
app.command(models)


@models.default
def list_models(
    pattern: str = "", /, *, here: Annotated[bool, Parameter(negative=())] = False, json: Json = False
) -> int:
    """List source models, or describe one.

    Args:
        pattern: A model's name, a part of names, or a pattern such as `*lite*`.
        here: Only models whose weights are on this machine.
        json: Print one JSON object.
    """
    from headstart.model import zoo
    from headstart.model.listing import description, listing

    named = bool(pattern) and zoo.is_model(pattern)
    listed = [] if named else [m for m in zoo.list_models(pattern) if m.available or not here]
    if named or (not listed and pattern and not here):
        described = zoo.describe(pattern)  # an unknown name is answered with the nearest ones
        print_result(described if json else description(described), as_json=json)
    else:
        print_result([vars(m) for m in listed] if json else listing(listed), as_json=json)
    return 0


@models.command
def pack(
    name: str, /, *, output: Annotated[Path | None, Parameter(alias="-o")] = None, json: Json = False
) -> int:
    """Write the weights of a source model into one file, for a machine without a network.

    Args:
        name: Whole name of the model; its weights are fetched if they are not on this machine.
        output: The file, ending in .safetensors. Default: the name of the model, in this folder.
        json: Print one JSON object.
    """
    from headstart.model.carry import pack as packed

    file = output or Path(f"{name.replace('/', '-')}.safetensors")
    facts = packed(name, file)
    told = f"{facts['name']}: {facts['bytes'] / 1e6:.1f} MB, licence {facts['licence']}, in {file}"
    print_result(facts if json else f"{told}\nthere: headstart models add {file.name}", as_json=json)
    return 0


@models.command
def add(file: Path, /, *, json: Json = False) -> int:
    """Keep a packed source model on this machine, where it is found by its name from then on.

    Args:
        file: What `headstart models pack` wrote.
        json: Print one JSON object.
    """
    from headstart.model.carry import add as added

    facts = added(file)
    told = (
        f"{facts['name']}, licence {facts['licence']}, is here: headstart train DATA --model {facts['name']}"
    )
    print_result(facts if json else told, as_json=json)
    return 0


@app.command
def fetch(
    source: str,
    /,
    *,
    folder: Path | None = None,
    sha1: str | None = None,
    sha256: str | None = None,
    mirror: str | None = None,
    json: Json = False,
) -> int:
    """Download a data set, verify and extract it.

    Args:
        source: A named set (hotdog, flowers, rock-paper-scissors, eurosat), the URL of a zip or tar
            archive, or an archive on this machine.
        folder: Where to put it. Default: the cache folder, ~/.cache/headstart/datasets.
        sha1: Expected SHA-1 of the archive; for named sets it is known.
        sha256: Expected SHA-256 of the archive.
        mirror: Address of a folder that holds the same archive. Default: HEADSTART_MIRROR.
        json: Print the folder as one JSON object.
    """
    path = headstart.fetch(source, folder=folder, sha1=sha1, sha256=sha256, mirror=mirror)
    print_result({"folder": str(path)} if json else str(path), as_json=json)
    return 0


@app.command
def demo(
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("runs"),
    seed: int = 0,
    strategies: Annotated[tuple[Literal["probe", "finetune"], ...], Parameter(negative=())] = (
        "probe",
        "finetune",
    ),
    split: Literal["cells", "modules"] = "cells",
    json: Json = False,
) -> int:
    """Find broken solar cells: 2,624 pictures, published results beside ours. Some ten minutes on a laptop.

    Args:
        output: Folder for the runs.
        seed: Of the split and of training.
        strategies: What to train: probe, finetune.
        split: cells, as published, or modules: no module has cells on both sides, which is harder.
        json: Print the table as one JSON object.
    """
    from headstart.demo import demo as run_demo

    table, lines = run_demo(output, seed=seed, strategies=strategies, split=split)
    print_result(table if json else "\n".join(lines), as_json=json)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is complete is saved
    if words[:1] and words[0] not in SHARED:
        if launch.place().rank > 0:
            return 0
        launch.leave()
    _words[:] = words if not debug else [*words, "--debug"]
    try:
        app.config = (
            [Dict({words[0]: file_settings(words)}, source="--config")]
            if words[:1] in (["train"], ["tune"], ["compare"])
            else []
        )
        code = app(words)
        sys.stdout.flush()
        return int(code or 0)
    except HeadstartError as error:
        return fail(error, debug=debug, as_json="--json" in words)
    except CycloptsError as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, HeadstartError):
            return fail(cause, debug=debug, as_json="--json" in words)
        command = f"headstart {words[0]}" if words and words[0] in app else "headstart"
        usage = UsageError("HS-USAGE-001", usage_words(error), fix=f"See `{command} --help`.")
        return fail(usage, debug=debug, as_json="--json" in words)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left
        return 1
    except Exception as error:
        return fail(internal(error), debug=debug, as_json="--json" in words)
