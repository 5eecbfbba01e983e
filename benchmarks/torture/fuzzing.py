"""Give each reader many broken inputs: every one is read, or refused in one line within seconds."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import random
import signal
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import zstandard
from transformers import PreTrainedTokenizerFast

from benchmarks.common.paths import ROOT
from benchmarks.torture.tally import Tally, run
from harness import ops
from harness.config.load import load_recipe, load_scale
from harness.config.shape import Shape
from harness.data import folder
from harness.data.text import read_lines
from harness.export.record import MADE_BY, read_export
from harness.models.loading.checkpoint import build_model, load_checkpoint, save_checkpoint
from harness.models.loading.folder import open_model_folder
from harness.models.loading.settings import load_config
from harness.models.loading.tokenizer import load_tokenizer
from harness.models.tokenizers import train_wordpiece
from harness.pipeline import Environment, manifest
from harness.report.results import read_results

INPUTS = 10_000
LIMIT_S, _WALL_S = 10, 100
"""Seconds of processor time, and of any time, that an input may take."""
_EACH = 250
"""Inputs that a process reads, so that a crash costs no more."""
_NUMBERS = ("0", "-1", "1e400", "9" * 400, "NaN", "1e-400", "2147483648", "0x10", "1/0", "007", ".inf")
_PIECES = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\t", b"\x1b[31m", b"{", b"[", b"&a ", b"*a ",
    b"]" * 50, b"[" * 20_000, b'{"a":' * 20_000,
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 10**400, 1.5, float("nan"), "", "x", "\x1b[31m", "a" * 5000, [], {},
    [[]], {"a": {}}, [1] * 50, "../x", "/etc/passwd",
)  # fmt: skip


@dataclass(frozen=True)
class Format:
    """A format, a good input of it, and its reader.

    Attributes:
        good: bytes that are read without an error.
        read: reads a file.
        name: of the file.
        as_json: whether values are changed too, not bytes alone.
    """

    good: bytes
    read: Callable[[Path], object]
    name: str
    as_json: bool = False


def fuzz_formats(share: float) -> list[Tally]:
    """Give each reader its broken inputs."""
    with tempfile.TemporaryDirectory() as scratch:
        formats = list_formats(Path(scratch))
        tallies = [
            _fuzz(name, one, Path(scratch), max(1, round(share * INPUTS))) for name, one in formats.items()
        ]
        return [*tallies, _fuzz_ops(max(1, round(share * INPUTS)))]


def _fuzz(name: str, tried: Format, scratch: Path, inputs: int) -> Tally:
    tally = Tally(f"fuzzed {name}")

    def read(seed: int) -> str | None:
        path = scratch / tried.name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = mutate(tried, random.Random(f"{name}{seed}"))
        path.write_bytes(content)
        return _call(lambda: tried.read(path), content)

    _try_in_children(tally, inputs, read)
    (scratch / tried.name).write_bytes(tried.good)
    return tally


def _try_in_children(tally: Tally, inputs: int, read: Callable[[int], str | None]) -> None:
    """Read inputs in processes of their own, each input within a time limit."""
    for start in range(0, inputs, _EACH):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _read_some(range(start, min(start + _EACH, inputs)), read, writer)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
            said = [json.loads(line) for line in lines if line.endswith("\n")]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for problem in said:
            tally.add(problem)
        if len(said) < min(_EACH, inputs - start):
            tally.add(f"input {start + len(said)}: the process ended with {status}")


def _read_some(seeds: range, read: Callable[[int], str | None], writer: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    signal.signal(signal.SIGALRM, _stop)
    signal.signal(signal.SIGPROF, _stop)
    with os.fdopen(writer, "w", encoding="utf-8") as lines:
        for seed in seeds:
            signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
            signal.alarm(_WALL_S)
            try:
                problem = read(seed)
            except _SlowError:
                problem = f"more than {LIMIT_S} s"
            except BaseException as error:  # such as a panic of a library in Rust
                problem = f"{type(error).__name__}: {error}"
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            lines.write(json.dumps(problem and f"input {seed}: {problem}") + "\n")
            lines.flush()
    os._exit(0)


class _SlowError(BaseException):
    """An input took too long."""


def _stop(number: int, frame: object) -> None:
    del number, frame
    raise _SlowError


def _call(read: Callable[[], object], content: object) -> str | None:
    code, line = run(read)
    return f"{line} on {content!r:.80}" if code == 70 else None


def mutate(tried: Format, chance: random.Random) -> bytes:
    """Return a good input with some changes."""
    if tried.as_json and chance.random() < 0.7:
        value = json.loads(tried.good)
        for _ in range(chance.randint(1, 3)):
            value = _change_value(value, chance)
        try:
            return json.dumps(value).encode()
        except RecursionError:  # nested deeper than Python writes
            return b"[" * 1200 + b"]" * 1200
    content = bytearray(tried.good)
    for _ in range(chance.choice((1, 1, 2, 5))):
        _change_bytes(content, chance)
    return bytes(content)


def _change_value(value: Any, chance: random.Random) -> Any:
    """Return a value with one of its parts replaced, removed, added or nested deeper."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        action = chance.random()
        if action < 0.1:
            return {name: one for name, one in value.items() if name != key}
        if action < 0.2:
            return value | {f"{key}2": chance.choice(_VALUES)}
        return value | {key: _change_value(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [*value[:place], _change_value(value[place], chance), *value[place + 1 :]]
    if chance.random() < 0.05:
        for _ in range(chance.choice((30, 600))):
            value = [value]
        return value
    return chance.choice(_VALUES)


def _change_bytes(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content) + 1)
    action = chance.randrange(6)
    if action == 0 and place < len(content):
        content[place] ^= 1 << chance.randrange(8)
    elif action == 1:
        del content[place : place + chance.choice((1, 4, 40, 4000))]
    elif action == 2:
        content[place:place] = chance.choice(_PIECES)
    elif action == 3:
        content[place:place] = content[place : place + chance.choice((4, 40, 400))] * chance.choice(
            (1, 3, 40)
        )
    elif action == 4:
        content[place : place + 1] = chance.choice(_NUMBERS).encode()
    else:
        content[place : place + 4] = bytes(chance.randrange(256) for _ in range(4))


def list_formats(scratch: Path) -> Mapping[str, Format]:
    """Return the formats, with good files in a folder."""
    model = _write_model(scratch / "model")
    data, text = scratch / "data", "Wieħed tnejn.\nTlieta erbgħa.\n\nĦamsa.\n" * 20

    def read_task(task: str) -> Callable[[Path], object]:
        return lambda _: folder.read_task(data, task, "mt")

    words = "# text = Dar kbira .\n1\tDar\t_\tNOUN\t_\t_\t_\t_\t_\t_\n2\tkbira\t_\tADJ\t_\t_\t_\t_\t_\t_\n\n"
    names = "Malta\tB-LOC\nhija\tO\n\nJohn\tB-PER\nBorg\tI-PER\n\n"
    topics = "text\tlabel\n" + "dar kbira\ttown\nbaħar fond\tsea\n"
    for split in ("train", "dev", "test"):
        for name, content in (("pos", words), ("ner", names), ("topic", topics)):
            ending = {"pos": "conllu", "ner": "conll", "topic": "tsv"}[name]
            path = data / name / "mt" / f"{split}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content * 4 if name != "topic" else content, encoding="utf-8")
    results = next((ROOT / "benchmarks" / "records").glob("mt-gurgurov2025-mini_*.json")).read_bytes()
    row = {"precision": "fp32", "file": "onnx/model.onnx", "size_bytes": 3}
    export = {"made_by": MADE_BY, "task": "pos", "language": "mt", "default": "fp32", "files": [row]}
    recipes = ROOT / "harness" / "recipes"

    def read_archive(path: Path) -> object:
        return list(read_lines(path))

    return MappingProxyType(
        {
            "recipe": Format((recipes / "gurgurov2025.yaml").read_bytes(), load_recipe, "recipe.yaml"),
            "scale": Format((ROOT / "harness/scales/mini.yaml").read_bytes(), load_scale, "scale.yaml"),
            "CoNLL-U": Format(words.encode() * 4, read_task("pos"), "data/pos/mt/train.conllu"),
            "IOB2": Format(names.encode() * 4, read_task("ner"), "data/ner/mt/train.conll"),
            "TSV": Format(topics.encode(), read_task("topic"), "data/topic/mt/train.tsv"),
            "gz": Format(gzip.compress(text.encode()), read_archive, "text.txt.gz"),
            "xz": Format(lzma.compress(text.encode()), read_archive, "text.txt.xz"),
            "zst": Format(zstandard.compress(text.encode()), read_archive, "text.txt.zst"),
            "tokenizer.json": Format(
                (model / "tokenizer.json").read_bytes(),
                lambda _: load_tokenizer(open_model_folder(model)),
                "model/tokenizer.json",
                as_json=True,
            ),
            "config.json": Format(
                (model / "config.json").read_bytes(),
                lambda _: load_config(open_model_folder(model)),
                "model/config.json",
                as_json=True,
            ),
            "safetensors": Format(
                (model / "model.safetensors").read_bytes(),
                lambda _: load_checkpoint(model),
                "model/model.safetensors",
            ),
            "manifest": Format(
                _write_manifest(), lambda path: _read_manifest(path.parent), "stage/manifest.json",
                as_json=True,
            ),
            "results.json": Format(results, read_results, "results.json", as_json=True),
            "export.json": Format(
                json.dumps(export).encode(), lambda path: read_export(path.parent), "export/export.json",
                as_json=True,
            ),
        }
    )  # fmt: skip


def _write_model(path: Path) -> Path:
    chance = random.Random(1)
    words = ["".join(chance.choices("abdehiklmnorstwħ", k=chance.randint(2, 7))) for _ in range(300)]
    tokenizer: PreTrainedTokenizerFast = train_wordpiece(
        [" ".join(chance.sample(words, 5)) for _ in words], 120
    )
    shape = Shape(
        family="bert", layers=1, hidden=8, heads=2, ffn=8, vocabulary=len(tokenizer), positions=16, types=2
    )
    save_checkpoint(build_model(shape, 1), tokenizer, path)
    return path


def _write_manifest() -> bytes:
    stage = manifest.Manifest(
        **Environment(versions={"python": "3"}).model_dump(),
        stage="adapt", kind="adapt", version=1, key="0" * 12, config={"seed": 1}, inputs={}, outputs={},
        seed=1, wall_s=1.0, resumed=False, peak_memory_bytes=None, facts={}, started_at="2026",
    )  # fmt: skip
    return stage.to_text().encode()


def _read_manifest(path: Path) -> None:
    """Read a manifest; its reader's own error is a `ValueError` of one line."""
    try:
        manifest.read(path)
    except ValueError as error:
        if "\n" in str(error):
            raise RuntimeError("several lines") from error


def _fuzz_ops(inputs: int) -> Tally:
    """Call the ops with wrong arguments."""
    tally = Tally("fuzzed arguments of the ops")
    good = _list_op_calls()

    def read(seed: int) -> str | None:
        chance = random.Random(seed)
        name = chance.choice(list(good))
        arguments = good[name]()
        for _ in range(chance.randint(1, 2)):
            arguments[chance.choice(list(arguments))] = _choose_argument(chance)
        return _call(
            lambda: getattr(ops, name)(**arguments), (name, {k: type(v) for k, v in arguments.items()})
        )

    _try_in_children(tally, inputs, read)
    return tally


def _choose_argument(chance: random.Random) -> object:
    shape = [chance.choice((0, 1, 2, 3, 5)) for _ in range(chance.randint(0, 4))]
    kind = chance.choice(
        (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool)
    )
    made: tuple[object, ...] = (
        torch.ones(shape, dtype=kind),
        torch.ones(shape, dtype=kind, device="meta"),
        torch.full(shape, float("nan")),
        torch.ones(shape).to_sparse() if shape else None,
        None, [], 3, -1, 10**400, 1e300, float("nan"), True, "x", torch.nn.Linear(3, 2), [torch.ones(2)],
    )  # fmt: skip
    return chance.choice(made)


def _list_op_calls() -> dict[str, Callable[[], dict[str, Any]]]:
    """Return good arguments of the ops, by name."""
    hidden, weight, logits = torch.randn(4, 3), torch.randn(5, 3), torch.randn(4, 5)
    pair = {
        "student_hidden": hidden,
        "student_weight": weight,
        "teacher_hidden": hidden,
        "teacher_weight": weight,
    }
    weights = {"temperature": 2.0, "soft_weight": 0.5, "hard_weight": 0.5, "target": torch.arange(4)}
    states = [torch.randn(2, 4, 3)]
    return {
        "linear_cross_entropy": lambda: {"hidden": hidden, "weight": weight, "target": torch.arange(4)},
        "distillation_loss": lambda: {"student_logits": logits, "teacher_logits": logits, **weights},
        "linear_distillation_loss": lambda: {**pair, **weights},
        "linear_mse_logits_loss": lambda: dict(pair),
        "hidden_state_loss": lambda: {"student_hiddens": states, "teacher_hiddens": states, "kind": "mse"},
        "teacher_gram": lambda: {"teacher_weight": weight},
    }


def read_bombs(share: float) -> list[Tally]:
    """Read small files that would become large, or take long."""
    del share
    tally = Tally("bombs: archives, aliases, depth, keys, sizes")
    with tempfile.TemporaryDirectory() as scratch:
        cases = _list_bombs(Path(scratch))

        def read(number: int) -> str | None:
            path, reader = cases[number]
            code, line = run(lambda: reader(path))
            return None if code == 3 else f"{path.name}: exit {code} {line}"

        _try_in_children(tally, len(cases), read)
    return [tally]


def _list_bombs(scratch: Path) -> list[tuple[Path, Callable[[Path], object]]]:
    lines, one = (b"a" * 99 + b"\n") * 3_000_000, b"a" * 80_000_000
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress,
        "xz": lambda raw: lzma.compress(raw, preset=0),
        "zst": zstandard.compress,
    }

    def read_archive(path: Path) -> object:
        return sum(1 for _ in read_lines(path))

    aliases = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40)
    )
    documents = {
        "aliases": aliases,
        "deep": "a: " + "[" * 100_000,
        "keys": "".join(f"k{n}: 1\n" for n in range(40_000)),
        "self": "a: &a [*a]",
        "digits": "a: " + "9" * 100_000,
    }
    mini = (ROOT / "harness/scales/mini.yaml").read_text()
    keys = ("layers", "hidden", "vocabulary", "positions", "ffn")
    sizes = {
        f"{key}-{value}": mini.replace(f"{key}: ", f"{key}: {value} # ", 1)
        for key in keys
        for value in ("1e8", "1e12")
    }
    cases: list[tuple[Path, Callable[[Path], object]]] = []
    for ending, pack in packers.items():
        for name, raw in (("lines", lines), ("line", one)):
            path = scratch / f"{name}.txt.{ending}"
            path.write_bytes(pack(raw))
            cases.append((path, read_archive))
    for name, text in documents.items():
        for kind, reader in (("recipe", load_recipe), ("scale", load_scale)):
            path = scratch / f"{name}-{kind}.yaml"
            path.write_text(text)
            cases.append((path, reader))
    for name, text in sizes.items():
        path = scratch / f"{name}.yaml"
        path.write_text(text)
        cases.append((path, load_scale))
    return cases
