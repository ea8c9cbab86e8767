"""Splits depend on content alone, keep duplicates together and every class everywhere."""

from __future__ import annotations

import hashlib

import numpy as np

from headstart.data.splits import Assignment, assign_splits


def hashes(count: int, salt: str = "") -> list[str]:
    return [hashlib.sha256(f"{salt}{i}".encode()).hexdigest() for i in range(count)]


def assign(per_class: list[int], given: list[str] | None = None, **options: float | bool) -> Assignment:
    labels = np.repeat(np.arange(len(per_class)), per_class)
    names = [f"class{c}" for c in range(len(per_class))]
    given = given if given is not None else [""] * len(labels)
    return assign_splits(given, labels, hashes(len(labels)), names, **options)  # type: ignore[arg-type]


def counts(assignment: Assignment, per_class: list[int]) -> dict[str, list[int]]:
    labels = np.repeat(np.arange(len(per_class)), per_class)
    return {
        str(split): np.bincount(labels[assignment.splits == split], minlength=len(per_class)).tolist()
        for split in np.unique(assignment.splits)
    }


def test_class_folders_become_70_15_15() -> None:
    result = assign([100, 20])
    assert counts(result, [100, 20]) == {"train": [70, 14], "selection": [15, 3], "test": [15, 3]}
    assert result.reported == "test"
    assert "70 % train, 15 % selection (for choices), 15 % test (reported)" in result.notes[0]


def test_another_part_to_choose_on_is_one_of_the_training_pictures() -> None:
    result = assign([100, 20], selection=0.4)
    assert counts(result, [100, 20]) == {"train": [51, 10], "selection": [34, 7], "test": [15, 3]}
    assert "51 % train, 34 % selection (for choices), 15 % test (reported)" in result.notes[0]


def test_few_pictures_become_70_30_with_a_selection_part_from_train() -> None:
    result = assign([10, 30])
    assert counts(result, [10, 30]) == {"train": [6, 17], "selection": [1, 4], "val": [3, 9]}
    assert result.reported == "val"
    assert (
        "No test part, as class 'class0' has 10 pictures, fewer than 20; val is reported" in result.notes[0]
    )
    assert result.notes[1] == "5 of 28 training pictures are set aside for choices (selection)"


def test_very_few_pictures_have_no_selection_part() -> None:
    result = assign([3, 30])
    assert counts(result, [3, 30]) == {"train": [2, 21], "val": [1, 9]}
    assert "no selection part: class 'class0' has 2 training pictures" in result.notes[1]


def test_selection_zero_trains_on_all_but_the_same_test_part() -> None:
    plain, everything = assign([100, 40]), assign([100, 40], selection=0)
    assert np.array_equal(plain.splits == "test", everything.splits == "test")
    assert set(everything.splits) == {"train", "test"}


def test_given_test_part_stays_and_selection_comes_from_train() -> None:
    given = ["train"] * 30 + ["test"] * 10 + ["train"] * 50 + ["test"] * 10
    result = assign([40, 60], given)
    assert counts(result, [40, 60]) == {"train": [24, 40], "selection": [6, 10], "test": [10, 10]}
    assert result.reported == "test"
    unchanged = assign([40, 60], given, selection=0)
    assert unchanged.splits.tolist() == given and unchanged.notes == ()


def test_given_val_is_reported_when_there_is_no_test() -> None:
    result = assign([20, 20], (["train"] * 15 + ["val"] * 5) * 2)
    assert result.reported == "val"
    assert counts(result, [20, 20]) == {"train": [12, 12], "selection": [3, 3], "val": [5, 5]}


def test_val_serves_as_selection_beside_test() -> None:
    given = (["train"] * 10 + ["val"] * 5 + ["test"] * 5) * 2
    result = assign([20, 20], given)
    assert counts(result, [20, 20]) == {"train": [10, 10], "selection": [5, 5], "test": [5, 5]}
    assert result.reported == "test"
    assert result.notes == ("val/ serves for choices (as selection), test/ is reported",)


def test_evaluation_splits_nothing() -> None:
    assert set(assign([3, 1], split_needed=False).splits) == {"test"}
    given = ["train", "train", "val"]
    result = assign([2, 1], given, split_needed=False)
    assert result.splits.tolist() == given and result.reported == "val"


def test_order_and_names_of_files_do_not_matter() -> None:
    labels = np.repeat(np.arange(2), 50)
    keys = hashes(100)
    first = assign_splits([""] * 100, labels, keys, ["a", "b"])
    order = np.random.default_rng(0).permutation(100)
    second = assign_splits([""] * 100, labels[order], [keys[i] for i in order], ["a", "b"])
    assert np.array_equal(first.splits[order], second.splits)


def test_one_more_picture_moves_few_others() -> None:
    labels = np.zeros(200, np.int64)
    labels[100:] = 1
    keys = hashes(201)
    before = assign_splits([""] * 200, labels, keys[:200], ["a", "b"])
    after = assign_splits([""] * 201, np.append(labels, 1), keys, ["a", "b"])
    assert (before.splits != after.splits[:200]).sum() <= 3


def test_duplicates_stay_on_one_side() -> None:
    labels = np.repeat(np.arange(2), 60)
    keys = hashes(20, "a") * 3 + hashes(30, "b") * 2
    for selection in (0.0, 0.2):
        result = assign_splits([""] * 120, labels, keys, ["a", "b"], selection=selection)
        sides: dict[str, set[str]] = {}
        for key, split in zip(keys, result.splits, strict=True):
            sides.setdefault(key, set()).add(str(split))
        assert all(len(side) == 1 for side in sides.values())
        test = np.bincount(labels[result.splits == "test"])
        assert np.all(np.abs(test - 9) <= 2)


def test_duplicates_with_two_labels_stay_together_too() -> None:
    labels = np.repeat(np.arange(2), 40)
    keys = hashes(40) + hashes(40)
    result = assign_splits([""] * 80, labels, keys, ["a", "b"])
    assert np.array_equal(result.splits[:40], result.splits[40:])
    assert set(result.splits) == {"train", "selection", "test"}


def test_a_class_of_copies_of_one_picture_stays_in_training() -> None:
    labels = np.repeat(np.arange(2), 30)
    keys = ["same"] * 30 + hashes(30)
    result = assign_splits([""] * 60, labels, keys, ["a", "b"])
    assert set(result.splits[:30]) == {"train"}


def test_a_training_part_alone_is_split() -> None:
    result = assign([100, 20], ["train"] * 120)
    assert counts(result, [100, 20]) == {"train": [70, 14], "selection": [15, 3], "test": [15, 3]}
    assert result.reported == "test"
    assert result.notes[0] == "there is only a training part: a part to report on is split off"
