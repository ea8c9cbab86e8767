"""Findings in few words, at the start of a training."""

from __future__ import annotations

from headstart.data.findings import Example, Finding, Severity, tally, worst


def found(severity: Severity, number: int = 1, *paths: str) -> Finding:
    examples = tuple(Example((path,), "what is wrong") for path in paths)
    return Finding(f"HS-CHECK-{number:03}", severity, f"finding {number}", 1, "Mend it.", examples)


def test_nothing_is_said_of_nothing() -> None:
    assert worst([], "headstart check data") == [] and tally([]) == ""


def test_the_worst_come_first_and_the_others_are_counted() -> None:
    findings = [found("warning", n) for n in range(1, 4)] + [found("note", n) for n in range(4, 9)]
    assert worst(findings, "headstart check data") == [
        "found in the pictures: 3 warnings, 5 notes",
        "  WARNING  HS-CHECK-001  finding 1",
        "  WARNING  HS-CHECK-002  finding 2",
        "  WARNING  HS-CHECK-003  finding 3",
        "  note     HS-CHECK-004  finding 4",
        "  4 notes more: headstart check data",
    ]


def test_errors_are_never_among_the_others() -> None:
    lines = worst([*(found("error", n) for n in range(9)), found("note")], "again")
    assert sum(line.startswith("  ERROR    ") for line in lines) == 9 and lines[-1] == "  1 note more: again"


def test_what_is_lost_has_an_example() -> None:
    assert found("warning", 1, "a.jpg").short() == "WARNING  HS-CHECK-001  finding 1 (a.jpg)"
    assert found("warning", 1, "a.jpg", "b.jpg").short().endswith("finding 1 (a.jpg, ...)")
    assert found("note", 1, "a.jpg").short().endswith("finding 1")
    assert found("note", 1, "a.jpg").line() == "note     HS-CHECK-001  finding 1 (a.jpg: what is wrong)"


def test_names_do_not_break_lines_or_drive_a_terminal() -> None:
    finding = found("warning", 1, "two\nlines\x1b[31m.jpg")
    assert finding.short().endswith(r"(two\nlines\x1b[31m.jpg)")
    assert str(finding.examples[0]) == r"two\nlines\x1b[31m.jpg: what is wrong"
    assert finding.to_dict()["examples"] == [{"paths": ["two\nlines\x1b[31m.jpg"], "text": "what is wrong"}]
