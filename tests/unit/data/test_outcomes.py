"""What files gave comes back from its columns as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headstart.data.decoding import Decoded
from headstart.data.facts import LOOK_BYTES, PictureFacts
from headstart.data.formats import UnreadableImage
from headstart.data.images import Extremes
from headstart.data.outcomes import FLAGS, Outcomes

TENTHS = st.integers(0, 2550).map(lambda value: value / 10)
FACTS = st.builds(
    PictureFacts,
    st.sampled_from(("JPEG", "PNG")),
    st.sampled_from(("RGB", "L")),
    st.integers(1, 1 << 20),
    st.integers(1, 1 << 20),
    st.tuples(TENTHS, TENTHS, TENTHS),
    TENTHS,
    st.binary(min_size=LOOK_BYTES, max_size=LOOK_BYTES).map(bytes.hex),
)
SOUND = st.builds(
    Decoded,
    file_hash=st.binary(min_size=32, max_size=32).map(bytes.hex),
    extremes=st.none() | st.just(Extremes(0.0, 4095.0, False)),
    facts=FACTS,
    **dict.fromkeys(FLAGS, st.booleans()),
)
FAULT = st.builds(Decoded, fault=st.builds(UnreadableImage, st.just("empty"), st.text()))


@given(st.lists(SOUND | FAULT))
def test_columns_give_back_what_was_added(results: list[Decoded]) -> None:
    outcomes = Outcomes(results)
    assert list(outcomes) == results
    sound = [result for result in results if result.fault is None]
    assert list(outcomes.sound()) == sound and list(outcomes.sound().file_hashes()) == [
        result.file_hash for result in sound
    ]
    kinds, of = outcomes.sound().facts.kinds()
    assert [kinds[kind] for kind in of] == [result.facts[:2] for result in sound if result.facts]
    assert outcomes.sound().facts.contrasts().tolist() == [r.facts.contrast for r in sound if r.facts]
    assert [row.tobytes().hex() for row in outcomes.sound().hash_rows()] == [r.file_hash for r in sound]
    for name in FLAGS:
        assert outcomes.with_flag(name) == [i for i, r in enumerate(results) if getattr(r, name)]
