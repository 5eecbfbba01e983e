"""Web corpora: labels, layouts, files of three formats, leaks, near-duplicates, and what is made again."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from harness.cli.app import app
from harness.data.folder import read_corpus
from harness.data.leakage import ScoredTexts, read_scored_texts
from harness.data.web.document_selection import DocumentSelection
from harness.data.web.language_labels import parse_labels
from harness.data.web.records import SourceFile, list_files
from harness.data.web.shards import ShardWriter, split_document
from harness.data.web.workspace import Workspace
from harness.errors import HarnessError, UsageError

ROOT = Path(__file__).parents[2]
LONG = os.environ.get("HARNESS_EXHAUSTIVE") == "1"
SCORED = "Il-qattus ta' Marija jorqod kuljum fuq is-sodda."


@pytest.mark.parametrize(
    ("given", "label", "language"),
    [
        ("mt", "mlt_Latn", "mt"), ("mt", "mlt-Latn", "mt"), ("mt", "mt", "mt"), ("mt", "mlt", "mt"),
        ("mt", "mlt_Arab", None), ("mt", "eng_Latn", None), ("tl", "fil_Latn", "tl"), ("tl", "tgl", "tl"),
        ("xyz", "xyz_Cyrl", "xyz"), ("sr=srp_Cyrl", "srp_Latn", None),
        ("sr=srp_Cyrl+srp_Latn", "srp_Latn", "sr"),
        ("mt,sw", "swh_Latn", "sw"), ("ar", "arb_Arab", "ar"),
    ],
)  # fmt: skip
def test_labels_of_published_corpora_are_understood(given, label, language):
    assert parse_labels(given).find(label) == language


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("", "--lang: expected languages, as mt,sw; got none"),
        ("mt,mt", "--lang: expected each language once; got mt twice"),
        ("../mt", r"--lang: expected CODE or CODE=LABEL\+LABEL; got '../mt'"),
        ("mt=a+/", r"--lang: expected CODE or CODE=LABEL\+LABEL; got 'mt=a\+/'"),
    ],
)
def test_wrong_list_of_languages_is_one_line(given, line):
    with pytest.raises(UsageError, match=line):
        parse_labels(given)


def write_json_lines(path: Path, records: list[object]) -> SourceFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return SourceFile(path, path.relative_to(path.parents[1]).as_posix())


def read(file: SourceFile, lang: str = "mt", **fields: str) -> list[tuple[str, str]]:
    return list(DocumentSelection(parse_labels(lang), **fields).read_documents(file, Counter()))


@pytest.mark.parametrize(
    "record",
    [
        {"text": "bonġu", "lang": ["mlt_Latn", "eng_Latn"], "prob": [0.9, 0.1], "id": "1"},
        {"text": "bonġu", "document_lang": "mt", "langs": ["mt"]},
        {"text": "bonġu", "language": "mlt", "language_script": "Latn", "minhash_cluster_size": 1},
        {"content": "bonġu", "identification-label": "mlt-Latn"},
        {"content": "bonġu", "metadata": {"identification": {"label": "mt", "prob": 1.0}}},
    ],
)
def test_published_layouts_are_known(record, tmp_path):
    others = json.loads(json.dumps(record).replace("mlt", "eng").replace('"mt"', '"en"'))
    file = write_json_lines(tmp_path / "data/0.jsonl.gz", [record, others])
    assert read(file) == [("mt", "bonġu")]


def test_parquet_and_wet_are_read(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = __import__("pyarrow").table({"text": ["bonġu", "hello"], "language": ["mlt", "eng"],
                                         "language_script": ["Latn", "Latn"]})  # fmt: skip
    parquet.write_table(table, tmp_path / "0.parquet")
    assert read(SourceFile(tmp_path / "0.parquet", "0.parquet")) == [("mt", "bonġu")]
    pytest.importorskip("warcio")
    given = (("warcinfo", "", "x"), ("conversion", "mlt,eng", "bonġu"), ("conversion", "eng", "hello"))
    records = b"".join(gzip.compress(make_wet_record(*one)) for one in given)
    (tmp_path / "0.warc.wet.gz").write_bytes(records)
    assert read(SourceFile(tmp_path / "0.warc.wet.gz", "x")) == [("mt", "bonġu")]
    (tmp_path / "1.warc").write_bytes(make_wet_record("response", "mlt", "<p>bonġu"))
    with pytest.raises(HarnessError, match=r"1.warc: expected text records .*; got 1 others; extract"):
        read(SourceFile(tmp_path / "1.warc", "x"))
    (tmp_path / "2.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(HarnessError, match=r"2.parquet: expected a whole Parquet file; got broken data"):
        read(SourceFile(tmp_path / "2.parquet", "x"))
    (tmp_path / "2.wet").write_bytes(b"no WARC at all")
    with pytest.raises(
        HarnessError, match=r"2.wet: expected a whole WARC file of UTF-8 text; got broken data"
    ):
        read(SourceFile(tmp_path / "2.wet", "x"))


def make_wet_record(kind: str, label: str, text: str) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:1>\r\nContent-Type: text/plain\r\n"
    named = f"WARC-Identified-Content-Language: {label}\r\n" if label else ""
    return f"{head}{named}Content-Length: {len(text.encode())}\r\n\r\n{text}\r\n\r\n".encode()


def test_folder_is_the_label_where_no_field_is(tmp_path):
    records: list[object] = [{"text": "bonġu"}]
    assert read(write_json_lines(tmp_path / "mlt_Latn/0.jsonl", records)) == [("mt", "bonġu")]
    assert read(write_json_lines(tmp_path / "eng_Latn/0.jsonl", records)) == []
    plain = write_json_lines(tmp_path / "data/0.jsonl", records)
    assert read(plain, unlabelled="mt") == [("mt", "bonġu")]
    with pytest.raises(HarnessError, match=r"0.jsonl: expected a label of the language, in a field or as a"):
        read(plain)


def test_stated_fields_are_read(tmp_path):
    file = write_json_lines(tmp_path / "data/0.jsonl", [{"body": "bonġu", "meta": {"l": "mt"}}])
    assert read(file, text_field="body", label_field="meta.l") == [("mt", "bonġu")]
    with pytest.raises(
        HarnessError, match=r"0.jsonl:1: expected the field text or content; got body, meta; name"
    ):
        read(file)
    with pytest.raises(HarnessError, match=r"0.jsonl:1: expected the field body and x; got body, meta"):
        read(file, text_field="body", label_field="x")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{"text": "a", "lang": "mt"}\n{"text"\n', r":2: expected a JSON object on each line; got "),
        (b"[1]\n", r":1: expected a JSON object on each line; got list"),
        (b'{"text": "\xff"}\n', r":1: expected UTF-8; got byte 0xff"),
        (b"", r": expected lines of text; got an empty file"),
    ],
)
def test_broken_json_lines_are_named_with_their_line(content, line, tmp_path):
    (tmp_path / "0.jsonl").write_bytes(content)
    with pytest.raises(HarnessError, match=rf"0.jsonl{line}"):
        read(SourceFile(tmp_path / "0.jsonl", "0.jsonl"))


def test_files_are_listed_by_name_and_hidden_ones_left_out(tmp_path):
    for name in (
        "src/b/1.jsonl.zst",
        "src/a.parquet",
        "src/.cache/x.jsonl",
        "src/c.txt",
        "src/d.warc.wet.gz",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = [file.name for file in list_files([tmp_path / "src"])]
    assert names == ["src/a.parquet", "src/b/1.jsonl.zst", "src/d.warc.wet.gz"]
    with pytest.raises(UsageError, match=r"nowhere: expected a file or folder of a web corpus; got none"):
        list_files([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match=r"c.txt: expected files \*\.jsonl.*; got none; name others"):
        list_files([tmp_path / "src/c.txt"])


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([SCORED], []),
        (["a", f"Before: {SCORED} And after.", "b"], ["a", "b"]),
        (["a", SCORED.replace(".", " ."), "b"], ["a", "b"]),
        (["a", SCORED[:20], SCORED[20:] + " more", "b"], ["a", "b"]),
        (["Iva.", "Iva. Iva."], ["Iva. Iva."]),
        ([SCORED[:-2]], [SCORED[:-2]]),
        ([], []),
    ],
)
def test_lines_with_scored_texts_are_dropped(lines, kept):
    assert ScoredTexts([SCORED, "Iva.", "", " "]).drop(lines) == kept


def test_scored_texts_of_all_tasks_and_languages_are_read(tmp_path):
    for language, text in (("mt", "wieħed"), ("sw", "moja")):
        folder = tmp_path / "topic" / language
        folder.mkdir(parents=True)
        for part in ("train", "dev", "test"):
            (folder / f"{part}.tsv").write_text(f"text\tlabel\n{text} {part}\tx\n", encoding="utf-8")
    assert read_scored_texts(tmp_path) == {"wieħed dev", "wieħed test", "moja dev", "moja test"}
    (tmp_path / "topic/sw/test.tsv").write_text("broken\n", encoding="utf-8")
    with pytest.raises(HarnessError, match=r"sw/test.tsv:1: expected the header"):
        read_scored_texts(tmp_path)


def test_what_a_text_file_cannot_hold_becomes_a_space():
    assert split_document("a\0b \ud800c\r\n\n d  e\u2028f") == ["a b c", "d e f"]


def test_shard_has_its_name_only_when_it_is_whole(tmp_path):
    with pytest.raises(TypeError), ShardWriter(tmp_path / "0.txt.zst") as writer:
        writer.write([None])
    assert not (tmp_path / "0.txt.zst").exists()


@pytest.fixture
def source(tmp_path):
    """Three languages, of which one document in ten has a near-duplicate, and a scored text."""
    drawn = random.Random(0)
    for label in ("mlt_Latn", "swh_Latn", "eng_Latn"):
        words = ["".join(drawn.choices("abdeghikmnortu", k=drawn.randint(2, 9))) for _ in range(2000)]
        documents = ["\n".join(" ".join(drawn.choices(words, k=30)) for _ in range(4)) for _ in range(40)]
        copies = [one.replace(one.split()[50], "ieħor", 1) for one in documents[:4]]
        records: list[object] = [{"text": one, "lang": [label]} for one in documents + copies]
        write_json_lines(tmp_path / "src" / label / "0.jsonl", records[::2])
        write_json_lines(
            tmp_path / "src" / label / "1.jsonl.gz", [*records[1::2], {"text": SCORED, "lang": [label]}]
        )
    topic = tmp_path / "data/topic/mt"
    topic.mkdir(parents=True)
    for part in ("train", "dev", "test"):
        (topic / f"{part}.tsv").write_text(f"text\tlabel\n{SCORED}\tx\n", encoding="utf-8")
    return tmp_path / "src"


def list_contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def start(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "harness", "corpus", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)})


def make(*arguments: object) -> None:
    app(args=["corpus", *map(str, arguments), "--workers", "1"], standalone_mode=False)


def wait_for_text(killed: subprocess.Popen[bytes], out: Path) -> None:
    while killed.poll() is None and not list(out.glob(".corpus-*/tasks/text/completions/*")):
        time.sleep(0.02)


def test_killed_command_goes_on_and_ends_with_the_same_files(source, tmp_path):
    pytest.importorskip("datatrove")
    options = [source, "--lang", "mt,sw", "--data", tmp_path / "data"]
    with start(*options, "--out", tmp_path / "killed", "--workers", "2") as killed:
        wait_for_text(killed, tmp_path / "killed")
        killed.send_signal(signal.SIGKILL)
    for out in ("killed", "whole"):
        make(*options, "--out", tmp_path / out)
    assert list_contents(tmp_path / "killed") == list_contents(tmp_path / "whole")
    assert [one.name for one in (tmp_path / "killed").iterdir()] == ["corpus"]
    manifest = json.loads((tmp_path / "whole/corpus/mt/manifest.json").read_text())
    assert manifest["documents"] == {"read": 45, "near_duplicates": 4, "empty": 1, "kept": 40}
    assert manifest["scored_lines"] == 1
    assert len(manifest["sources"]) == 6
    documents = list(read_corpus(tmp_path / "whole", "mt"))
    assert len(documents) == 40
    assert not any(SCORED in line for document in documents for line in document)
    before = list_contents(tmp_path / "whole")
    make(*options, "--out", tmp_path / "whole")
    assert list_contents(tmp_path / "whole") == before


def test_language_without_text_is_named_with_the_labels_that_were_read(source, tmp_path, refused):
    pytest.importorskip("datatrove")
    code, line = refused("corpus", source, "--lang", "fr,mt", "--out", tmp_path / "out", "--workers", 1)
    assert code == 1
    assert line.startswith("fr: expected text in the corpus; got none, but documents labelled eng_Latn (45)")
    assert sorted(one.name for one in (tmp_path / "out/corpus").iterdir()) == ["mt"]


def test_broken_file_is_one_line_and_the_command_goes_on_when_it_is_whole(source, tmp_path, refused):
    pytest.importorskip("datatrove")
    whole = (source / "swh_Latn/1.jsonl.gz").read_bytes()
    (source / "swh_Latn/1.jsonl.gz").write_bytes(whole[:-9])
    command = (source, "--lang", "sw", "--out", tmp_path / "out")
    code, line = refused("corpus", *command, "--workers", 1)
    assert code == 1
    assert "swh_Latn/1.jsonl.gz: expected a whole gz file; got broken data after line 0" in line
    (source / "swh_Latn/1.jsonl.gz").write_bytes(whole)
    make(*command)
    assert (tmp_path / "out/corpus/sw/manifest.json").is_file()
    (source / "swh_Latn/0.jsonl").write_text("{}", encoding="utf-8")
    code, line = refused("corpus", *command, "--workers", 1)
    assert (
        "corpus/sw: expected no text yet, or text made from the same sources and settings; got other" in line
    )


def test_file_that_changes_meanwhile_is_named(source, tmp_path):
    steps = pytest.importorskip("harness.data.web.pipeline_steps", exc_type=ImportError)
    workspace = Workspace(tmp_path / "out", "0" * 64)
    reader = steps.ReadDocuments(
        list_files([source / "mlt_Latn"]), DocumentSelection(parse_labels("mt")), workspace
    )
    assert len(list(reader.run())) == 45
    (source / "mlt_Latn/0.jsonl").write_text('{"text": "a", "lang": "mt"}\n', encoding="utf-8")
    with pytest.raises(HarnessError, match=r"0.jsonl: expected the file as it was at the beginning; it has"):
        list(reader.run())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--lang", "mt", "--executor", "spark"], "--executor: expected local, slurm or ray; got 'spark'"),
        (["--lang", "mt", "--executor", "slurm"], "--executor slurm: expected --partition and --time"),
        (["--lang", "mt,sw", "--unlabelled"], "--unlabelled: expected one language; got several"),
        (["--lang", "mt", "--data", "nowhere"], "--data: expected a data folder with tasks; got none at"),
        (["--lang", "mt"], "datatrove."),
    ],
)
def test_wrong_options_and_a_missing_extra_are_one_line(options, line, source, refused, monkeypatch):
    for module in [name for name in sys.modules if name.startswith(("datatrove", "harness.data.web.pipe"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "harness.data.web.datatrove_executors", raising=False)
    monkeypatch.setitem(sys.modules, "datatrove", None)
    code, said = refused("corpus", source, "--out", "out", *options)
    assert said.startswith(line)
    assert code == (1 if line == "datatrove." else 2)
    assert line != "datatrove." or said.endswith("is not installed; pip install 'harness-encoders[web]'")


SBATCH = """#!/bin/bash
while [[ $1 == --* ]]; do last=$1; shift; done
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' $1)
echo "$last" >> "$SBATCH_LOG"
for task in $(seq 0 "$last"); do
  export SLURM_ARRAY_TASK_ID=$task SLURM_JOB_ID=1 SLURM_NODELIST=here
  bash "$1" > /dev/null 2>> "$SBATCH_LOG.err" || exit 1
done
echo "Submitted batch job $(wc -l < "$SBATCH_LOG")"
"""
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do [[ $1 == -n ]] && shift; shift; done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Programs in place of Slurm's, which run each job at once."""
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("scontrol", "#!/bin/sh\necho here\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SBATCH_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.skipif(not LONG, reason="HARNESS_EXHAUSTIVE=1 runs all executors: a minute")
def test_slurm_and_ray_write_the_files_of_one_process(source, tmp_path, slurm):
    options = [source, "--lang", "mt,sw", "--data", tmp_path / "data"]
    make(*options, "--out", tmp_path / "local")
    make(
        *options, "--out", tmp_path / "slurm", "--executor", "slurm", "--partition", "p", "--time", "1:00:00"
    )
    assert list_contents(tmp_path / "slurm/corpus") == list_contents(tmp_path / "local/corpus")
    assert (tmp_path / "log").read_text().split() == ["5", "0", "13", "0", "0", "0", "5", "0", "0", "0"]
    pytest.importorskip("ray", reason="the executor ray needs: pip install ray")
    make(*options, "--out", tmp_path / "ray", "--executor", "ray")
    assert list_contents(tmp_path / "ray/corpus") == list_contents(tmp_path / "local/corpus")


def test_slurm_that_is_missing_is_one_line(source, tmp_path, refused, monkeypatch):
    pytest.importorskip("datatrove")
    monkeypatch.setenv("PATH", str(tmp_path))
    options = ["--executor", "slurm", "--partition", "p", "--time", "1:00:00"]
    code, line = refused("corpus", source, "--lang", "mt", "--out", tmp_path / "out", *options)
    assert code == 1
    assert line.startswith("slurm: expected sbatch to take the jobs; got '[Errno 2] No such file")


@pytest.mark.skipif(not LONG, reason="HARNESS_EXHAUSTIVE=1 kills a worker")
def test_worker_that_is_killed_ends_the_command_with_a_line(source, tmp_path):
    command = [sys.executable, "-m", "harness", "corpus", source, "--lang", "mt", "--out", tmp_path / "out"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*map(str, command), "--workers", "2"], stderr=subprocess.PIPE, env=env) as run:
        while run.poll() is None:
            workers = [one for one in psutil.Process(run.pid).children(recursive=True) if not one.children()]
            if len(workers) > 2:  # and the process that watches over shared resources
                workers[-1].kill()
                break
            time.sleep(0.02)
        said = run.communicate()[1].decode()
    assert run.returncode == 1
    assert said.splitlines()[-1].startswith(
        "harness: corpus: expected workers that end their tasks; got one that"
    )
    make(*command[4:])
    assert (tmp_path / "out/corpus/mt/manifest.json").is_file()
