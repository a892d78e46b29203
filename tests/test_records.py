import pytest

from jaxgan import records


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not valid JSON"),
        ("", "it is not valid JSON"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ('{"a": {"b": 1, "b": 1}}', "duplicate name 'b' in one object"),
        ("[NaN]", "NaN is not a finite number"),
        ("-Infinity", "-Infinity is not a finite number"),
        ("1e400", "1e400 is not a finite number"),
        ("9" * 5000, "an integer of 5,000 digits is too long"),
        ('{"size": -' + "9" * 1001 + "}", "digits is too long"),
    ],
)
def test_what_nobody_can_have_meant(text, reason):
    with pytest.raises(ValueError, match=reason):
        records.parse(text)


def test_json_is_read():
    assert records.parse('{"a": [1, 0.5, null, true, "\\u00e9"]}') == {"a": [1, 0.5, None, True, "é"]}
