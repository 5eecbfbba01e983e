"""What the outputs of a classification head mean: one label, several labels or numbers, and their names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

from harness.errors import HarnessError

Problem: TypeAlias = Literal["single_label_classification", "multi_label_classification", "regression"]
"""What transformers calls ``problem_type``: one label a text, any number of labels, or numbers."""

_MEANINGS: Mapping[Problem, str] = {
    "single_label_classification": "one label a text, with its probability by softmax",
    "multi_label_classification": "a probability for each label by itself, by sigmoid; several may hold",
    "regression": "the logits as they are: numbers, not labels",
}
_INDEX = re.compile(r"0|[1-9][0-9]*")
_UNNAMED = re.compile(r"LABEL_[0-9]+")
_SHOWN = 6


class HeadLabels(NamedTuple):
    """The outputs of a head.

    Attributes:
        names: of the outputs, in their order; as transformers makes them up for one number without a name.
        problem: what the outputs mean.
        kind: ``token`` or ``sequence``.
    """

    names: tuple[str, ...]
    problem: Problem
    kind: str

    @property
    def meaning(self) -> str:
        """What the outputs mean, for the model card."""
        return "one label a token" if self.kind == "token" else _MEANINGS[self.problem]

    def to_config(self) -> dict[str, Any]:
        """Return the configuration's keys of the head."""
        one = self.problem == "single_label_classification"
        return {
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: place for place, name in enumerate(self.names)},
            "problem_type": None if one else self.problem,
        }


def read_labels(config: Mapping[str, Any], *, kind: str, where: str) -> HeadLabels:
    """Read the names and the meaning of a head's outputs.

    Args:
        config: ``config.json``, or a configuration's ``to_dict()``.
        kind: ``token`` or ``sequence``.
        where: how the message begins.

    Raises:
        HarnessError: the label maps do not name each output once, contradict each other, or the head is of a
            kind that cannot be exported; one line.
    """
    names = _read_names(config, where)
    problem = _read_problem(config.get("problem_type"), len(names), kind, where)
    unnamed = all(map(_UNNAMED.fullmatch, names))
    if unnamed and not (problem == "regression" and len(names) == 1):
        raise HarnessError(
            f"{where}: expected the names of the classes in the model's config; got {_list(names)}; "
            "set id2label"
        )
    return HeadLabels(names, problem, kind)


def _read_problem(given: Any, num_outputs: int, kind: str, where: str) -> Problem:
    if given not in (None, *get_args(Problem)):
        expected = f"a problem_type of {', '.join(get_args(Problem))}"
        raise HarnessError(f"{where}: expected {expected}; got {_show(given)}; correct config.json")
    if kind == "token":
        if given in (None, "single_label_classification"):
            return "single_label_classification"
        raise HarnessError(
            f"{where}: expected a head with one label for each token; got problem_type '{given}'; "
            "a token head of this kind cannot be exported"
        )
    if given == "single_label_classification" and num_outputs == 1:
        raise HarnessError(
            f"{where}: expected two labels at least for problem_type '{given}'; got 1; "
            "set problem_type to regression or multi_label_classification"
        )
    if given is None:
        return "regression" if num_outputs == 1 else "single_label_classification"
    return cast("Problem", given)


def _read_names(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    id2label, label2id = (_read_map(config, key, where) for key in ("id2label", "label2id"))
    count = config.get("num_labels", config.get("_num_labels"))
    if count is not None and (type(count) is not int or count < 1):
        raise HarnessError(
            f"{where}: expected a positive num_labels; got {_show(count)}; correct config.json"
        )
    stale = all(isinstance(name, str) and _UNNAMED.fullmatch(name) for name in label2id)
    if id2label:
        names = _read_id2label(id2label, where)
        if label2id and not stale and not all(map(_UNNAMED.fullmatch, names)):
            _check_agreement(names, label2id, where)
    elif label2id:
        names = _invert(label2id, where)
    else:
        names = tuple(f"LABEL_{place}" for place in range(min(count or 2, 1000)))
    if count is not None and count != len(names):
        got = f"{len(names)} names ({_list(names)})"
        raise HarnessError(f"{where}: expected names for num_labels {count}; got {got}; correct config.json")
    return names


def _read_map(config: Mapping[str, Any], key: str, where: str) -> Mapping[Any, Any]:
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        got = type(value).__name__
        raise HarnessError(f"{where}: expected an object as {key}; got {got}; correct config.json")
    return value


def _read_id2label(id2label: Mapping[Any, Any], where: str) -> tuple[str, ...]:
    wrong = [key for key in id2label if type(key) is not int and not _is_index(key)]
    if wrong:
        got = _show(wrong[0])
        raise HarnessError(f"{where}: expected numbers as keys of id2label; got {got}; correct config.json")
    by_place = {int(key): name for key, name in id2label.items()}
    _check_places(by_place, "keys of id2label", where)
    return _check_names([by_place[place] for place in range(len(by_place))], where)


def _invert(label2id: Mapping[Any, Any], where: str) -> tuple[str, ...]:
    """Return the names of a label2id without an id2label."""
    for name, place in label2id.items():
        if type(place) is not int:
            got = f"{_show(place)} for {_show(name)}"
            raise HarnessError(f"{where}: expected numbers in label2id; got {got}; correct config.json")
    by_place = {place: name for name, place in label2id.items()}
    if len(by_place) < len(label2id):
        got = f"one twice ({_list(label2id.values())})"
        raise HarnessError(
            f"{where}: expected another number for each label of label2id; got {got}; set id2label"
        )
    _check_places(by_place, "numbers in label2id", where)
    return _check_names([by_place[place] for place in range(len(by_place))], where)


def _is_index(key: Any) -> bool:
    return isinstance(key, str) and len(key) < 10 and bool(_INDEX.fullmatch(key))


def _check_places(by_place: Mapping[int, Any], what: str, where: str) -> None:
    if {*by_place} != {*range(len(by_place))}:
        got = _list(sorted(by_place))
        raise HarnessError(
            f"{where}: expected the {what} to be 0 to {len(by_place) - 1}, as the outputs are numbered; "
            f"got {got}; name every output in config.json"
        )


def _check_names(given: list[Any], where: str) -> tuple[str, ...]:
    """Refuse names that cannot be printed, or that two outputs share."""
    seen: dict[str, str] = {}
    names = []
    for place, name in enumerate(given):
        text = str(name) if type(name) is int else name
        if not isinstance(text, str) or not _is_printable(text):
            got = f"{_show(name)} for {place}"
            raise HarnessError(f"{where}: expected a name for each class in id2label; got {got}; name it")
        alike = unicodedata.normalize("NFC", text.strip())
        if alike in seen:
            raise HarnessError(
                f"{where}: expected another name for each class in id2label; got {_show(text)} twice; "
                "rename one"
            )
        seen[alike] = text
        names.append(text)
    return tuple(names)


def _is_printable(text: str) -> bool:
    """Return whether a text has a visible character, and none that breaks a line or cannot be written."""
    kinds = {unicodedata.category(character) for character in text}
    return bool(text.strip()) and not kinds & {"Cc", "Cs", "Zl", "Zp"}


def _check_agreement(names: tuple[str, ...], label2id: Mapping[Any, Any], where: str) -> None:
    """Refuse a label2id that says otherwise than id2label: nobody can tell which of them is right."""
    by_name = {name: place for place, name in enumerate(names)}
    for name, place in label2id.items():
        text = str(name)
        if text in by_name and place != by_name[text] and str(place) != str(by_name[text]):
            raise HarnessError(
                f"{where}: expected id2label and label2id to agree; got {_show(text)} as "
                f"{by_name[text]} and as {_show(place)}; correct config.json"
            )
    strange = [name for name in label2id if str(name) not in by_name]
    if strange:
        raise HarnessError(
            f"{where}: expected id2label and label2id to agree; got {_show(strange[0])} in label2id alone; "
            "correct config.json"
        )


def _list(values: Any) -> str:
    texts = [
        _show(value) if isinstance(value, str) and not value.isprintable() else str(value) for value in values
    ]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _show(value: Any) -> str:
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
