"""YAML of a stranger: bounded in time and memory, and refused in one line that names the bound."""

from __future__ import annotations

import time

import pytest

from harness.config.load import load_recipe, load_scale
from harness.config.yaml_file import read_yaml
from harness.errors import HarnessError, UsageError

BILLION = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)
)
BAD = {
    "nested aliases": (
        BILLION,
        "expected YAML of at most 20,000 keys and values, its aliases written out; got",
    ),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(21_000)), "at most 20,000 keys and values"),
    "many entries": ("a: [" + "1, " * 45_000 + "1]", "at most 20,000 keys and values; got more; split it"),
    "large": (
        "a: " + "x" * 300_000,
        "expected YAML of at most 262,144 bytes; got more; split it into several",
    ),
    "deep": ("a: " + "[" * 5000, "expected YAML of at most 40 levels; got a deeper one"),
    "deep blocks": ("\n".join(" " * n + "a:" for n in range(200)), "at most 40 levels"),
    "self-containing": ("a: &a [*a]", "expected aliases of other parts; got one of itself"),
    "key of many values": ("? [a, b]\n: 1", "not valid YAML"),
    "no number": ("a: 0b_", "not valid YAML: a value that cannot be read"),
    "no date": ("a: 2001-99-99", "not valid YAML: a value that cannot be read"),
    "digits": ("a: " + "9" * 5000, "not valid YAML: a value that cannot be read"),
    "object": (
        "a: !!python/object/apply:os.system [id]",
        "not valid YAML: could not determine",
    ),
    "twice": ("a: 1\nb: 2\na: 3\n", "line 1: not valid YAML: key 'a' is given twice"),
    "control": ("a: \x07", "not valid YAML: "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_yaml_is_one_line_within_bounds(name, tmp_path):
    text, message = BAD[name]
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    began_s = time.process_time()
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith("bad.yaml: ")
    assert "\n" not in str(caught.value)
    assert time.process_time() - began_s < 10


def test_ordinary_aliases_are_read(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text("a: &a {x: 1}\nb: *a\nc: [*a, *a]\n564: {1: 2}\n")
    assert read_yaml(path) == {"a": {"x": 1}, "b": {"x": 1}, "c": [{"x": 1}, {"x": 1}], "564": {"1": 2}}


VALUES = [
    "9" * 400,
    "1e400",
    "0x" + "f" * 5000,
    "1" * 31 + "/" + "2" * 31,
    "٣",
    "1e16",
    "-1",
    ".inf",
    "[]",
    "{}",
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:12])
@pytest.mark.parametrize("place", ["shorten: {{layers: {}, keep: last}}", "trim: {{tokens: {}}}"])
def test_odd_number_in_a_recipe_is_one_line(place, value, tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text(f"source: a test\nteacher: mbert\nsteps:\n  - {place.format(value)}\n")
    with pytest.raises(HarnessError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith("odd.yaml: ")
    assert len(str(caught.value)) < 400


def write_changed(tmp_path, old, new):
    from harness.config.load import ROOT

    text = (ROOT / "scales" / "mini.yaml").read_text()
    assert old in text
    (tmp_path / "odd.yaml").write_text(text.replace(old, new, 1))
    return tmp_path / "odd.yaml"


@pytest.mark.parametrize("value", ["1e8", "1e12", "1e15", "0x" + "f" * 4000])
def test_absurd_size_in_a_scale_is_one_line(value, tmp_path):
    path = write_changed(tmp_path, "layers: ", f"layers: {value} # ")
    with pytest.raises(UsageError, match=r"odd\.yaml: teacher\.pretrain.*expected .*; got"):
        load_scale(path)


def test_empty_list_of_lengths_is_one_line(tmp_path):
    path = write_changed(tmp_path, "lengths: [16, 64]", "lengths: []")
    with pytest.raises(UsageError, match=r"latency\.lengths: expected a list with at least one entry; got"):
        load_scale(path)
