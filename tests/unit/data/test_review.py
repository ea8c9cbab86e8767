"""A class that differs from another one by capitals or spaces alone is asked about."""

from __future__ import annotations

from headstart.data.review import same_but_for_case


def test_the_same_but_for_capitals_and_spaces() -> None:
    classes = ["computer", "Computer", "cup", "Public Transport"]
    assert same_but_for_case("Computer", classes) == "; did you mean 'computer'?"
    assert same_but_for_case("publictransport", classes) == "; did you mean 'Public Transport'?"
    assert same_but_for_case("cup", classes) == ""
