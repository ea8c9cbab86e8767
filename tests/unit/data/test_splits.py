"""Splits depend on content alone, keep duplicates together and every class everywhere."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headstart.data.splits import Assignment, assign_splits, folds_of, keys_of_groups, ranks
from headstart.errors import DataError


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


# --- groups --------------------------------------------------------------------------------------------


def grouped(sizes: list[tuple[int, int]]) -> tuple[np.ndarray, list[str]]:
    """Labels and group names of groups, each with pictures of two classes."""
    labels = [c for size in sizes for c, n in enumerate(size) for _ in range(n)]
    names = [f"g{g}" for g, size in enumerate(sizes) for _ in range(sum(size))]
    return np.array(labels, np.int64), names


SIZES = st.lists(
    st.one_of(st.tuples(st.integers(1, 9), st.just(0)), st.tuples(st.just(0), st.integers(1, 9))),
    min_size=10,
    max_size=60,
)
MIXED = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(sum), min_size=10, max_size=60)


def split_of(labels: np.ndarray, keys: list[str], names: list[str]) -> dict[str, str]:
    """Part by content; every class has to be there."""
    result = assign_splits([""] * len(labels), labels, keys, ["a", "b"], groups=names)
    assert set(result.splits.tolist()) <= {"train", "selection", "val", "test"}
    return dict(zip(keys, result.splits.tolist(), strict=True))


@settings(deadline=None)
@given(MIXED)
def test_groups_stay_together_and_every_class_trains(sizes: list[tuple[int, int]]) -> None:
    labels, names = grouped(sizes)
    assume(len(np.unique(labels)) == 2)
    try:
        result = assign_splits([""] * len(labels), labels, hashes(len(labels)), ["a", "b"], groups=names)
    except DataError as error:
        assert error.code == "HS-DATA-062"
        return
    for name in set(names):
        assert len({split for split, own in zip(result.splits, names, strict=True) if own == name}) == 1
    assert set(labels[result.splits == "train"].tolist()) == {0, 1}
    assert result.reported in result.splits


@settings(deadline=None)
@given(SIZES)
def test_parts_of_small_groups_have_their_size(sizes: list[tuple[int, int]]) -> None:
    labels, names = grouped(
        [*sizes, *[(9, 0), (0, 9)] * 7]
    )  # 15 % are 9 pictures at least: no group is larger
    counts = np.bincount(labels, minlength=2)
    parts = split_of(labels, keys := hashes(len(labels)), names)
    for c in (0, 1):
        reported = sum(parts[key] == "test" for key, label in zip(keys, labels, strict=True) if label == c)
        assert abs(reported - 0.15 * counts[c]) <= 9 / 2 + 0.5


MANY = st.lists(
    st.one_of(st.tuples(st.integers(1, 9), st.just(0)), st.tuples(st.just(0), st.integers(1, 9))),
    min_size=60,
    max_size=100,
)


@settings(max_examples=25, deadline=None)
@given(MANY, st.integers(0, 59), st.booleans())
def test_one_more_picture_moves_few_groups(sizes: list[tuple[int, int]], which: int, new: bool) -> None:
    """Of a group that is there, or alone: what moves is some groups, not the parts."""
    labels, names = grouped([*sizes, *[(9, 0), (0, 9)] * 10])  # with fewer than 20, another rule begins
    keys = hashes(len(labels) + 1)
    before = split_of(labels, keys[:-1], names)
    more_labels = np.append(labels, labels[which])
    after = split_of(more_labels, keys, [*names, "" if new else names[which]])
    assert sum(before[key] != after[key] for key in before) <= 6 * 10


@settings(deadline=None)
@given(SIZES, st.randoms())
def test_order_does_not_matter_with_groups(sizes: list[tuple[int, int]], chance: random.Random) -> None:
    labels, names = grouped([*sizes, (9, 0), (0, 9), (4, 4), (1, 1)])
    keys = hashes(len(labels))
    order = list(range(len(labels)))
    chance.shuffle(order)
    shuffled = split_of(labels[order], [keys[i] for i in order], [names[i] for i in order])
    assert split_of(labels, keys, names) == shuffled


@settings(deadline=None)
@given(st.integers(40, 200), st.integers(40, 200), st.data())
def test_one_more_picture_without_groups_moves_three_at_most(a: int, b: int, data: st.DataObject) -> None:
    labels = np.repeat(np.arange(2), (a, b))
    keys = hashes(a + b + 1, data.draw(st.text(max_size=3)))
    before = assign_splits([""] * (a + b), labels, keys[:-1], ["a", "b"])
    after = assign_splits(
        [""] * (a + b + 1), np.append(labels, data.draw(st.integers(0, 1))), keys, ["a", "b"]
    )
    assert (before.splits != after.splits[:-1]).sum() <= 3


def test_groups_of_both_classes_fill_a_part_to_its_share() -> None:
    labels, names = grouped([(2, 2)] * 50 + [(1, 3)] * 50)
    result = assign_splits([""] * 400, labels, hashes(400), ["a", "b"], groups=names)
    for part in ("test", "selection"):
        shares = [float(np.mean(result.splits[labels == c] == part)) for c in (0, 1)]
        assert all(0.1 <= share <= 0.2 for share in shares)


def test_groups_larger_than_a_part_are_used_where_there_are_no_others() -> None:
    labels, names = grouped([(30, 0), (30, 0), (0, 5), *[(0, 5)] * 9])
    result = assign_splits([""] * len(labels), labels, hashes(len(labels)), ["a", "b"], groups=names)
    first, second = set(result.splits[:30].tolist()), set(result.splits[30:60].tolist())
    assert {*first, *second} == {"test", "train"}
    assert result.notes[0] == "12 groups stay together (5 to 30 pictures each)"


def test_groups_of_one_picture_are_said() -> None:
    labels = np.repeat(np.arange(2), 30)
    names = [f"p{i}" for i in range(60)]
    result = assign_splits([""] * 60, labels, hashes(60), ["a", "b"], groups=names)
    assert result.notes[0] == "60 groups of one picture each: nothing to keep together"


def test_no_selection_part_of_large_groups() -> None:
    labels, names = grouped([(10, 0), (0, 10)])
    given_split = ["train"] * 20 + ["test"] * 2
    labels, names = np.append(labels, [0, 1]), [*names, "", ""]
    result = assign_splits(given_split, labels, hashes(22), ["a", "b"], groups=names)
    assert result.splits.tolist() == given_split
    assert result.notes[-1] == "no selection part: the groups are too large to set one aside"


# --- folds ---------------------------------------------------------------------------------------------


def of_fold(labels: np.ndarray, keys: list[str], names: list[str], fold: tuple[int, int]) -> np.ndarray:
    return assign_splits(
        [""] * len(labels), labels, keys, ["a", "b"], groups=names, selection=0, fold=fold
    ).splits


@settings(deadline=None)
@given(SIZES, st.integers(2, 5))
def test_each_picture_is_in_one_fold_with_its_group(sizes: list[tuple[int, int]], count: int) -> None:
    labels, names = grouped([*sizes, *[(9, 0), (0, 9)] * 5])
    keys = hashes(len(labels))
    parts = np.stack([of_fold(labels, keys, names, (number, count)) for number in range(1, count + 1)])
    assert np.all((parts == "val").sum(axis=0) == 1) and set(parts.ravel().tolist()) == {"train", "val"}
    for name in set(names):
        rows = [i for i, own in enumerate(names) if own == name]
        assert len({tuple(parts[:, i].tolist()) for i in rows}) == 1
    for c in (0, 1):
        sizes_of_folds = (parts[:, labels == c] == "val").sum(axis=1)
        assert np.all(np.abs(sizes_of_folds - (labels == c).sum() / count) <= 9)


@settings(deadline=None)
@given(st.integers(10, 60), st.integers(10, 60), st.integers(2, 6), st.data())
def test_a_picture_more_moves_those_beside_the_cuts(a: int, b: int, count: int, data: st.DataObject) -> None:
    keys = hashes(a + b + 1, data.draw(st.text(max_size=3)))
    labels = np.append(np.repeat(np.arange(2), (a, b)), data.draw(st.integers(0, 1)))
    before = folds_of(labels[:-1], keys[:-1], ["a", "b"], count)
    after = folds_of(labels, keys, ["a", "b"], count)
    assert (before != after[:-1]).sum() <= count - 1
    sizes = np.bincount(after, minlength=count)
    assert sizes.max() - sizes.min() <= 2


def test_copies_lie_in_one_fold() -> None:
    labels = np.repeat(np.arange(2), 30)
    keys = hashes(10) * 6
    folds = folds_of(labels, keys, ["a", "b"], 3)
    assert all(len({int(folds[i]) for i in range(60) if keys[i] == key}) == 1 for key in keys)


def test_a_given_test_part_is_left_alone() -> None:
    given_split = (["train"] * 12 + ["test"] * 3) * 2
    result = assign([15, 15], given_split, fold=(1, 3))  # type: ignore[arg-type]
    assert result.reported == "val"
    assert counts(result, [15, 15]) == {"train": [6, 6], "selection": [2, 2], "val": [4, 4], "test": [3, 3]}
    assert "fold 1 of 3: 8 of 24 pictures are reported, as val" in result.notes
    assert "the given test part is left alone: 6 pictures" in result.notes
    with_val = assign([15, 15], ["val" if s == "test" else s for s in given_split], fold=(1, 3))  # type: ignore[arg-type]
    assert np.array_equal(with_val.splits, result.splits)


def test_val_beside_test_chooses_in_every_fold() -> None:
    given_split = (["train"] * 12 + ["val"] * 3 + ["test"] * 3) * 2
    result = assign([18, 18], given_split, fold=(2, 3))  # type: ignore[arg-type]
    assert counts(result, [18, 18]) == {"train": [8, 8], "selection": [3, 3], "val": [4, 4], "test": [3, 3]}


def test_too_few_for_so_many_folds() -> None:
    labels, names = grouped([(20, 0), (20, 0), *[(0, 5)] * 6])
    with pytest.raises(DataError) as caught:
        folds_of(labels, keys_of_groups(hashes(70), names), ["a", "b"], 8)
    assert str(caught.value) == (
        "HS-DATA-063: There are too few pictures or groups for 8 folds: outside of each fold a class needs 2 "
        "pictures.\n"
        "  - 2 folds stay without a picture\n"
        "  to do: Give fewer --folds, or name smaller groups."
    )
    with pytest.raises(DataError) as caught:
        folds_of(np.array([0] * 20 + [1] * 2), hashes(22), ["a", "b"], 5)
    assert "- 'b': 2 pictures in 2 groups, counting each alone as one" in str(caught.value)


def parts(assignment: Assignment) -> dict[str, int]:
    return dict(zip(*map(list, np.unique(assignment.splits, return_counts=True)), strict=True))


def test_half_of_a_large_selection_part_is_set_aside_for_calibration() -> None:
    per_class = [1000, 400]
    plain, result = assign(per_class, calibrate=False), assign(per_class)
    assert counts(plain, per_class)["selection"] == [150, 60]
    assert counts(result, per_class)["selection"] == counts(result, per_class)["calibration"] == [75, 30]
    for part in ("train", "test"):  # what trains and what is reported stays
        np.testing.assert_array_equal(result.splits == part, plain.splits == part)
    assert (
        result.notes[-1] == "105 of the 210 selection pictures choose nothing: they calibrate (calibration)"
    )


def test_a_small_selection_part_stays_whole() -> None:
    per_class = [1000, 300]
    plain, result = assign(per_class, calibrate=False), assign(per_class)
    assert parts(result)["selection"] == 195
    np.testing.assert_array_equal(result.splits, plain.splits)
    assert result.notes == plain.notes


def test_a_class_that_cannot_be_in_both_parts_leaves_selection_whole() -> None:
    given = ["train"] * 20 + ["test"] * 10 + ["val"] * 300 + ["train"] * 20 + ["test"] * 10 + ["val"]
    result = assign([330, 31], given)
    assert parts(result) == {"train": 40, "selection": 301, "test": 20}


def test_a_val_part_that_chooses_nothing_calibrates() -> None:
    given = (["train"] * 20 + ["test"] * 10 + ["val"] * 60) * 2
    assert parts(assign([90, 90], given, selection=0)) == {"train": 40, "calibration": 120, "test": 20}
    assert parts(assign([90, 90], given, selection=0, calibrate=False))["selection"] == 120
    few = (["train"] * 20 + ["test"] * 10 + ["val"] * 49) * 2
    assert parts(assign([79, 79], few, selection=0))["selection"] == 98


@given(st.integers(0, 1000), st.integers(2, 8))
def test_groups_and_copies_neither_choose_and_calibrate(seed: int, size: int) -> None:
    n, classes = 700, 2
    labels = np.arange(n) % classes
    groups = [f"g{(i + seed) // size}" if i < 350 else "" for i in range(n)]
    names = [f"{i}" if i < 350 else f"copy {i // 3}" for i in range(n)]
    names = [hashlib.sha256(f"{seed}{name}".encode()).hexdigest() for name in names]
    result = assign_splits(["train"] * n, labels, names, ("a", "b"), groups=groups, selection=0.5)
    assert {"selection", "calibration"} <= set(result.splits.tolist())
    keys = keys_of_groups(names, groups)
    for key in set(keys):
        assert len({str(result.splits[i]) for i in range(n) if keys[i] == key}) == 1


def test_groups_too_large_to_divide_leave_selection_whole() -> None:
    labels = np.arange(600) % 2
    groups = ["big" if i < 400 else f"g{i}" for i in range(600)]
    given = ["val"] * 440 + ["train"] * 100 + ["test"] * 60
    result = assign_splits(given, labels, hashes(600), ("a", "b"), groups=groups)
    assert "calibration" not in result.splits and parts(result)["selection"] == 440


def as_bytes(keys: list[str]) -> np.ndarray:
    return np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(len(keys), 32)


@pytest.mark.parametrize("groups", [(), [f"lot {i % 31}" for i in range(300)]])
def test_hashes_as_bytes_split_as_those_in_letters_do(groups: list[str]) -> None:
    keys = hashes(280)
    keys += keys[:20]  # copies
    labels = np.arange(300) % 2
    one, other = (
        assign_splits([""] * 300, labels, given, ("a", "b"), groups=groups)
        for given in (keys, as_bytes(keys))
    )
    assert one.splits.tolist() == other.splits.tolist() and one.notes == other.notes
    assert len(set(one.splits.tolist())) == 3


@given(st.lists(st.binary(min_size=2, max_size=2).map(lambda two: two + bytes(29) + two[:1])))
def test_ranks_are_those_of_the_keys(drawn: list[bytes]) -> None:
    keys = [item.hex() for item in drawn]
    wanted = [sorted(set(keys)).index(key) for key in keys]
    assert ranks(keys).tolist() == ranks(as_bytes(keys)).tolist() == wanted
