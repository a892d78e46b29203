import pytest

from jaxgan import records


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is no JSON"),
        ("", "it is no JSON"),
        ("[" * 100_000, "it is nested too deep"),
        ('{"a":' * 100_000, "it is nested too deep"),
        ('{"a": {"b": 1, "b": 1}}', "'b' stands twice in one object"),
        ("[NaN]", "NaN is no finite number"),
        ("-Infinity", "-Infinity is no finite number"),
        ("1e400", "1e400 is no finite number"),
        ("9" * 5000, "an integer of 5,000 digits is too long"),
        ('{"size": -' + "9" * 1001 + "}", "digits is too long"),
    ],
)
def test_what_nobody_can_have_meant(text, reason):
    with pytest.raises(ValueError, match=reason):
        records.parse(text)


def test_json_is_read():
    assert records.parse('{"a": [1, 0.5, null, true, "\\u00e9"]}') == {"a": [1, 0.5, None, True, "é"]}
