"""From probabilities to answers: one rule for tables, pages, servers and what is measured of an export."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headstart.deployment.decision import Decision
from headstart.deployment.measured import Side, _noted
from headstart.deployment.timm_folder import limits_of

CARD: dict[str, Any] = {
    "classes": ["cracked", "sound"],
    "preprocess": {
        "img_size": 32,
        "resize": 36,
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    },
}
RECALL = {"class": "cracked", "recall": 0.9, "threshold": 0.2, "n": 50, "interval_95": [0.8, 1.0]}
COSTS = {"answers": ["cracked", "sound", "ask"], "table": [[0, 10, 1], [2, 0, 1]]}
ROWS = np.array([[0.9, 0.1], [0.3, 0.7], [0.05, 0.95], [0.1, 0.9]])


@pytest.mark.parametrize(
    ("rules", "answers"),
    [
        ({}, ["cracked", "sound", "sound", "sound"]),
        ({"min_recall": RECALL}, ["cracked", "cracked", "sound", "sound"]),
        ({"costs": COSTS}, ["cracked", "ask", "sound", "sound"]),
        ({"min_recall": RECALL, "costs": COSTS}, ["cracked", "ask", "sound", "sound"]),
    ],
)
def test_costs_come_first_then_the_class_that_must_not_be_missed(
    rules: dict[str, Any], answers: list[str]
) -> None:
    decision = Decision.from_card(CARD | rules)
    assert decision.answers(ROWS) == answers
    assert bool(decision.line()) == bool(rules)
    side = Side()  # what an export loses is measured on the answers that are given
    _noted(side, np.log(ROWS).astype(np.float32), np.zeros((4, 0), np.float32), 1.0, decision, None)
    assert side.answers == answers


def test_a_folder_for_other_libraries_says_that_it_has_no_such_rule() -> None:
    assert limits_of(CARD) == []
    for rules in ({"min_recall": RECALL}, {"costs": COSTS}):
        (said,) = limits_of(CARD | rules)
        assert said.startswith("answers follow a rule of `headstart threshold`")
