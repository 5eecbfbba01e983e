"""Lines of text files: encodings, compressions, and what is refused."""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from harness.data.text import read_lines, split_lines
from harness.errors import HarnessError

TEXT = "Il-kelb jiekol.\nĦobż u ilma.\n\nTieni.\n"
LINES = [(1, "Il-kelb jiekol."), (2, "Ħobż u ilma."), (3, ""), (4, "Tieni.")]
PACKED = {
    ".txt": lambda raw: raw,
    ".txt.gz": gzip.compress,
    ".txt.xz": lzma.compress,
    ".txt.zst": zstandard.compress,
}


@pytest.mark.parametrize("ending", PACKED)
def test_every_compression_has_the_same_numbered_lines(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(PACKED[ending](TEXT.encode()))
    assert list(read_lines(path)) == LINES


def test_a_zstd_file_of_several_frames_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.zst"
    path.write_bytes(
        zstandard.compress(b"one\ntw") + zstandard.compress(b"o\n" * 400_000) + zstandard.compress(b"z")
    )
    lines = [line for _, line in read_lines(path)]
    assert (lines[:3], len(lines), lines[-1]) == (["one", "two", "o"], 400_002, "z")


def test_only_newlines_end_a_line_and_the_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffa\u2028b\x0cc\r\nd\x85e".encode())
    assert list(read_lines(path)) == [(1, "a\u2028b\x0cc"), (2, "d\x85e")]


@pytest.mark.parametrize("ending", [".txt.gz", ".txt.xz", ".txt.zst"])
def test_a_cut_file_is_refused_with_its_name(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    whole = PACKED[ending](("".join(f"line {number}\n" for number in range(5000))).encode())
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(
        HarnessError, match=rf"a{ending}: expected a whole {ending[5:]} file; got broken data after line"
    ):
        list(read_lines(path))


def test_a_file_of_another_compression_than_its_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.zst"
    path.write_bytes(b"plain text\n")
    with pytest.raises(HarnessError, match="broken data after line 0"):
        list(read_lines(path))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "expected lines of text; got an empty file"),
        (b"good\n\xe4h\n", r"a.txt:2: expected UTF-8; got byte 0xe4 at column 1"),
        (b"good\na\0b\n", r"a.txt:2: expected text; got a NUL character"),
    ],
)
def test_bad_bytes_are_refused_with_their_line(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    with pytest.raises(HarnessError, match=message):
        list(read_lines(path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"none\.txt: expected a file to read; got 'No such file"):
        list(read_lines(tmp_path / "none.txt"))


BOMBS = {
    ".txt.gz": gzip.compress,
    ".txt.xz": lambda raw: lzma.compress(raw, preset=0),
    ".txt.zst": zstandard.compress,
}


def read_in_process(path: Path) -> tuple[int, str, int]:
    """Read a file in a process of its own; return the lines, the error, and the peak memory in bytes."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom harness.data.text import read_lines\n"
        "from harness.pipeline.memory import read_peak_bytes\n"
        "n, said = 0, ''\n"
        "try:\n    for n, _ in read_lines(Path(sys.argv[1])): pass\n"
        "except Exception as error: said = f'{type(error).__name__} {error}'\n"
        "print(n); print(said); print(read_peak_bytes() or 0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    number, said, peak = ended.stdout.splitlines()
    return int(number), said, int(peak)


@pytest.mark.parametrize("lines", [True, False], ids=["many lines", "one line"])
@pytest.mark.parametrize("ending", BOMBS)
def test_decompression_bomb_is_one_line_in_little_memory(tmp_path: Path, ending: str, lines: bool) -> None:
    path = tmp_path / f"bomb{ending}"
    path.write_bytes(BOMBS[ending]((b"a" * 79 + b"\n" if lines else b"a" * 80) * 2_000_000))
    number, said, peak = read_in_process(path)
    assert said.startswith(f"HarnessError {path}:")
    expected = "times the bytes of the compressed file" if lines else "lines of at most 16,777,216 bytes"
    assert expected in said
    assert number < 1_500_000
    assert peak < 300e6


def test_longest_line_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.txt"
    path.write_text("a" * 200 + "\nb\n")
    monkeypatch.setenv("HARNESS_LONGEST_LINE", "100")
    with pytest.raises(HarnessError, match=r"long\.txt:1: expected lines of at most 100 bytes; got a longer"):
        list(read_lines(path))
    monkeypatch.setenv("HARNESS_LONGEST_LINE", "201")
    assert len(list(read_lines(path))) == 2
    monkeypatch.setenv("HARNESS_LONGEST_LINE", "many")
    with pytest.raises(HarnessError, match="HARNESS_LONGEST_LINE: expected a number of bytes; got 'many'"):
        list(read_lines(path))


@given(st.lists(st.text(st.characters(exclude_characters="\n\r")), min_size=1, max_size=5))
def test_only_a_line_feed_ends_a_line(lines):
    """U+0085, U+2028, a form feed and other separators of ``str.splitlines`` are characters of the text."""
    for end in ("\n", "\r\n"):
        assert split_lines(end.join([*lines, ""])) == lines
    assert split_lines("a\rb") == ["a\rb"]
    assert split_lines("") == []
