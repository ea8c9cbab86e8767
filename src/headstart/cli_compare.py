"""The command `headstart compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import headstart
from headstart.cli_input import Json
from headstart.cli_output import show_json
from headstart.config import CommonConfig, from_mapping, to_mapping


def compare(
    data: str | None = None,
    /,
    settings: CommonConfig = CommonConfig(),  # noqa: B008
    *,
    strategies: str | None = None,
    recipes: str | None = None,
    models: str | None = None,
    lr: str | None = None,
    seeds: int | None = None,
    learning_curve: Annotated[bool, Parameter(negative=())] = False,
    draws: int | None = None,
    config: Annotated[Path | None, Parameter(alias="-c")] = None,
    resume: Path | None = None,
    json: Json = False,
) -> int:
    """Train in several ways, each with several seeds: which is better, and can these pictures tell?

    Args:
        data: As for `headstart train`. All variants report on the same pictures.
        strategies: What is compared, with commas: finetune,probe,scratch. Default: all three; beside another
            list, finetune.
        recipes: Recipes to compare, with commas: default,d2l.
        models: Source models to compare, with commas.
        lr: Learning rates to compare, with commas: 5e-5,5e-4,find. Every combination of the lists is trained.
        seeds: Trainings of each variant, from --seed on. Default: 3.
        learning_curve: Instead, measure the linear probe on more and more training pictures: what would twice
            as many bring?
        draws: Of the learning curve: how many times the training pictures are drawn. Default: 10.
        config: Common settings from a YAML file, such as the config.yaml of a run; flags win over it.
        resume: Go on with an interrupted comparison, or give it more --seeds; runs that have ended are kept.
        json: Print the result as one JSON object.
    """
    found = headstart.compare(
        data,
        from_mapping(to_mapping(settings)),
        strategies=strategies,
        recipes=recipes,
        models=models,
        lr=lr,
        seeds=seeds,
        learning_curve=learning_curve,
        draws=draws,
        resume=resume,
    )
    if found.interrupted:
        return 130
    if json:
        show_json({"comparison": str(found.path), **found.result})
    return 0
