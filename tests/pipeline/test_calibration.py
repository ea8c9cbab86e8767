"""Pictures that choose nothing: a temperature, sets with a coverage, a class that must not be missed."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

import headstart
from headstart.calibration import fit_temperature, threshold_for
from headstart.data.lock import read_lock
from headstart.errors import ConfigError, ModelError, RunError
from headstart.evaluation.calibrate import at_temperature
from shapes import draw_folder

KINDS = ("dots", "rings")


def mislabelled(root: Path, counts: dict[str, int], share: int) -> Path:
    """Two classes; every so-manieth picture of val and test lies in the other one's folder."""
    draw_folder(root, counts, kinds=KINDS, size=40)
    for split in ("val", "test"):
        one, other = (root / split / kind for kind in KINDS)
        for path in sorted(one.glob("*.png"))[::share]:
            twin, spare = other / path.name, path.with_suffix(".tmp")
            path.replace(spare)
            twin.replace(path)
            spare.replace(twin)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mislabelled(tmp_path_factory.mktemp("drawn"), {"train": 12, "val": 100, "test": 15}, 4)


@pytest.fixture(scope="module")
def probe(data: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    """A probe, whose val part chooses nothing. Not to be changed."""
    return headstart.train(
        data, strategy="probe", img_size=32, threads=1, workers=1, output=tmp_path_factory.mktemp("runs")
    )


@pytest.fixture
def copy(probe: headstart.Run, tmp_path: Path) -> headstart.Run:
    return headstart.Run(Path(shutil.copytree(probe.path, tmp_path / "copy")))


def card(run: headstart.Run) -> dict[str, Any]:
    return json.loads((run.model / "model.json").read_text("utf-8"))


def test_a_temperature_comes_from_pictures_that_chose_nothing(probe: headstart.Run) -> None:
    rows = probe.predictions.of_split("calibration")
    assert len(rows) == 200
    assert {row.path for row in read_lock(probe.path) if row.split == "calibration"} == set(rows.paths)
    temperature = card(probe)["temperature"]
    plain = at_temperature(rows, 1 / temperature)
    assert temperature != 1
    assert temperature == pytest.approx(fit_temperature(plain.truth, plain.probabilities).value, rel=1e-6)
    found = probe.metrics["calibration"]
    assert (found["temperature"], found["n"], found["reason"]) == (temperature, 200, "")
    assert found["after"]["nll"] == probe.metrics["nll"]
    assert found["before"]["nll"]["n"] == found["before"]["ece"]["n"] == 30
    assert found["won"]["nll"]["value"] == pytest.approx(
        found["before"]["nll"]["value"] - found["after"]["nll"]["value"]
    )
    assert (probe.path / "reliability.png").stat().st_size > 5000
    log = (probe.path / "log.txt").read_text("utf-8")
    assert "calibrated: temperature" in log and "from 200 pictures that chose nothing; log loss" in log


def test_predict_and_evaluate_apply_it(probe: headstart.Run, data: Path, tmp_path: Path) -> None:
    own = dict(zip(probe.predictions.paths, probe.predictions.probabilities, strict=True))
    for row in headstart.load(probe.path).predict(data / "test"):
        name = f"test/{row.path.split('test/')[-1]}"
        np.testing.assert_allclose(list(row.probabilities.values()), own[name], atol=1e-5)
    again = headstart.evaluate(probe)["runs"][str(probe.path)]
    assert again["calibration"] == probe.metrics["calibration"]
    copied = headstart.Run(Path(shutil.copytree(probe.path, tmp_path / "copied")))
    measured = headstart.evaluate(copied, data=data)["runs"][str(copied.path)]
    for name in ("before", "after"):
        assert measured["calibration"][name]["nll"]["value"] == pytest.approx(
            probe.metrics["calibration"][name]["nll"]["value"], abs=1e-6
        )


def test_it_changes_no_answer_and_no_weight(probe: headstart.Run, data: Path, tmp_path: Path) -> None:
    plain = headstart.train(
        data, strategy="probe", img_size=32, threads=1, workers=1, output=tmp_path, calibrate=False
    )
    assert card(plain)["temperature"] == 1 and plain.metrics["calibration"]["reason"] == "--no-calibrate"
    assert plain.metrics["confusion_matrix"] == probe.metrics["confusion_matrix"]
    one, two = (load_file(run.model / "model.safetensors") for run in (plain, probe))
    assert all(bool((tensor == two[name]).all()) for name, tensor in one.items())
    with pytest.raises(RunError) as caught:
        headstart.load(plain.path).predict(data / "test", coverage=0.9)
    assert caught.value.code == "HS-PREDICT-020"
    with pytest.raises(RunError) as caught:
        headstart.threshold(plain, "dots=0.9")
    assert caught.value.code == "HS-EVAL-010"


def test_sets_have_the_coverage_that_was_asked_for(
    probe: headstart.Run, data: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    output = tmp_path / "out.csv"
    done = command("predict", probe.path, data / "test", "-o", output, "--coverage", 0.9, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)["sets"]
    rows = probe.predictions.of_split("calibration")
    expected = threshold_for(rows.probabilities[np.arange(200), rows.truth], 0.9)
    assert expected is not None and told["threshold"] == expected.value and told["n"] == 200
    with open(output, encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    for row in table:
        names = row["set"].split("|")
        assert names[0] == row["prediction"]
        at_least = {name for name in KINDS if float(row[f"prob:{name}"]) >= told["threshold"]}
        assert set(names) == at_least | {names[0]}
    assert sum(told["by_size"].values()) == len(table) == 30
    assert "sets hold the true class of 90.0% of new pictures at least" in done.err


def test_a_coverage_that_the_pictures_cannot_give_is_refused(probe: headstart.Run, data: Path) -> None:
    model = headstart.load(probe.path)
    with pytest.raises(RunError) as caught:
        model.predict(data / "test", coverage=0.999)
    assert caught.value.code == "HS-PREDICT-021"
    assert "200 calibration pictures are too few for a coverage of 0.999, which needs 999." in str(
        caught.value
    )
    assert "Ask for 0.995 or less" in str(caught.value)
    assert model.predict(data / "test", coverage=0.995)
    for wrong in (0, 1, 95, -0.5, float("nan")):
        with pytest.raises(ConfigError) as refused:
            model.predict(data / "test", coverage=wrong)
        assert refused.value.code == "HS-PREDICT-022"


def test_a_class_is_missed_less_often(copy: headstart.Run, data: Path, command: Callable[..., Any]) -> None:
    done = command("threshold", copy.path, "--min-recall", "rings=0.95", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["n"] == 100 and found["after"]["recall"]["value"] >= found["before"]["recall"]["value"]
    assert "'rings' is answered from a probability of" in done.err and "on the reported pictures" in done.err
    rows = headstart.load(copy.path).predict(data / "test")
    for row in rows:
        assert (row.prediction == "rings") == (row.probabilities["rings"] >= found["threshold"])
        assert row.confidence == row.probabilities[str(row.prediction)]
    said = command("predict", copy.path, data / "test", "-o", copy.path / "out.csv")
    assert "'rings' is answered from a probability of" in said.err
    assert command("threshold", copy.path).code == 0
    assert headstart.load(copy.path).decision.least_recall is None


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("rings", "HS-CONFIG-040", "no class with a recall between 0 and 1: 'rings'"),
        ("rings=98", "HS-CONFIG-040", "no class with a recall between 0 and 1"),
        ("rigns=0.9", "HS-CONFIG-041", "The model has no class 'rigns'. Did you mean 'rings'?"),
    ],
)
def test_what_cannot_be_meant_is_refused(probe: headstart.Run, said: str, code: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        headstart.threshold(probe, said)
    assert caught.value.code == code and words in str(caught.value)


def test_too_few_pictures_of_the_class_are_refused(copy: headstart.Run) -> None:
    with pytest.raises(RunError) as caught:
        headstart.threshold(copy, "rings=0.995")
    assert caught.value.code == "HS-EVAL-011"
    assert "100 calibration pictures of 'rings' are too few for a recall of 0.995, which needs 199." in str(
        caught.value
    )
    assert card(copy).get("min_recall") is None


def test_a_class_without_calibration_pictures_is_refused(copy: headstart.Run) -> None:
    for name in ("predictions.csv", "dataset.csv"):
        path = copy.path / name
        lines = path.read_text("utf-8").splitlines(keepends=True)
        column = {"predictions.csv": 2, "dataset.csv": 1}[name]  # the class
        other = [
            line.replace(",calibration,", ",selection,") if line.split(",")[column] == "rings" else line
            for line in lines
        ]
        path.write_text("".join(other), "utf-8")
    with pytest.raises(RunError) as caught:
        headstart.threshold(copy, "rings=0.9")
    assert caught.value.code == "HS-EVAL-011"
    assert "0 calibration pictures of 'rings' are too few for a recall of 0.9, which needs 9." in str(
        caught.value
    )
    assert "to do: Train with more pictures of 'rings'." in str(caught.value)


@pytest.mark.parametrize("what", ["a picture more", "other classes"])
def test_predictions_of_another_data_set_are_refused(copy: headstart.Run, what: str) -> None:
    path = copy.path / "predictions.csv"
    text = path.read_text("utf-8")
    path.write_text(
        text.replace("val/rings/000", "else/rings/000") if "more" in what else text.replace("rings", "x")
    )
    with pytest.raises(RunError) as caught:
        headstart.threshold(copy, "dots=0.9")
    assert caught.value.code == "HS-EVAL-012"


def test_choices_and_calibration_share_no_picture(
    data: Path, tmp_path: Path, tiny: dict[str, Any], command: Callable[..., Any]
) -> None:
    run = headstart.train(data, output=tmp_path, refit="all", **tiny)
    parts = {name: set(run.predictions.of_split(name).paths) for name in ("selection", "calibration")}
    assert len(parts["selection"]) == len(parts["calibration"]) == 100
    assert parts["selection"].isdisjoint(parts["calibration"])
    kept = card(run)
    assert kept["refit"] == "all" and kept["temperature"] == run.metrics["calibration"]["temperature"] != 1
    assert "calibration" not in kept  # every picture trained it: no coverage can be stated
    with pytest.raises(RunError) as caught:
        headstart.load(run.path).predict(data / "test", coverage=0.9)
    assert caught.value.code == "HS-PREDICT-020" and "--refit all" in str(caught.value)
    with pytest.raises(RunError) as caught:
        headstart.threshold(run, "dots=0.9")
    assert caught.value.code == "HS-EVAL-013"


def test_with_few_pictures_nothing_changes_and_that_is_said(tiny_run: headstart.Run) -> None:
    assert card(tiny_run)["temperature"] == 1 and card(tiny_run)["calibration"] == {}
    found = tiny_run.metrics["calibration"]
    assert found["before"] == found["after"] and found["won"]["nll"]["value"] == 0
    log = (tiny_run.path / "log.txt").read_text("utf-8")
    assert (
        "not calibrated: too few pictures to set some aside for it (6 to choose with, 200 are needed)" in log
    )


def test_folds_pool_what_their_temperatures_changed(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    run = headstart.train(
        tmp_path / "data",
        strategy="probe",
        folds=2,
        img_size=32,
        threads=1,
        workers=1,
        output=tmp_path / "runs",
    )
    found = run.metrics["calibration"]
    assert len(found["temperature"]) == 2 and found["n"] == 400 and not found["reason"]
    assert found["after"]["nll"]["value"] == pytest.approx(run.metrics["nll"]["value"])
    for number, temperature in zip(("1", "2"), found["temperature"], strict=True):
        assert card(headstart.Run(run.path / "folds" / number))["temperature"] == temperature
    assert (run.path / "reliability.png").exists()


# --- a table of costs ----------------------------------------------------------------------------------


@pytest.fixture
def dear(tmp_path: Path) -> Path:
    """Missing rings costs nine times as much as a false alarm."""
    path = tmp_path / "costs.csv"
    path.write_text("truth,dots,rings\ndots,0,1\nrings,9,0\n", encoding="utf-8")
    return path


def test_answers_of_least_expected_cost(
    copy: headstart.Run, dear: Path, data: Path, command: Callable[..., Any]
) -> None:
    before = card(copy)
    done = command("threshold", copy.path, "--costs", dear, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    after = card(copy)
    assert {**after, "costs": None, "min_recall": None} == {**before, "costs": None, "min_recall": None}
    assert after["costs"]["table"] == found["table"] == [[0, 1], [9, 0]]
    assert after["costs"]["calibration"] == found["calibration"]
    held, said = found["calibration"], copy.predictions.of_split("calibration")
    own = np.where(said.probabilities[:, 1] > 0.1, 1, 0)
    by_hand = np.where(own == said.truth, 0, np.where(said.truth == 1, 9, 1))
    assert held["n"] == 200 and held["after"]["cost"]["value"] == pytest.approx(by_hand.mean())
    assert held["after"]["cost"]["value"] < held["before"]["cost"]["value"]
    assert held["after"]["recall"]["rings"]["value"] >= held["before"]["recall"]["rings"]["value"]
    assert f"to take it back: headstart threshold {copy.path} --clear" in done.err
    assert "on the calibration pictures" in done.err and "on the test pictures" in done.err
    for row in headstart.load(copy.path).predict(data / "test"):
        assert (row.prediction == "rings") == (row.probabilities["rings"] > 0.1)
        assert row.confidence == row.probabilities[str(row.prediction)]
    told = command("predict", copy.path, data / "test", "-o", copy.path / "out.csv")
    assert "each answer is the one of least expected cost" in told.err
    own_figures = headstart.evaluate(copy)["runs"][str(copy.path)]
    assert own_figures["costs"] == found["reported"]
    assert own_figures["accuracy"] == copy.metrics["accuracy"]
    measured = headstart.evaluate(copy, data=data)["runs"][str(copy.path)]["costs"]
    assert measured["after"]["cost"]["value"] == pytest.approx(found["reported"]["after"]["cost"]["value"])
    page = headstart.report(copy).read_text("utf-8")
    assert "This model gives the answer of least expected cost" in page and "recall of rings" in page
    assert 'id="costs"' not in headstart.report(probe_without_costs(copy)).read_text("utf-8")


def probe_without_costs(run: headstart.Run) -> headstart.Run:
    assert headstart.threshold(run) == {}
    assert headstart.load(run.path).decision.costs is None
    return run


def test_a_person_is_asked_where_that_is_cheapest(
    copy: headstart.Run, data: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    path = tmp_path / "costs.csv"
    path.write_text("truth,dots,rings,ask\ndots,0,1,0.001\nrings,1,0,0.001\n", encoding="utf-8")
    assert headstart.threshold(copy, costs=path)["calibration"]["after"]["asked"]["value"] > 0.5
    done = command("predict", copy.path, data / "test", "-o", tmp_path / "out.csv", "--json")
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    asked = [row for row in table if row["prediction"] == "ask"]
    assert asked and json.loads(done.out)["by_class"]["ask"] == len(asked)
    for row in asked:
        assert row["status"] == "ok" and 0.5 <= float(row["confidence"]) <= 0.999


def test_the_last_rule_counts_and_both_at_once_are_refused(
    copy: headstart.Run, dear: Path, command: Callable[..., Any]
) -> None:
    headstart.threshold(copy, "rings=0.9")
    done = command("threshold", copy.path, "--costs", dear)
    assert "the least recall of 'rings' is removed" in done.err and card(copy)["min_recall"] is None
    both = command("threshold", copy.path, "--costs", dear, "--min-recall", "rings=0.9")
    assert both.code == 2 and "HS-EVAL-072: A model answers by one of the two" in both.err
    assert card(copy)["costs"] is not None
    done = command("threshold", copy.path, "--min-recall", "rings=0.9")
    assert "the table of costs, which decided before, is removed" in done.err
    assert card(copy)["costs"] is None and card(copy)["min_recall"]["class"] == "rings"
    both = command("threshold", copy.path, "--clear", "--costs", dear)
    assert both.code == 2 and "HS-EVAL-073: --clear takes back" in both.err
    assert command("threshold", copy.path, "--clear").code == 0 and card(copy)["min_recall"] is None


def test_a_table_with_faults_changes_nothing(
    copy: headstart.Run, tmp_path: Path, command: Callable[..., Any]
) -> None:
    path = tmp_path / "costs.csv"
    path.write_text("truth,dots,ring\ndots,0,-1\n", encoding="utf-8")
    before = (copy.model / "model.json").read_bytes()
    done = command("threshold", copy.path, "--costs", path)
    assert done.code == 2 and (copy.model / "model.json").read_bytes() == before
    for words in ("must be square", "'rings' has no row", "Did you mean 'rings'?", "'-1' is no cost"):
        assert words in done.err


def test_without_calibration_pictures_costs_decide_and_that_is_said(
    tiny_run: headstart.Run, tmp_path: Path, command: Callable[..., Any]
) -> None:
    run = headstart.Run(Path(shutil.copytree(tiny_run.path, tmp_path / "tiny")))
    path = tmp_path / "costs.csv"
    path.write_text("truth,dots,rings,stripes\ndots,0,1,0\nrings,1,0,1\nstripes,1,5,0\n", encoding="utf-8")
    done = command("threshold", run.path, "--costs", path, "--json")
    assert done.code == 0 and json.loads(done.out)["calibration"] is None
    assert "the run has no calibration pictures: its probabilities are the network's own" in done.err
    assert "warning: 'dots' is never answered: 'stripes' never costs more." in done.err
    assert headstart.load(run.path).decision.costs is not None


def test_few_calibration_pictures_say_little(
    copy: headstart.Run, dear: Path, command: Callable[..., Any]
) -> None:
    for name, part in (("predictions.csv", ",calibration,"), ("dataset.csv", ",calibration,")):
        path = copy.path / name
        lines = path.read_text("utf-8").splitlines(keepends=True)
        kept = [line for line in lines if part not in line or "/00" in line]
        path.write_text("".join(kept), "utf-8")
    done = command("threshold", copy.path, "--costs", dear)
    assert done.code == 0, done.err
    assert "warning: 20 calibration pictures say little: a cost may lie anywhere in its interval" in done.err


def test_a_card_with_costs_that_make_no_sense_is_refused(copy: headstart.Run) -> None:
    path = copy.model / "model.json"
    entry = {"answers": ["dots", "rings"], "table": [[0, 1]]}
    path.write_text(json.dumps(card(copy) | {"costs": entry}), "utf-8")
    for ask in (headstart.load, headstart.evaluate):
        with pytest.raises(ModelError) as caught:
            ask(copy.path)
        assert caught.value.code == "HS-MODEL-011" and "its costs are not" in str(caught.value)
