"""Plot, table and answers from the results of the peers: ``python benchmarks/report.py [RESULTS.json]``.

Reads the newest ``benchmarks/results/*-peers.json`` by default. Writes ``docs/images/peers.png`` and, beside
the results, the same name with ``.md``; with ``--readme FILE`` also what stands between the lines
``<!-- peers -->`` and ``<!-- /peers -->`` there.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comparison
from comparison import FLOOR, HEADSTART, Cells, Difference

HERE = Path(__file__).parent
PLOT = HERE.parent / "docs" / "images" / "peers.png"
MARKS = ("<!-- peers -->", "<!-- /peers -->")


def spread(values: Sequence[float], digits: int) -> str:
    """``median (minimum-maximum)``."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def accuracies(rows: Cells) -> str:
    values = [row["accuracy"] for row in rows]
    return f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def table(rows: Cells) -> list[str]:
    """One line for each data set and tool, those that lose or failed included."""
    lines = [
        "| data | tool | final accuracy, mean (range) | n, seeds | seconds, median (range) "
        "| headstart is as accurate after | times sooner | peak memory, GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for data in comparison.names(rows, "data"):
        for peer in comparison.names(rows, "peer"):
            cells = comparison.finished(rows, data, peer)
            failed = [
                row for row in rows if row.get("data") == data and row.get("peer") == peer and "failed" in row
            ]
            if not cells:
                lines += [f"| {data} | {peer} | failed: {row['failed']} | | | | | |" for row in failed[:1]]
                continue
            reached, sooner = "", ""
            if peer != HEADSTART:
                times = comparison.seconds_to_reach(rows, data, comparison.mean_accuracy(cells))
                known = [value for value in times if value is not None]
                reached = f"{spread(known, 1)} s" if known else "never"
                if len(known) < len(times):
                    reached += f", {len(known)} of {len(times)} seeds"
                ratio = comparison.times_sooner(rows, data, peer)
                sooner = f"{ratio:.1f}" if ratio is not None else "-"
            seeds = f"{len(cells)} seeds" + (f", {len(failed)} failed" if failed else "")
            lines.append(
                f"| {data} | {peer} | {accuracies(cells)} | {cells[0]['n']}, {seeds} "
                f"| {spread([row['seconds'] for row in cells], 1)} | {reached} | {sooner} "
                f"| {max(row['memory_gb'] for row in cells):.2f} |"
            )
    return lines


def not_run(rows: Cells) -> list[str]:
    return [f"- {row.get('peer', row.get('data'))}: {row['not_run']}" for row in rows if "not_run" in row]


def answers(rows: Cells) -> list[str]:
    """Whether headstart is sooner by the factor that it should be, and never worse at equal time."""
    lines = ["Sooner, process start included:", ""]
    for data in comparison.names(rows, "data"):
        best = comparison.best_fine_tuning(rows, data)
        if best is not None:
            target = comparison.mean_accuracy(comparison.finished(rows, data, best))
            ratio = comparison.times_sooner(rows, data, best)
            verdict = "not reached by most seeds" if ratio is None else f"{ratio:.1f} times sooner"
            met = ratio is not None and ratio >= comparison.SOONER
            lines.append(
                f"- {data}: {target:.3f}, final accuracy of the best fine-tuning peer ({best}): {verdict}; "
                f"{comparison.SOONER:.0f} times: {yes(met)}."
            )
        probe = comparison.probe_ratio(rows, data)
        if probe is not None:
            lines.append(
                f"- {data}: headstart's probe takes {probe:.2f} times the seconds of features_regression; "
                f"at most {comparison.PROBE_LIMIT}: {yes(probe <= comparison.PROBE_LIMIT)}."
            )
    lines += [
        "",
        "At equal wall-clock (headstart's model as it was when the peer ended, minus the peer, points of "
        "accuracy, 95 % interval over seeds and pictures):",
        "",
        f"| data | peer | difference | interval | lower bound above {FLOOR:.0f} |",
        "|---|---|---|---|---|",
    ]
    sets = comparison.names(rows, "data")
    for peer in comparison.names(rows, "peer"):
        if peer == HEADSTART:
            continue
        found = [comparison.difference(rows, data, peer) for data in sets]
        lines += [line for data, one in zip(sets, found, strict=True) if (line := line_of(data, peer, one))]
        known = [one for one in found if one is not None and one.draws is not None]
        if len(known) > 1 and len(known) == len([one for one in found if one is not None]):
            lines.append(line_of("mean of all", peer, comparison.pooled(known)))
    return lines


def line_of(data: str, peer: str, found: Difference | None) -> str:
    if found is None:
        return ""
    if found.draws is None:
        return f"| {data} | {peer} | {found.reason} | | no |"
    low, high = found.interval
    return f"| {data} | {peer} | {found.points:+.1f} | {low:+.1f} to {high:+.1f} | {yes(low > FLOOR)} |"


def yes(met: bool) -> str:
    return "yes" if met else "no"


def measured_on(machine: dict[str, Any]) -> str:
    versions = [
        f"{name} {value}" for name, value in machine.items() if name not in ("processor", "cores", "system")
    ]
    place = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
    return f"Measured on {place}; {', '.join(versions)}. Peak memory without worker processes."


def into_readme(readme: Path, text: str) -> None:
    """Replaces what stands between the marks."""
    old = readme.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(MARKS[0])}.*?{re.escape(MARKS[1])}", re.DOTALL)
    if not pattern.search(old):
        raise SystemExit(f"{readme} has no lines {MARKS[0]} and {MARKS[1]}")
    new = pattern.sub(lambda _: f"{MARKS[0]}\n{text}\n{MARKS[1]}", old)
    readme.write_text(new, encoding="utf-8")


def newest(name: str) -> Path:
    found = sorted((HERE / "results").glob(f"*-{name}.json"))
    if not found:
        raise SystemExit(f"no results yet: python benchmarks/run.py {name}")
    return found[-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--quick", action="store_true", help="the newest of peers-quick; draws beside them")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--readme", type=Path)
    arguments = parser.parse_args()
    results = arguments.results or newest("peers-quick" if arguments.quick else "peers")
    plot = arguments.plot or (results.with_suffix(".png") if arguments.quick else PLOT)
    content = json.loads(results.read_text(encoding="utf-8"))
    rows: Cells = content["rows"]
    text = "\n".join([*table(rows), "", *not_run(rows), "", measured_on(content["machine"])])
    whole = "\n".join([text, "", *answers(rows)])
    results.with_suffix(".md").write_text(whole + "\n", encoding="utf-8")
    print(whole)
    if arguments.readme:
        into_readme(arguments.readme, text)
    if any("checkpoints" in row for row in rows):
        from peers_plot import draw

        draw(rows, plot)
        print(f"\n{plot}")


if __name__ == "__main__":
    main()
