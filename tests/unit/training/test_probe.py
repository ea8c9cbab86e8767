"""The linear probe against scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss

from headstart.training import probe as probe_module
from headstart.training import regression
from headstart.training.balance import class_weights
from headstart.training.probe import CLEARLY, EPSILON, FOLDS, STRENGTHS, fit_probe, stratified_folds

CASES = [(60, 8, 2), (60, 8, 5), (30, 120, 2), (40, 120, 5)]


def problem(n: int, d: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Overlapping clouds with features of very different scales, and one that is constant."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = random.normal(0, 1.0, (classes, d))
    x = centres[labels] * 0.4 + random.normal(0, 1, (n, d))
    x = x * np.geomspace(0.1, 10, d) + 3
    x[:, -1] = 1.5
    return torch.from_numpy(x.astype(np.float32)), labels.astype(np.int64)


def standardised(x: torch.Tensor) -> np.ndarray:
    wide = x.double().numpy()
    return np.asarray((wide - wide.mean(0)) / np.sqrt(wide.var(0).mean() + EPSILON))


def oracle(
    x: np.ndarray, labels: np.ndarray, strength: float, weights: np.ndarray | None = None
) -> LogisticRegression:
    """The same objective: mean cross-entropy + strength / 2 * ||W||^2.

    With two classes scikit-learn has one row w instead of two; ours are -w/2 and w/2, with half the penalty.
    """
    per_picture = strength / 2 if labels.max() == 1 else strength
    total = len(x) if weights is None else weights.sum()
    return LogisticRegression(C=1 / (total * per_picture), tol=1e-9, max_iter=20_000, solver="lbfgs").fit(
        x, labels, sample_weight=weights
    )


@pytest.mark.parametrize(("n", "d", "classes"), CASES)
def test_the_same_solution_as_scikit_learn(n: int, d: int, classes: int) -> None:
    x, labels = problem(n, d, classes)
    probe = fit_probe(x, labels, classes, np.arange(n))
    reference = oracle(standardised(x), labels, probe.strength)
    ours = (x.double() @ probe.weight.double().T + probe.bias.double()).softmax(1).numpy()
    theirs = reference.predict_proba(standardised(x))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert probe.weight.shape == (classes, d)
    assert probe.weight.dtype == probe.bias.dtype == torch.float32


@pytest.mark.parametrize(("n", "d", "classes"), CASES)
@pytest.mark.parametrize("large", [False, True])
def test_probabilities_are_learnt_as_by_weighted_copies(
    n: int, d: int, classes: int, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = problem(n, d, classes)
    soft = 0.6 * np.eye(classes)[labels] + 0.4 * np.random.default_rng(1).dirichlet(np.ones(classes), n)
    labels = soft.argmax(1)
    if large:
        monkeypatch.setattr(probe_module, "LARGE", 0)
        monkeypatch.setattr(probe_module, "ROUGH", 1e-6)
        monkeypatch.setattr(probe_module, "STILL", 1e-12)
    probe = fit_probe(x, labels, classes, np.arange(n), soft=soft.astype(np.float32))
    z = standardised(x)
    per_picture = probe.strength / 2 if classes == 2 else probe.strength
    reference = LogisticRegression(C=1 / (n * per_picture), tol=1e-9, max_iter=20_000, solver="lbfgs").fit(
        np.repeat(z, classes, axis=0), np.tile(np.arange(classes), n), sample_weight=soft.ravel()
    )
    ours = (x.double() @ probe.weight.double().T + probe.bias.double()).softmax(1).numpy()
    np.testing.assert_allclose(ours, reference.predict_proba(z), atol=2e-3 if large else 2e-5)
    if not large:  # the loss that chose the strength is that of the probabilities
        loss = -(soft * np.log(probe.out_of_fold)).sum(1).mean()
        assert min(row[1] for row in probe.table) == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(("n", "d", "classes"), CASES)
def test_the_strength_is_the_best_of_scikit_learns_cross_validation(n: int, d: int, classes: int) -> None:
    x, labels = problem(n, d, classes)
    probe = fit_probe(x, labels, classes, np.arange(n))
    folds = stratified_folds(labels, np.arange(n), FOLDS)
    assert folds is not None
    z = standardised(x)
    losses = []
    for strength in STRENGTHS:
        held_out = np.zeros((n, classes))
        for fold in range(FOLDS):
            model = oracle(z[folds != fold], labels[folds != fold], strength)
            held_out[folds == fold] = model.predict_proba(z[folds == fold])
        losses.append(log_loss(labels, held_out))
        if strength == probe.strength:
            # With more features than pictures and little L2 the minimum is flat: weights that a slope of
            # 1e-7 leaves undecided show on pictures that were not fitted.
            np.testing.assert_allclose(probe.out_of_fold, held_out, atol=2e-3 if n < d else 2e-5)
    assert probe.strength == STRENGTHS[int(np.argmin(losses))]
    strengths, ours, accuracies = zip(*probe.table, strict=True)
    assert strengths == STRENGTHS[: len(ours)] and len(ours) > int(np.argmin(losses))
    assert len(ours) == len(STRENGTHS) or ours[-1] > CLEARLY * min(ours)
    np.testing.assert_allclose(ours, losses[: len(ours)], atol=1e-3)
    assert accuracies[int(np.argmin(ours))] == (probe.out_of_fold.argmax(1) == labels).mean()


@pytest.mark.parametrize(("n", "d", "classes"), [(600, 8, 2), (200, 120, 5)])
def test_large_problems_are_solved_a_little_less_exactly(
    n: int, d: int, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = problem(n, d, classes)
    exact = fit_probe(x, labels, classes, np.arange(n))
    monkeypatch.setattr(probe_module, "SMALL", 0)
    for module in (probe_module, regression):
        monkeypatch.setattr(module, "CHUNK", 77 * classes)
    middle = fit_probe(x, labels, classes, np.arange(n))
    assert middle.strength == exact.strength
    np.testing.assert_allclose(middle.table, exact.table[: len(middle.table)], atol=5e-3)
    torch.testing.assert_close(middle.weight, exact.weight, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(middle.out_of_fold, exact.out_of_fold, atol=5e-3)
    monkeypatch.setattr(probe_module, "LARGE", 0)
    large = fit_probe(x, labels, classes, np.arange(n))
    assert large.out_of_fold.shape == (0, classes)
    assert "one held-out fifth" in large.note
    ours = (x.double() @ large.weight.double().T + large.bias.double()).softmax(1).numpy()
    theirs = oracle(standardised(x), labels, large.strength).predict_proba(standardised(x))
    np.testing.assert_allclose(ours, theirs, atol=5e-3)


def unequal(n: int, d: int, classes: int) -> tuple[torch.Tensor, np.ndarray]:
    """The same, with a first class of half of all pictures and more."""
    x, labels = problem(3 * n, d, classes)
    kept = np.flatnonzero((labels == 0) | (np.arange(3 * n) < n))
    return x[torch.from_numpy(kept)], labels[kept]


@pytest.mark.parametrize(("n", "d", "classes"), CASES)
def test_class_weights_are_those_of_scikit_learn(n: int, d: int, classes: int) -> None:
    x, labels = unequal(n, d, classes)
    weights = class_weights(labels, classes)[labels]
    probe = fit_probe(x, labels, classes, np.arange(len(labels)), weights)
    strength = probe.strength / 2 if classes == 2 else probe.strength
    reference = LogisticRegression(
        C=1 / (len(labels) * strength), class_weight="balanced", tol=1e-9, max_iter=20_000
    ).fit(standardised(x), labels)
    ours = (x.double() @ probe.weight.double().T + probe.bias.double()).softmax(1).numpy()
    np.testing.assert_allclose(ours, reference.predict_proba(standardised(x)), atol=2e-5)
    plain = fit_probe(x, labels, classes, np.arange(len(labels)))
    assert probe.out_of_fold[:, 1:].sum() > plain.out_of_fold[:, 1:].sum()  # the small classes get more


@pytest.mark.parametrize(("n", "d", "classes"), CASES)
def test_the_strength_is_chosen_by_the_weighted_loss(n: int, d: int, classes: int) -> None:
    x, labels = unequal(n, d, classes)
    weights = class_weights(labels, classes)[labels]
    groups = np.arange(len(labels))
    probe = fit_probe(x, labels, classes, groups, weights)
    folds = stratified_folds(labels, groups, FOLDS)
    assert folds is not None
    z = standardised(x)
    losses, accuracies = [], []
    for strength in STRENGTHS[: len(probe.table)]:
        held_out = np.zeros((len(labels), classes))
        for fold in np.unique(folds):
            out = folds == fold
            held_out[out] = oracle(z[~out], labels[~out], strength, weights[~out]).predict_proba(z[out])
        losses.append(log_loss(labels, held_out, sample_weight=weights))
        accuracies.append(balanced_accuracy_score(labels, held_out.argmax(1)))
    assert probe.strength == STRENGTHS[int(np.argmin(losses))]
    np.testing.assert_allclose([row[1] for row in probe.table], losses, atol=1e-3)
    best = int(np.argmin(losses))
    assert probe.table[best][2] == pytest.approx(accuracies[best])


def test_weights_in_large_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = unequal(200, 8, 3)
    weights = class_weights(labels, 3)[labels]
    monkeypatch.setattr(probe_module, "SMALL", 0)
    for module in (probe_module, regression):
        monkeypatch.setattr(module, "CHUNK", 77 * 3)
    monkeypatch.setattr(probe_module, "LARGE", 0)
    large = fit_probe(x, labels, 3, np.arange(len(labels)), weights)
    ours = (x.double() @ large.weight.double().T + large.bias.double()).softmax(1).numpy()
    theirs = oracle(standardised(x), labels, large.strength, weights).predict_proba(standardised(x))
    np.testing.assert_allclose(ours, theirs, atol=5e-3)


def test_equal_weights_change_no_bit() -> None:
    x, labels = problem(60, 8, 3)
    plain = fit_probe(x, labels, 3, np.arange(60))
    weighted = fit_probe(x, labels, 3, np.arange(60), class_weights(labels, 3)[labels])
    assert torch.equal(plain.weight, weighted.weight)
    assert torch.equal(plain.bias, weighted.bias)
    assert plain.table == weighted.table


def test_it_acts_on_raw_features() -> None:
    x, labels = problem(60, 8, 3)
    probe = fit_probe(x, labels, 3, np.arange(60))
    moved = fit_probe(x * 5 - 2, labels, 3, np.arange(60))
    before = (x @ probe.weight.T + probe.bias).softmax(1)
    after = ((x * 5 - 2) @ moved.weight.T + moved.bias).softmax(1)
    torch.testing.assert_close(before, after, atol=1e-3, rtol=0)


def test_a_second_fit_is_equal_and_the_threads_are_left_alone() -> None:
    x, labels = problem(40, 50, 3)
    before = torch.get_num_threads()
    one, two = (fit_probe(x, labels, 3, np.arange(40)) for _ in range(2))
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(one.bias, two.bias)
    assert np.array_equal(one.out_of_fold, two.out_of_fold)
    assert torch.get_num_threads() == before


def test_copies_stay_in_one_fold() -> None:
    labels = np.arange(60) % 3
    groups = np.arange(60) // 6  # a group holds pictures of all classes
    groups[40:] += 100 + np.arange(20)
    folds = stratified_folds(labels, groups, 5)
    assert folds is not None
    for group in np.unique(groups):
        assert len(set(folds[groups == group])) == 1
    for fold in range(5):
        assert set(labels[folds != fold]) == {0, 1, 2}


def test_folds_follow_the_names_of_the_groups_only() -> None:
    labels = np.arange(60) % 3
    groups = np.array([f"{(i * 7919) % 1000:03}" for i in range(60)])
    folds = stratified_folds(labels, groups, 5)
    shuffled = np.random.default_rng(0).permutation(60)
    again = stratified_folds(labels[shuffled], groups[shuffled], 5)
    assert folds is not None
    assert again is not None
    assert np.array_equal(folds[shuffled], again)
    for c in range(3):  # every class in every fold
        assert set(folds[labels == c]) == set(range(5))


def test_out_of_fold_answers_have_not_seen_their_picture() -> None:
    """Labels without any relation to the features cannot be guessed, unless a copy was seen in training."""
    random = np.random.default_rng(1)
    x = torch.from_numpy(random.normal(size=(80, 200)).astype(np.float32))
    labels = random.integers(0, 2, 80)
    twice, labels_twice = torch.cat([x, x]), np.concatenate([labels, labels])
    groups = np.concatenate([np.arange(80), np.arange(80)])

    def accuracy(groups: np.ndarray) -> float:
        probe = fit_probe(twice, labels_twice, 2, groups)
        return float((probe.out_of_fold.argmax(1) == labels_twice).mean())

    assert accuracy(groups) < 0.65
    assert accuracy(np.arange(160)) > 0.8  # copies treated as strangers: the leak that grouping prevents


def test_fewer_folds_for_few_pictures_and_none_for_one() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    folds = stratified_folds(labels, np.arange(7), 5)
    assert folds is not None
    assert set(folds) == {0, 1, 2}
    assert stratified_folds(labels, np.array([0, 0, 0, 1, 2, 3, 4]), 5) is None

    x, _ = problem(7, 4, 2)
    probe = fit_probe(x, labels, 2, np.array([0, 0, 0, 1, 2, 3, 4]))
    assert probe.out_of_fold.shape == (0, 2)
    assert probe.table == ()
    assert probe.strength == 0.1
    assert probe.note == ("too few pictures of a class for cross-validation: the strength is the default")


def test_features_that_are_all_equal_give_the_class_shares() -> None:
    labels = np.array([0] * 6 + [1] * 12)
    probe = fit_probe(torch.full((18, 5), 2.0), labels, 2, np.arange(18))
    answers = (torch.full((1, 5), 2.0) @ probe.weight.T + probe.bias).softmax(1)
    np.testing.assert_allclose(answers.numpy(), [[1 / 3, 2 / 3]], atol=1e-3)
