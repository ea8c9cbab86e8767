"""Means and differences over pictures and seeds."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart import metrics
from headstart.evaluation import seeds
from headstart.evaluation.repeated import Repeated, repeated, rounded
from headstart.evaluation.seeds import difference_over_seeds, mean_over_seeds


def simulated(random, n: int, number: int, accuracies=(0.9, 0.82), *, of_seed=0.1, of_run=0.4):
    """Two variants, bool [S, n] each: hard pictures are hard for both, each has its own weak spots, a seed
    moves
    all pictures of a run a little, and chance moves each."""
    hard = random.normal(0, 1, n)
    scale = float(np.sqrt(1 + 0.5**2 + of_seed**2 + of_run**2))
    found = []
    for accuracy in accuracies:
        own = hard + random.normal(0, 0.5, n)
        run = own + random.normal(0, of_seed, (number, 1)) + random.normal(0, of_run, (number, n))
        found.append(run < NormalDist().inv_cdf(accuracy) * scale)
    return found


def test_intervals_of_differences_cover_at_95_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    """On average over numbers of pictures, of seeds, and how much seeds matter: 93 to 97 %."""
    monkeypatch.setattr(seeds, "DRAWS", 2000)
    random, hits = np.random.default_rng(0), []
    for n in (50, 150, 400):
        for number, of_seed in ((1, 0.0), (3, 0.0), (3, 0.15), (5, 0.1)):
            of_run = 0.4 if number > 1 else 0.0  # of one seed nobody can know what others would do
            for _ in range(120):
                a, b = simulated(random, n, number, of_seed=of_seed, of_run=of_run)
                low, high = difference_over_seeds(a, b).interval_95
                hits.append(low <= 0.08 <= high)
    assert 0.93 <= np.mean(hits) <= 0.97


def test_intervals_of_means_cover_at_95_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "DRAWS", 2000)
    random, hits = np.random.default_rng(1), []
    for accuracy in (0.6, 0.8, 0.95):
        for n in (50, 200):
            for _ in range(150):
                (a,) = simulated(random, n, 3, (accuracy,))
                low, high = mean_over_seeds(a)[1]
                hits.append(low <= accuracy <= high)
    assert 0.93 <= np.mean(hits) <= 0.97


def test_variants_that_are_equal_are_seldom_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "DRAWS", 2000)
    random = np.random.default_rng(2)
    p_values = [difference_over_seeds(*simulated(random, 150, 3, (0.85, 0.85))).p_value for _ in range(400)]
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.075


def test_one_seed_is_mcnemar_and_tango() -> None:
    random = np.random.default_rng(3)
    a, b = random.random((1, 80)) < 0.9, random.random((1, 80)) < 0.8
    found = difference_over_seeds(a, b)
    assert (found.value, found.interval_95) == metrics.paired_difference(a[0], b[0])
    assert found.p_value == metrics.mcnemar(a[0], b[0])
    assert mean_over_seeds(a)[1] == metrics.wilson_interval(int(a.sum()), 80)


def test_seeds_that_differ_widen_the_interval() -> None:
    pictures = np.arange(200)
    steady = np.stack([pictures < 160] * 3)
    restless = np.stack([pictures < 130, pictures < 160, pictures < 190])
    low, high = mean_over_seeds(steady)[1]
    lower, higher = mean_over_seeds(restless)[1]
    assert lower < low - 0.05 and higher > high + 0.05
    assert steady.mean() == restless.mean()


def test_nothing_shrinks_to_a_point() -> None:
    right = np.ones((3, 60), bool)
    accuracy, (low, high) = mean_over_seeds(right)
    assert accuracy == 1 and low < 0.97 and high > 0.97
    found = difference_over_seeds(right, right)
    assert found.interval_95[0] < -0.01 and found.interval_95[1] > 0.01
    assert (found.value, found.needed) == (0, None)
    assert found.p_value > 0.9


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(5, 60), st.integers(0, 1000))
def test_a_difference_turned_round_is_the_other_ones(one: int, other: int, n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.random((one, n)) < 0.8, random.random((other, n)) < 0.6
    there, back = difference_over_seeds(a, b), difference_over_seeds(b, a)
    assert there.value == -back.value
    assert there.needed == back.needed
    low, high = there.interval_95
    assert -1 <= low <= high <= 1
    assert (low, high) == pytest.approx((-back.interval_95[1], -back.interval_95[0]), abs=0.06)


def test_the_number_of_pictures_that_would_do_does() -> None:
    """With as many pictures as were named, McNemar's test finds the difference about four times in five."""
    only_a, only_b, n = 9, 4, 100
    a = np.arange(n) >= only_b
    b = np.arange(n) < n - only_a
    needed = difference_over_seeds(a[None], b[None]).needed
    assert needed is not None and 300 < needed < 600
    random, found = np.random.default_rng(4), 0
    for _ in range(300):
        kind = random.choice(3, needed, p=[only_a / n, only_b / n, 1 - (only_a + only_b) / n])
        found += metrics.mcnemar(kind != 1, kind != 0) < 0.05
    assert 0.7 <= found / 300 <= 0.9


def of(*counts: int, seeds: int = 1, n: int = 100) -> dict[str, np.ndarray]:
    return {
        name: np.stack([np.arange(n) < count] * seeds) for name, count in zip("abc", counts, strict=False)
    }


def told(result: Repeated) -> str:
    return "\n".join(result.lines())


WORDS = {"a": "fine-tuning", "b": "training from scratch"}


def test_a_clear_winner_is_a_sentence_with_points_and_interval() -> None:
    result = repeated(of(70, 95, seeds=3), words=WORDS, told={})
    (sentence,) = result.sentences()
    low, high = result.pairs[0].difference.interval_95
    interval = f"({100 * low:.1f} to {100 * high:.1f})"
    assert sentence == f"training from scratch beats fine-tuning by 25.0 points {interval}"
    assert 0 < low < 0.25 < high
    assert told(result).endswith(sentence)
    assert "means of 3 seeds" in told(result)


def test_what_cannot_be_told_apart_says_how_many_more_would() -> None:
    result = repeated(of(92, 95), words=WORDS, told={})
    needed = result.pairs[0].difference.needed
    assert needed is not None
    (sentence,) = result.sentences()
    assert sentence == (
        "these 100 pictures cannot tell training from scratch and fine-tuning apart; "
        f"about {rounded(needed - 100):,} more would"
    )
    assert "four times in five" in told(result)
    assert "One seed each" in told(result)


def test_equal_ones_are_not_promised_anything() -> None:
    (sentence,) = repeated(of(90, 90), words=WORDS, told={}).sentences()
    assert sentence.endswith("apart; they may well be equal")


def test_several_pairs_are_corrected() -> None:
    result = repeated(of(90, 84, 83), words={}, told={name: {"epochs": 3} for name in "abc"})
    assert all(pair.p_adjusted >= pair.difference.p_value for pair in result.pairs)
    assert result.pairs[0].p_adjusted > result.pairs[0].difference.p_value
    assert "3 pairs: 'beats' means p < 0.05 after Holm's correction." in told(result)
    assert result.to_dict()["variants"][0]["epochs"] == 3


@pytest.mark.parametrize(("number", "expected"), [(7, 7), (12.1, 13), (123, 130), (1280, 1300), (0.4, 1)])
def test_estimates_have_two_digits(number: float, expected: int) -> None:
    assert rounded(number) == expected
