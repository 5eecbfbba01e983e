"""Terminals that are not UTF-8, paths that are no text, memory that is used up: none is a fault."""

from __future__ import annotations

import io
import os
import sys

import pytest
import torch

from harness import cli

COMMANDS = (
    ("recipe", "list"),
    ("recipe", "show", "gurgurov2025"),
    ("languages",),
    ("plan", "mt", "--scale", "mini"),
    ("reproduce", "--help"),
)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that runs a command on streams of an encoding; returning its code and outputs."""
    monkeypatch.chdir(tmp_path)

    def run(encoding: str, *words: str) -> tuple[int, str, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        for stream in streams:
            stream.flush()
        said, complained = (stream.buffer.getvalue().decode(encoding) for stream in streams)
        return int(ended.value.code or 0), said, complained

    return run


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1251"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_output_falls_back_to_characters_that_the_terminal_shows(encoding, words, run):
    code, said, complained = run(encoding, *words)
    assert (code, complained) == (0, "")
    _, whole, _ = run("utf-8", *words)
    assert len(said.splitlines()) == len(whole.splitlines())
    assert "?" not in said or "?" in whole


def test_typography_becomes_ascii_and_letters_their_escapes(run):
    _, said, _ = run("ascii", "recipe", "list")
    assert "Vuli\\u0107" in said
    assert "–" not in said
    assert "\\u20" not in said


def test_path_of_bytes_that_are_no_text_is_named(run):
    path = os.fsdecode(b"/tmp/\xff-none")
    for encoding in ("utf-8", "ascii"):
        code, _, complained = run(encoding, "export", path, "--task", "topic", "--out", "out")
        assert code == 1
        assert "\\udcff-none': expected the folder of a saved model; got nothing there" in complained


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "memory: expected room for the model and its data; got none left; free memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 5 bytes"), "memory: expected room"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.\nOf it"),
            "memory: expected room",
        ),
        (
            UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"),
            "text: expected UTF-8; got bytes",
        ),
    ],
)
def test_environment_that_is_at_fault_is_said_so(error, line, run, monkeypatch):
    def fail(**_):
        raise error

    monkeypatch.setattr(cli, "app", fail)
    code, _, complained = run("utf-8", "languages")
    assert code == 1
    assert complained.startswith(f"harness: {line}")
    assert len(complained.splitlines()) == 1
