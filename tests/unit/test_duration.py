"""Times as people write them."""

import pytest

import fanatico_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [(90, 90), ("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400)]
)
def test_durations(text, seconds):
    assert fanatico_duration.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "0", "-5m", "1.5h", "soon", None])
def test_texts_that_are_no_duration(text):
    with pytest.raises(fanatico_duration.NoDuration):
        fanatico_duration.seconds(text)
