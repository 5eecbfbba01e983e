"""Every fault of `make torture`, a few tries each."""

from __future__ import annotations

import pytest

from benchmarks.torture import __main__ as torture
from benchmarks.torture import ray_cluster, slurm_cluster
from benchmarks.torture.__main__ import FAULTS, tabulate
from benchmarks.torture.fuzzing import fuzz_formats
from benchmarks.torture.tally import Tally, fork, run, wait
from harness.errors import HarnessError


def test_short_fuzzing_loses_nothing():
    tallies = fuzz_formats(0.002)
    assert [line for tally in tallies for line in tally.lost] == []
    assert len(tallies) == 15
    assert {tally.tries for tally in tallies} == {20}


def raise_error(error):
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 0), (HarnessError("x: one line"), 3), (HarnessError("a\nb"), 70), (KeyError(1), 70)],
)
def test_try_has_an_exit_code(error, code):
    def work():
        if error is not None:
            raise_error(error)

    assert run(work)[0] == code
    assert wait(fork(work)) == code


def test_table_lists_what_was_lost(monkeypatch, capsys):
    good, bad = Tally("a fault"), Tally("another")
    good.add(None)
    bad.add("why\nit was lost")
    assert tabulate([good, bad]) == [
        "| fault | tries | survived | lost |",
        "|:--|--:|--:|--:|",
        "| a fault | 1 | 1 | 0 |",
        "| another | 1 | 0 | 1 |",
        "",
        "- another: why it was lost",
    ]
    monkeypatch.setattr(torture, "FAULTS", {"one": lambda _: [bad]} | dict(FAULTS))
    monkeypatch.setattr("sys.argv", ["torture", "--only", "one"])
    assert torture.main() == 1
    assert "another: 0/1 survived" in capsys.readouterr().out


def test_record_is_written_in_pieces(tmp_path):
    one, two, again = Tally("one", 3), Tally("two", 5, ["why"]), Tally("one", 9)
    for tallies in ([one], [two], [again]):
        path = torture.add_to_record(tmp_path, tallies)
    text = path.with_suffix(".md").read_text()
    assert "| two | 5 | 4 | 1 |\n| one | 9 | 9 | 0 |" in text
    assert len(list(tmp_path.iterdir())) == 2


def test_ray_that_is_not_installed_is_not_tried(monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _: None)
    (tally,) = ray_cluster.kill_on_ray(1.0)
    assert tally.fault.endswith("(not tried: ray is not installed)")
    assert tally.tries == 0


def test_slurm_that_is_not_installed_is_not_tried(monkeypatch):
    monkeypatch.setattr(slurm_cluster, "_PATH", "")
    (tally,) = slurm_cluster.run_on_slurm(1.0)
    assert tally.fault.startswith("grid as job arrays of Slurm (not tried: munged, slurmctld, slurmd, sbatch")
    assert tally.tries == 0
