"""The page and the model card of a run, made from drawn pictures and given answers."""

from __future__ import annotations

import dataclasses
import re
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.data.corruptions import ALL
from headstart.data.page import THUMBNAIL
from headstart.evaluation import report_pictures
from headstart.evaluation.compare import compare
from headstart.evaluation.evaluate import summary
from headstart.evaluation.predictions import Predictions
from headstart.evaluation.report import MATRIX, markdown, write_report
from headstart.evaluation.report_plots import axis, curves, reliability
from headstart.evaluation.report_record import Record
from headstart.evaluation.report_words import LANGUAGES, WORDS
from headstart.evaluation.robustness import Robustness
from shapes import KINDS, draw

HOSTILE = "<script>alert(1)</script>"
NAMES = ("dots", "rings", HOSTILE)


def table_of(
    paths: list[str], truth: np.ndarray, classes: tuple[str, ...], wrong: float = 0.2
) -> Predictions:
    """Answers of which a share is wrong."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 0.5, (len(paths), len(classes)))
    told = np.where(random.random(len(paths)) < wrong, (truth + 1) % len(classes), truth)
    logits[np.arange(len(paths)), told] += 3
    shares = np.exp(logits)
    return Predictions(classes, paths, ["test"] * len(paths), truth, shares / shares.sum(1, keepdims=True))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for kind in KINDS:
        for number in range(12):
            draw(kind, number).save(folder / f"{kind}-{number:02}.png")
    return folder


@pytest.fixture
def record(root: Path) -> Record:
    paths = sorted(path.name for path in root.iterdir())
    truth = np.array([KINDS.index(path.partition("-")[0]) for path in paths])
    table = table_of(paths, truth, NAMES)
    figures = summary(table, "test") | {
        "strategy": "finetune",
        "recipe": "default",
        "model": "efficientnet-lite0",
        "epoch": 2,
        "share": 1.0,
        "refit": "none",
        "seconds": 12.4,
        "fingerprint": "0123abcd",
    }
    epochs = [
        {
            "epoch": str(i),
            "stage": "finetune" if i else "probe",
            "train_loss": str(1 / (i + 1)),
            "train_accuracy": "0.9",
            "val_loss": "0.5",
            "val_accuracy": str(0.7 + i / 10),
        }
        for i in range(3)
    ]
    return Record(
        name="<i>leaves</i>",
        figures=figures,
        predictions=table,
        epochs=epochs,
        findings=[
            {
                "code": "HS-CHECK-030",
                "severity": "warning",
                "what": "2 exact copies",
                "count": 2,
                "mend": "Leave them out.",
                "examples": [{"paths": ["<b>.png", "b.png"], "text": ""}],
            }
        ],
        settings={"plan": {"selection_pictures": 9}},
        sizes={"train": 40, "test": 36},
        root=root,
    )


def side(error: float) -> dict[str, Any]:
    """Calibration on one side of the temperature."""
    mean = {"value": 0.4, "n": 36, "interval_95": [0.3, 0.5]}
    bins = [{"confidence": 0.9, "accuracy": 0.8, "n": 30}, {"confidence": None, "accuracy": 1}]
    return {
        "nll": mean,
        "brier": mean,
        "ece": {"value": error, "n": 36, "if_calibrated_95": 0.08, "bins": bins},
    }


def page_of(record: Record, folder: Path, **options: Any) -> str:
    return write_report(record, folder, **options)[0].read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """What a person reads."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_the_answer_comes_first_with_interval_and_n(record: Record, tmp_path: Path) -> None:
    text = text_of(page_of(record, tmp_path))
    right = int(record.predictions.correct.sum())
    answer = text.partition("Accuracy")[2]
    assert answer.split()[:2] == [f"{100 * right / 36:.1f}", "%"]
    assert f"{right} of 36 pictures of test were named correctly." in answer
    low, high = record.figures["accuracy"]["interval_95"]
    assert f"95 % interval: {100 * low:.1f} % to {100 * high:.1f} %, n = 36." in answer
    assert "always saying “dots” 33.3 % (" in answer
    assert answer.index("36 pictures say little") < answer.index("Wrong answers")
    assert "On the 9 pictures that chose: linear probe 70.0 %, the model that was kept 90.0 %." in answer


def test_it_is_one_file_that_asks_nothing_and_escapes_names(record: Record, tmp_path: Path) -> None:
    page = page_of(record, tmp_path)
    assert HOSTILE not in page and "&lt;script&gt;" in page and "&lt;i&gt;leaves&lt;/i&gt;" in page
    assert "<b>.png" not in page
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)|url\(|https?:|@import|<script""", page)
    assert "default-src 'none'" in page
    for tag in re.findall(r"<img [^>]*>", page):
        assert re.search(r'alt="[^"]+: is [^"]+, answered [^"]+ with confidence [\d.]+\s%"', tag), tag
    assert "prefers-color-scheme: dark" in page and "@media print" in page and 'name="viewport"' in page
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.md"}


def test_every_link_leads_to_a_part_of_the_page(record: Record, tmp_path: Path) -> None:
    page = page_of(record, tmp_path)
    targets = re.findall(r'href="#([^"]+)"', page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) and set(targets) <= set(ids)
    filled = {f"cell-{i}-{j}" for i, j in np.argwhere(np.array(record.figures["confusion_matrix"]))}
    assert filled <= set(targets)


def test_cells_open_the_pictures_and_mistakes_come_by_confidence(record: Record, tmp_path: Path) -> None:
    page = page_of(record, tmp_path)
    table = record.predictions
    wrong = np.flatnonzero(~table.correct)
    worst = [table.paths[i] for i in wrong[np.argsort(-table.confidence[wrong])]]
    section = page.partition('id="mistakes"')[2].partition("</section>")[0]
    assert re.findall(r'class="path">([^<]+)<', section) == worst
    assert section.count('<img src="data:image/jpeg;base64,') == len(worst) > 3
    i = int(wrong[0])
    cell = page.partition(f'id="cell-{table.truth[i]}-{table.prediction[i]}"')[2].partition('class="opened"')[
        0
    ]
    assert f">{table.paths[i]}<" in cell


def test_pictures_that_have_moved_are_said(record: Record, tmp_path: Path) -> None:
    page = page_of(dataclasses.replace(record, root=tmp_path / "gone"), tmp_path)
    assert "<img" not in page and "no picture" in page
    assert re.search(r"Of (\d+) pictures that this page would show, \1 cannot be read", text_of(page))
    assert "headstart report RUN --images FOLDER" in page
    assert page_of(dataclasses.replace(record, root=None), tmp_path).count("<img") == 0


@pytest.mark.parametrize("change", ["truncated", "folder"])
def test_a_picture_that_cannot_be_read_costs_only_itself(
    record: Record, root: Path, tmp_path: Path, change: str
) -> None:
    wrong = np.flatnonzero(~record.predictions.correct)
    path = record.predictions.paths[int(wrong[0])]
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in root.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    if change == "truncated":
        (copy / path).write_bytes((copy / path).read_bytes()[:200])
    else:
        (copy / path).unlink()
        (copy / path).mkdir()
    page = page_of(dataclasses.replace(record, root=copy), tmp_path)
    assert ", 1 cannot be read" in page and page.count("<img") > 5


def test_the_page_stays_small(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_pictures, "BYTES", 30_000)
    page = page_of(record, tmp_path)
    assert page.count("<img") >= 1 and sum(map(len, re.findall(r"data:image[^\"]*", page))) <= 30_000
    assert "further pictures are left out, to keep this page small" in page
    monkeypatch.setattr(report_pictures, "NUMBER", 2)
    assert len(set(re.findall(r"data:image[^\"]*", page_of(record, tmp_path)))) <= 2


def test_noise_fills_no_more_than_five_megabytes(tmp_path: Path) -> None:
    """The largest thumbnails that there are, and more of them than a page shows."""
    from PIL import Image

    random = np.random.default_rng(0)
    for i in range(200):
        Image.fromarray(random.integers(0, 256, (THUMBNAIL, THUMBNAIL, 3), np.uint8)).save(
            tmp_path / f"{i:03}.png"
        )
    paths = [f"{i:03}.png" for i in range(200)]
    classes = tuple(f"class {c}" for c in range(8))
    table = table_of(paths, np.arange(200) % 8, classes, wrong=0.7)
    page, _ = write_report(Record("noise", summary(table, "test"), table, root=tmp_path), tmp_path / "out")
    assert 1_000_000 < page.stat().st_size < 5_000_000


@pytest.mark.parametrize("classes", [2, MATRIX, MATRIX + 1, 120])
def test_many_classes(classes: int, tmp_path: Path) -> None:
    names = tuple(f"class {c:03}" for c in range(classes))
    truth = np.arange(3 * classes) % classes
    table = table_of([f"{i}.png" for i in range(len(truth))], truth, names)
    page = page_of(Record("many", summary(table, "test"), table), tmp_path)
    assert ('class="matrix' in page) == (classes <= MATRIX)
    assert ('class="heat"' in page) == (classes > MATRIX)
    assert ("The 60 weakest of 120; all are in metrics.json." in page) == (classes == 120)
    assert "Most confused" in page


def test_ten_thousand_predictions(tmp_path: Path, root: Path) -> None:
    files = sorted(path.name for path in root.iterdir())
    truth = np.arange(10_000) % 3
    table = table_of([files[i % len(files)] for i in range(10_000)], truth, NAMES)
    table = dataclasses.replace(
        table, paths=tuple(f"./{'./' * (i // 36)}{p}" for i, p in enumerate(table.paths))
    )
    page = page_of(Record("large", summary(table, "test"), table, root=root), tmp_path)
    assert "of 10,000 pictures" in page and len(page) < 5_000_000
    assert page.count("<img") > 50


def test_no_known_class_all_right_all_wrong_and_one_answer(tmp_path: Path) -> None:
    truth = np.array([0, 0, 1])
    right = Predictions(("a", "b"), ["1", "2", "3"], ["test"] * 3, truth, np.eye(2)[truth])
    page = text_of(page_of(Record("r", summary(right, "test"), right), tmp_path))
    assert "There is no mistake among these pictures." in page and "3 of 3 pictures" in page
    constant = dataclasses.replace(right, probabilities=np.eye(2)[[0, 0, 0]])
    page = text_of(page_of(Record("c", summary(constant, "test"), constant), tmp_path))
    assert "The model answers “a” to every picture" in page and "not above always saying" in page
    nothing = dataclasses.replace(right, truth=np.array([-1, -1, -1]))
    page = text_of(page_of(Record("n", summary(nothing, "test"), nothing), tmp_path))
    assert "No picture of test has a known class: there is nothing to measure." in page
    one = right.rows([2])
    page = text_of(page_of(Record("o", summary(one, "test"), one), tmp_path))
    assert "1 of 1 pictures" in page and "n/a" in page  # no picture of class a


def test_groups_comparison_and_other_parts_appear_where_they_are(record: Record, tmp_path: Path) -> None:
    assert 'id="groups"' not in page_of(record, tmp_path)
    table = record.predictions
    other = table_of(list(table.paths), table.truth, NAMES, wrong=0.9)
    compared = compare({record.name: table, "scratch": other}).to_dict()
    figures = {
        **record.figures,
        "calibration": {
            "before": side(0.1234),
            "after": side(0.0456),
            "temperature": 1.5,
            "temperature_interval_95": [1.2, 1.9],
            "n": 1200,
            "reason": "",
        },
        "unknown": {"auroc": 0.987, "rejected": 1200},
    }
    groups = {path: f"<patient {i % 4}>" for i, path in enumerate(table.paths)}
    whole = dataclasses.replace(record, figures=figures, groups=groups, comparison=compared)
    page = page_of(whole, tmp_path)
    text = text_of(page)
    assert "&lt;patient 3&gt;" in page and "Accuracy by group" in text
    assert re.search(r"leaves&lt;/i&gt; is better than scratch by [\d.]+ points", text)
    assert "Temperature 1.500 (1.200 to 1.900), fitted on 1,200 pictures that chose nothing." in text
    assert "Calibration error (ECE) 0.123, n = 36 0.046, n = 36" in text
    assert "Log loss 0.400 (0.300 to 0.500), n = 36 0.400 (0.300 to 0.500), n = 36" in text
    assert "ECE that chance alone gives, up to 0.080" in text
    assert "confidence 90.0 %: right 80.0 %, n = 30" in text
    assert page.count('class="dot"') == page.count('class="dot before"') == 1
    assert "auroc 0.987" in text and "rejected 1,200" in text


def test_a_model_without_a_temperature_says_why(record: Record, tmp_path: Path) -> None:
    found = {
        "before": side(0.1),
        "after": side(0.1),
        "temperature": 1.0,
        "n": 0,
        "reason": "too few pictures",
    }
    figures = {**record.figures, "calibration": found}
    page = page_of(dataclasses.replace(record, figures=figures), tmp_path)
    assert "Not calibrated: too few pictures." in page and page.count('class="dot before"') == 0
    figures["calibration"] = {"ece": {"value": 0.5, "n": 9}, "fitted": True}  # of another version
    assert "ece 0.500, n = 9" in text_of(page_of(dataclasses.replace(record, figures=figures), tmp_path))


def test_leaks_and_folds_are_said(record: Record, tmp_path: Path) -> None:
    rest = {"value": 0.75, "n": 30, "interval_95": [0.6, 0.85]}
    leaked = {"leaked": {"exact": 4, "near": 2, "group": 0}, "accuracy": rest, "balanced_accuracy": rest}
    figures = {**record.figures, "without_leaked": leaked, "folds": [{}, {}, {}], "interrupted": True}
    text = text_of(page_of(dataclasses.replace(record, figures=figures), tmp_path))
    assert "Of these pictures, 6 are known to training" in text
    assert "Without them the accuracy is 75.0 % (60.0 % to 85.0 %, n = 30)." in text
    assert "3 folds: each picture was named by a model that never saw it." in text
    assert "Training was interrupted" in text
    leaked["accuracy"] = {"value": None, "n": 0, "interval_95": None}
    text = text_of(page_of(dataclasses.replace(record, figures=figures), tmp_path))
    assert "All of these 6 pictures are known" in text


def test_the_card_names_what_made_the_model(record: Record, tmp_path: Path) -> None:
    card = {
        "licence": "apache-2.0",
        "notice": "Copyright (c) <someone>",
        "library": "timm",
        "architecture": "tf_efficientnet_lite0",
        "backbone": {"origin": "a package"},
        "versions": {"torch": "2.15.0"},
        "temperature": 1.5,
        "preprocess": {
            "img_size": 224,
            "resize": 256,
            "interpolation": "bicubic",
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
        },
    }
    _, path = write_report(dataclasses.replace(record, card=card), tmp_path)
    text = path.read_text(encoding="utf-8")
    for line in (
        r"| How it was made | strategy finetune, recipe default |",
        r"| Architecture | timm tf\_efficientnet\_lite0 |",
        r"| Weights from | a package |",
        r"| Licence of the weights | apache-2.0 |",
        r"| Kept | epoch 2 |",
        r"| Chosen on | 9 selection pictures, which did not train |",
        r"| Temperature | 1.5 |",
        r"| By part | train 40, test 36 |",
        r"| Fingerprint of the data | 0123abcd |",
        r"| Versions | torch 2.15.0 |",
        r"> Copyright (c) &lt;someone&gt;",
    ):
        assert line in text
    assert HOSTILE not in text and "no model of its own" not in text
    page = page_of(record, tmp_path)
    assert "This run has no model of its own" in page


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a|b", r"a\|b"),
        ("# head", r"\# head"),
        ("line\nbreak", "line break"),
        ("[x](javascript:y)", r"\[x\](javascript:y)"),
        ("- item", r"\- item"),
        ("a_b*c`d", r"a\_b\*c\`d"),
        ("94.8 %", "94.8 %"),
    ],
)
def test_markdown_shows_names_as_they_are(name: str, shown: str) -> None:
    assert markdown(name) == shown


def test_names_that_are_no_text(record: Record, tmp_path: Path) -> None:
    table = record.predictions
    paths = [f"caf\udce9-{i}.png" for i in range(len(table))]
    page = page_of(dataclasses.replace(record, predictions=dataclasses.replace(table, paths=paths)), tmp_path)
    assert "caf\\udce9-" in page


def corrupted_rows(lowest: float, apart: bool) -> list[Robustness]:
    """Figures on corrupted pictures; blur at strength 3 is the worst."""
    rows = []
    for name, strength in ALL:
        drop = lowest if (name, strength) == ("blur", 3) else 0.0
        correct = round(36 * (0.75 - drop))
        low = 0.05 if apart and drop else -0.1
        rows.append(Robustness(name, strength, 1, correct, 36, correct / 36, 0.2, 0.9, drop, low, 0.6))
    return rows


@pytest.mark.parametrize(
    ("language", "apart", "said"),
    [
        (
            "en",
            True,
            "25.0 % (20.0 % to 90.0 %): 50.0 points (5.0 to 60.0) below the",
        ),
        (
            "en",
            False,
            "25.0 % (20.0 % to 90.0 %): these 36 pictures cannot tell that",
        ),
        (
            "zh",
            True,
            "25.0 %（20.0 % 至 90.0 %）：比原图低 50.0 个百分点（5.0 至 60.0）。",
        ),
        ("zh", False, "25.0 %（20.0 % 至 90.0 %）：这 36 张图片分不出它与原图的差别。"),
    ],
)
def test_corrupted_pictures(record: Record, tmp_path: Path, language: Any, apart: bool, said: str) -> None:
    given = dataclasses.replace(record, robustness=corrupted_rows(0.5, apart))
    page = page_of(given, tmp_path, language=language)
    card = (tmp_path / "report.md").read_text(encoding="utf-8")
    worst = {"en": "Worst: blur at strength 3, ", "zh": "最差：模糊，强度 3，"}[language]
    for text in (page, card):
        assert worst + said in text.replace("\N{NO-BREAK SPACE}", " ")
    assert page.count(WORDS[language]["strength"].format(strength=2)) == 1
    assert 'id="robustness"' not in page_of(record, tmp_path, language=language)


def test_languages_have_the_same_words_and_places() -> None:
    assert set(WORDS) == set(LANGUAGES) == {"en", "zh"}
    english = WORDS["en"]
    fields = {key: {f for _, f, _, _ in string.Formatter().parse(text) if f} for key, text in english.items()}
    for language, words in WORDS.items():
        assert list(words) == list(english), language
        for key, text in words.items():
            assert {f for _, f, _, _ in string.Formatter().parse(text) if f} == fields[key], (language, key)
    same = {key for key in english if english[key] == WORDS["zh"][key]}
    assert same <= {"f1"}


def test_chinese_has_no_english_left(record: Record, tmp_path: Path) -> None:
    page = page_of(record, tmp_path, language="zh")
    assert '<html lang="zh">' in page
    text = text_of(page)
    assert "最严重的错误" in text and "混淆矩阵" in text and "95 % 置信区间" in text
    left = [text for text in WORDS["en"].values() if len(text) > 12 and "{" not in text and text in page]
    assert not left


def test_every_word_is_used() -> None:
    folder = Path(report_pictures.__file__).parent
    files = [*folder.glob("report*.py"), *folder.glob("templates/*")]
    source = "".join(path.read_text(encoding="utf-8") for path in files if path.name != "report_words.py")
    assert not [key for key in WORDS["en"] if not re.search(rf'\bw\.{key}\b|"{key}"', source)]


def test_curves_leave_out_what_is_not_known() -> None:
    lines = [("train_loss", "training", "train"), ("val_loss", "watched", "watched")]
    assert curves([{"train_loss": "1"}], lines, fractions=False) is None
    assert curves([{"train_loss": ""}, {"train_loss": "nan"}], lines, fractions=False) is None
    rows = [{"epoch": str(i), "train_loss": str(2 - i / 10), "val_loss": "" if i else "1"} for i in range(11)]
    plot = curves(rows, lines, fractions=False)
    assert plot is not None and [line["name"] for line in plot["lines"]] == ["training"]
    places = [tuple(map(float, point.split(","))) for point in plot["lines"][0]["points"].split()]
    assert len(places) == 11 and places == sorted(places) and places[0][1] == 10.0  # 2.0 is the top
    assert [tick["text"] for tick in plot["x_ticks"]] == ["0", "2", "5", "8", "10"]
    assert [tick["text"] for tick in plot["y_ticks"]] == ["0", "0.5", "1", "1.5", "2"]
    long = curves([{"epoch": str(i), "train_loss": "1"} for i in range(5000)], lines, fractions=False)
    assert long is not None and len(long["lines"][0]["points"].split()) <= 402


@pytest.mark.parametrize(
    ("low", "high", "first", "step", "count"),
    [
        (0.73, 1, 0.7, 0.1, 3),
        (0.41, 1, 0.4, 0.2, 3),
        (0, 0.79, 0, 0.2, 4),
        (0, 1.1, 0, 0.25, 5),
        (0.985, 1, 0.985, 0.005, 3),
        (0, 0, 0, 0.2, 5),
        (1, 1, 0, 0.2, 5),
        (0, 2, 0, 0.5, 4),
    ],
)
def test_steps_of_an_axis_are_round(low: float, high: float, first: float, step: float, count: int) -> None:
    found = axis(low, high)
    assert found == pytest.approx((first, step, count))
    assert found[0] <= low + 1e-9 and found[0] + found[1] * found[2] >= high - 1e-9


def test_a_probe_alone_is_measured_out_of_fold(record: Record, tmp_path: Path) -> None:
    alone = dataclasses.replace(record, epochs=record.epochs[:1], settings={})
    text = text_of(page_of(alone, tmp_path))
    assert "accuracy, out of fold 0 probe" in text and "accuracy, test" not in text


def test_reliability_points_have_their_interval() -> None:
    (point,) = reliability([{"confidence": 0.5, "accuracy": 0.5, "n": 10}, {"accuracy": 0.5}, {"n": 0}])
    assert point["high"] < point["y"] < point["low"]  # the vertical axis points down
    assert point["n"] == 10
