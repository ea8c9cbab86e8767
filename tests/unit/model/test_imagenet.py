"""ImageNet's class names."""

from __future__ import annotations

import pytest

from headstart.model.imagenet import UnknownClassError, class_index, class_names


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("hotdog", 934),
        ("hot dog", 934),
        ("Hot_Dog", 934),
        ("red-hot", 934),
        ("ant", 310),
        ("bee", 309),
        ("missile", 657),
    ],
)
def test_names_lead_to_indices(name, index):
    assert class_index(name) == index


def test_a_name_of_two_classes_lists_both():
    with pytest.raises(UnknownClassError, match=r"several classes 'crane': 134 .*517"):
        class_index("crane")
    with pytest.raises(UnknownClassError, match=r"264 \(Cardigan.*474 \(cardigan"):
        class_index("cardigan")


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownClassError, match=r"no class 'hotdig'\. Did you mean 'hotdog'?"):
        class_index("hotdig")


def test_other_heads():
    assert len(class_names(1000)) == 1000
    assert len(class_names(21843)) == 21843
    with pytest.raises(UnknownClassError, match="37 outputs has no known names; give an index"):
        class_index("hotdog", 37)
