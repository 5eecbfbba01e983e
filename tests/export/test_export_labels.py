"""Names and meaning of a head's outputs: each label map that is published is read, or refused in one line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.export.labels import read_labels

ONE, SEVERAL, NUMBERS = "single_label_classification", "multi_label_classification", "regression"


def read(config: dict, kind: str = "sequence"):
    return read_labels(config, kind=kind, where="model 'x'")


@pytest.mark.parametrize(
    ("config", "names", "problem"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, ("a", "b"), ONE),
        ({"id2label": {"1": "b", "0": "a"}, "label2id": {"a": 0, "b": 1}}, ("a", "b"), ONE),
        ({"id2label": {0: "a", 1: "b"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}, ("a", "b"), ONE),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": "0", "b": "1"}}, ("a", "b"), ONE),
        ({"id2label": {"0": 0, "1": 1}, "label2id": {"0": 0, "1": 1}}, ("0", "1"), ONE),
        ({"label2id": {"b": 1, "a": 0}}, ("a", "b"), ONE),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": ONE, "num_labels": 2}, ("a", "b"), ONE),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": SEVERAL}, ("a", "b"), SEVERAL),
        ({"id2label": {"0": "toxic"}, "problem_type": SEVERAL}, ("toxic",), SEVERAL),
        ({"id2label": {"0": "x", "1": "y"}, "problem_type": NUMBERS}, ("x", "y"), NUMBERS),
        ({"id2label": {"0": "LABEL_0"}}, ("LABEL_0",), NUMBERS),
        ({"num_labels": 1}, ("LABEL_0",), NUMBERS),
        ({"id2label": {"0": "العربية", "1": "a b", "2": "é"}}, ("العربية", "a b", "é"), ONE),
    ],
)
def test_label_map_is_read(config, names, problem):
    labels = read(config)
    assert (labels.names, labels.problem) == (names, problem)
    assert labels.to_config()["id2label"] == dict(enumerate(names))


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({}, "expected the names of the classes in the model's config; got LABEL_0, LABEL_1; set id2label"),
        ({"num_labels": 3}, "got LABEL_0, LABEL_1, LABEL_2; set id2label"),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"a": 0, "b": 1}}, "set id2label"),
        (
            {"id2label": {"1": "a", "2": "b"}},
            "keys of id2label to be 0 to 1, as the outputs are numbered; got 1, 2",
        ),
        (
            {"id2label": {"0": "a", "1": "b", "3": "c"}},
            "to be 0 to 2, as the outputs are numbered; got 0, 1, 3",
        ),
        ({"id2label": {"-1": "a", "0": "b"}}, "expected numbers as keys of id2label; got '-1'"),
        ({"id2label": {"00": "a", "1": "b"}}, "expected numbers as keys of id2label; got '00'"),
        ({"id2label": {"٠": "a", "1": "b"}}, "expected numbers as keys of id2label; got '٠'"),
        ({"id2label": {"a": "0", "b": "1"}}, "expected numbers as keys of id2label; got 'a'"),
        ({"id2label": ["a", "b"]}, "expected an object as id2label; got list"),
        ({"id2label": {"0": "a", "1": "a"}}, "another name for each class in id2label; got 'a' twice"),
        ({"id2label": {"0": "\u00e9", "1": "e\u0301 "}}, "got 'e\u0301 ' twice"),
        ({"id2label": {"0": "a", "1": ""}}, "expected a name for each class in id2label; got '' for 1"),
        ({"id2label": {"0": "a", "1": None}}, "got None for 1"),
        ({"id2label": {"0": "a", "1": True}}, "got True for 1"),
        ({"id2label": {"0": "a", "1": "b\nc"}}, r"got 'b\nc' for 1"),
        ({"id2label": {"0": "a", "1": "\ud800"}}, r"got '\ud800' for 1"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}}, "to agree; got 'a' as 0 and as 1"),
        (
            {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "c": 1}},
            "to agree; got 'c' in label2id alone",
        ),
        ({"label2id": {"a": 0, "b": 0}}, "another number for each label of label2id; got one twice (0, 0)"),
        ({"label2id": {"a": 1, "b": 2}}, "expected the numbers in label2id to be 0 to 1"),
        ({"label2id": {"a": "zero"}}, "expected numbers in label2id; got 'zero' for 'a'"),
        ({"id2label": {"0": "a", "1": "b"}, "num_labels": 3}, "names for num_labels 3; got 2 names (a, b)"),
        ({"id2label": {"0": "a"}, "num_labels": "1"}, "expected a positive num_labels; got '1'"),
        (
            {"id2label": {"0": "a"}, "problem_type": ONE},
            f"expected two labels at least for problem_type '{ONE}'",
        ),
        (
            {"id2label": {"0": "a", "1": "b"}, "problem_type": "ranking"},
            f"expected a problem_type of {ONE}, {SEVERAL}, ",
        ),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": ["x"]}, "got ['x']; correct config.json"),
    ],
)
def test_label_map_that_cannot_be_trusted_is_refused(config, line):
    with pytest.raises(HarnessError) as caught:
        read(config)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("problem", [SEVERAL, NUMBERS])
def test_token_head_with_other_than_one_label_is_refused(problem):
    named = {"id2label": {"0": "O", "1": "B-PER"}}
    assert read(named | {"problem_type": ONE}, "token").meaning == "one label a token"
    assert read({"id2label": {"0": "O"}}, "token").problem == ONE
    with pytest.raises(
        HarnessError, match=f"expected a head with one label for each token; got .* '{problem}'"
    ):
        read(named | {"problem_type": problem}, "token")


names = st.one_of(
    st.text(max_size=4),
    st.sampled_from("abc"),
    st.none(),
    st.integers(),
    st.booleans(),
    st.lists(st.none(), max_size=1),
)
keys = st.one_of(st.integers(0, 4).map(str), st.integers(-2, 5), st.text(max_size=3))
maps = st.one_of(st.dictionaries(keys, names, max_size=5), names)
drawn = st.fixed_dictionaries(
    {},
    optional={
        "id2label": maps,
        "label2id": st.one_of(maps, st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3), max_size=4)),
        "num_labels": st.one_of(st.integers(-1, 10**12), names),
        "problem_type": st.one_of(names, st.sampled_from([ONE, SEVERAL, NUMBERS])),
    },
)


@given(config=drawn, kind=st.sampled_from(["token", "sequence"]))
@settings(max_examples=150, deadline=None)
def test_any_label_map_names_each_output_once_or_is_refused_in_one_line(config, kind):
    try:
        labels = read(config, kind)
    except HarnessError as error:
        line = str(error)
        labels = None
    if labels is None:
        assert line.startswith("model 'x': expected ")
        assert len(line.encode().splitlines()) == 1
        return
    assert len({*labels.names}) == len(labels.names) >= 1
    if config.get("id2label"):
        given_names = {str(key): name for key, name in config["id2label"].items()}
        assert [str(given_names[str(place)]) for place in range(len(given_names))] == [*labels.names]
