"""The commands on pictures alone: `headstart show` and `headstart check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import headstart
from headstart.cli_input import Json, Source
from headstart.cli_output import print_result, say, show_json
from headstart.config import DEFAULT_MODEL, Fit


def show(
    data: str,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("show"),
    model: Annotated[str, Parameter(alias="-m")] = DEFAULT_MODEL,
    img_size: Annotated[int | None, Parameter(alias="--imgsz")] = None,
    recipe: str = "default",
    fit: Fit | None = None,
    crop: str | None = None,
    augment: str | None = None,
    per_class: int = 4,
    seed: int = 0,
    source: Source = Source(),  # noqa: B008
    json: Json = False,
) -> int:
    """Draw the pictures, and what the network sees of them.

    Args:
        data: As for `headstart train`.
        output: Folder for lesson.png (first 8 of the first class, last 8 of the last) and classes.png.
        model: Whose input is shown.
        img_size: Input size in pixels.
        recipe: Whose views are shown: default, d2l.
        fit: How a picture becomes square: crop, pad, squash. Default: the recipe's.
        crop: Only this part of each picture: LEFT,TOP,WIDTH,HEIGHT in pixels, or in fractions.
        augment: Random views to show, as for `headstart train`. Default: the recipe's.
        per_class: Pictures of each class in classes.png.
        seed: Of the sample and the random views.
        json: Print the files as one JSON object.
    """
    files = headstart.show(
        data,
        output,
        per_class=per_class,
        model=model,
        img_size=img_size,
        recipe=recipe,
        fit=fit,
        crop=crop,
        augment=augment,
        seed=seed,
        **source.fields(),
    )
    if json:
        show_json({"files": [str(file) for file in files]})
    else:
        for file in files:
            say(str(file))
    return 0


def check(
    data: str,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("check"),
    html: Path | None = None,
    page: bool = True,
    fix_list: Path | None = None,
    diff: Path | None = None,
    features: Annotated[bool, Parameter(negative=())] = False,
    model: Annotated[str, Parameter(alias="-m")] = DEFAULT_MODEL,
    img_size: Annotated[int | None, Parameter(alias="--imgsz")] = None,
    fit: Fit | None = None,
    crop: str | None = None,
    source: Source = Source(),  # noqa: B008
    workers: Annotated[int | None, Parameter(alias="-j")] = None,
    device: str | None = None,
    json: Json = False,
) -> int:
    """Find what is the matter with pictures: broken files, copies, leaks, shortcuts. Exits with 2 on errors.

    Args:
        data: As for `headstart train`. Nothing in it is changed.
        output: Folder for the page, which is named like the data.
        html: Write the page to this file instead.
        page: Write a page with thumbnails.
        fix_list: Write a CSV file of what should be left out: path, reason, code.
        diff: Only say what is different from the pictures of this run.
        features: Also compare what the network makes of the pictures: finds mirrored copies and
            pictures of one scene.
        model: Source model whose input is judged, and whose features are compared.
        img_size: Its input size in pixels.
        fit: How a picture becomes square: crop, pad, squash.
        crop: Only this part of each picture: LEFT,TOP,WIDTH,HEIGHT in pixels, or in fractions.
        workers: Threads that read pictures.
        device: For --features: cpu, cuda, cuda:1, mps.
        json: Print the findings as one JSON object.
    """
    from headstart.console import counted
    from headstart.data.check_page import write_page
    from headstart.data.page import can_draw
    from headstart.data.sources import SourceOptions, command_line
    from headstart.run_check import compare_with_run
    from headstart.run_folder import data_name

    if diff is not None:
        _, difference = compare_with_run(data, diff, workers=workers, **source.fields())
        print_result(difference.to_dict() if json else "\n".join(difference.lines()), as_json=json)
        return 0
    checked = headstart.check(
        data,
        features=features,
        output=output,
        model=model,
        img_size=img_size,
        fit=fit,
        crop=crop,
        workers=workers,
        device=device,
        **source.fields(),
    )
    written: dict[str, str] = {}
    if html is not None or (page and can_draw()):
        place = html or output / f"{data_name(data)}.html"
        write_page(checked, place, name=data_name(data))
        written["page"] = str(place)
    rows = 0
    if fix_list is not None:
        rows = checked.write_fix_list(fix_list)
        say(f"{fix_list}: {counted(rows, 'file', 'files')} to leave out")
        written["fix_list"] = str(fix_list)
    print_result({**checked.to_dict(), **written} if json else "\n".join(checked.lines()), as_json=json)
    if "page" in written:
        say(f"page: {written['page']}")
    if rows and checked.usable:
        options = SourceOptions(source.images, source.label_from, source.columns, source.group_by, fix_list)
        say(f"next: {command_line('train', data, options, source.exclude)}")
    return 0 if checked.usable else 2
