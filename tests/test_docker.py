"""How a run is started in a container, with a stub of docker."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STUB = """#!/bin/bash
case $1 in
  version) [[ -n $ENGINE ]] && echo "$ENGINE" ;;
  image) [[ -e $STUB_OUT/built ]] ;;
  build) printf '%s\\n' "$@" > "$STUB_OUT/build"; [[ -z $BROKEN ]] && touch "$STUB_OUT/built" ;;
  run) [[ " $* " == *" --entrypoint test "* ]] && { [[ -z $BLIND ]]; exit; }
    printf '%s\\n' "$@" >> "$STUB_OUT/run"; echo -- >> "$STUB_OUT/run" ;;
esac
"""


@pytest.fixture
def call(tmp_path):
    """Run a script with stubs of nvidia-smi and of docker, which writes its arguments to files."""
    for name, text in (("docker", STUB), ("nvidia-smi", '#!/bin/sh\necho "$GPUS"\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def call(script, *arguments, **environment):
        return subprocess.run(
            [str(ROOT / "docker" / script), *map(str, arguments)],
            env={
                "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "ENGINE": "20.10",
                "DOCKER": str(tmp_path / "docker"), "STUB_OUT": str(tmp_path), **environment,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )  # fmt: skip

    return call


@pytest.fixture
def read_runs(tmp_path):
    """Return a function that reads the arguments of each `docker run`."""

    def read_runs():
        return [one.split("\n") for one in (tmp_path / "run").read_text().split("\n--\n") if one]

    return read_runs


@pytest.mark.parametrize(
    ("asked", "engine", "goes", "says"),
    [
        ("auto", "20.10", "docker", "runner: docker 20.10, as the image harness:cpu-"),
        ("auto", "", "local", "runner: local, no container engine answers"),
        ("local", "20.10", "local", "runner: local, as asked"),
        ("docker", "20.10", "docker", "runner: docker 20.10, as asked"),
    ],
)
def test_runner_follows_the_choice_or_the_engine(asked, engine, goes, says, call):
    assert call("image").returncode == 0
    done = call("runner", asked, ENGINE=engine)
    assert (done.returncode, done.stdout) == (0, f"{goes}\n")
    assert done.stderr.startswith(says)


def test_auto_builds_no_image_and_says_how_to_get_one(call, tmp_path):
    done = call("runner", "auto")
    assert (done.returncode, done.stdout) == (0, "local\n")
    assert "the image of this checkout is not built (`make image` builds it" in done.stderr
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"BLIND": "1"}, f"as a container of Docker 20.10 does not start or cannot read {ROOT}"),
        (
            {"GPUS": "GPU 0: H100"},
            "so that the GPU is used (DEVICE=cuda uses it in a container)",
        ),
    ],
    ids=["no files", "a GPU"],
)
def test_runner_falls_back_and_says_why(environment, says, call):
    assert call("image").returncode == 0
    done = call("runner", "auto", **environment)
    assert (done.returncode, done.stdout) == (0, "local\n")
    assert done.stderr.splitlines()[-1] == f"runner: local, {says}"


def test_gpu_with_the_cuda_image_stays_in_a_container(call):
    assert call("image", DEVICE="cuda").returncode == 0
    assert call("runner", "auto", GPUS="GPU 0: H100", DEVICE="cuda").stdout == "docker\n"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("docker", "RUNNER=docker: expected a container engine; got none that answers to '"),
        ("podman", "RUNNER: expected auto, docker or local; got 'podman'"),
    ],
)
def test_unknown_runner_is_refused_in_one_line(asked, message, call):
    done = call("runner", asked, ENGINE="")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_image_is_built_once_for_equal_content(call, tmp_path):
    first = call("image")
    assert first.stdout.startswith("harness:cpu-")
    assert "--target\ncpu\n" in (tmp_path / "build").read_text()
    (tmp_path / "build").unlink()
    assert call("image").stdout == first.stdout
    assert not (tmp_path / "build").exists()
    assert call("image", BASE_IMAGE="another").stdout != first.stdout


def test_image_takes_base_and_pip_configuration(call, tmp_path):
    call(
        "image",
        DEVICE="cuda",
        BASE_IMAGE="base:1",
        TORCH="torch==9",
        PIP_CONFIG="/a/pip.conf",
        BUILD_FLAGS="-q --x",
    )
    flags = (tmp_path / "build").read_text()
    for flag in (
        "--target\ncuda",
        "BASE_IMAGE=base:1",
        "TORCH=torch==9",
        "--secret\nid=pip,src=/a/pip.conf",
        "-q\n--x",
    ):
        assert flag in flags


@pytest.mark.parametrize(
    ("environment", "code", "message"),
    [
        ({"DEVICE": "tpu"}, 2, "DEVICE: expected cpu or cuda; got 'tpu'"),
        ({"BROKEN": "1"}, 1, "could not be built, see above; RUNNER=local runs without containers"),
    ],
)
def test_failing_build_is_reported(environment, code, message, call):
    done = call("image", **environment)
    assert done.returncode == code
    assert message in done.stderr.splitlines()[-1]


def test_container_may_do_little(call, read_runs):
    call("reproduce", "mt")
    for flags in read_runs():
        assert {"--read-only", "--cap-drop", "--pids-limit", "--memory"} <= set(flags)
        assert flags[flags.index("--memory-swap") + 1] == flags[flags.index("--memory") + 1]
        assert flags[flags.index("--cap-drop") + 1] == "ALL"
        assert flags[flags.index("--tmpfs") + 1] == "/tmp"
        assert flags[flags.index("--security-opt") + 1] == "no-new-privileges"


def test_only_downloads_have_a_network(call, read_runs):
    assert call("reproduce", "mt", "--runs", "my runs", HF_TOKEN="secret").returncode == 0
    download, reproduce = read_runs()
    assert download[-4:] == ["download", "mt", "--runs", "my runs"]
    assert "--network" not in download
    assert "HF_TOKEN" in download
    assert reproduce[-4:] == ["reproduce", "mt", "--runs", "my runs"]
    assert reproduce[reproduce.index("--network") + 1] == "none"
    assert "HF_TOKEN" not in reproduce
    assert not any("secret" in one for one in [*download, *reproduce])


def test_run_belongs_to_the_caller_and_keeps_its_paths(call, read_runs, tmp_path):
    for name in ("my data", "teacher"):
        (tmp_path / name).mkdir()
    (tmp_path / "my.yaml").touch()
    call(
        "reproduce", "mt", "--recipe", "gurgurov2025", "--scale", "my.yaml", "--runs", "out/runs",
        "--data", "my data", "--teacher", tmp_path / "teacher", CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    flags = read_runs()[1]
    assert f"{os.getuid()}:{os.getgid()}" in flags
    assert flags[flags.index("--workdir") + 1] == str(tmp_path)
    assert {one for one in flags if one.startswith("type=bind")} == {
        *(
            f"type=bind,source={tmp_path / name},target={tmp_path / name},readonly"
            for name in ("my data", "teacher", "my.yaml")
        ),
        f"type=bind,source={tmp_path / 'out/runs'},target={tmp_path / 'out/runs'}",
        f"type=bind,source={tmp_path / 'cache'},target=/cache",
    }
    assert (tmp_path / "out/runs").is_dir()


def test_folders_of_the_scale_are_mounted(call, read_runs, tmp_path):
    for name in ("my data", "teacher", "tasks"):
        (tmp_path / name).mkdir()
    (tmp_path / "my.yaml").write_text(
        "teacher:\n  folder: teacher\n"
        "corpus: {source: folder, folder: 'my data', held_out_fraction: 0.02}\n"
        f"tasks:\n  source: folder\n  folder: {tmp_path}/tasks  # a remark\n"
    )
    call("reproduce", "mt", "--scale", "my.yaml", "--teacher", "teacher")
    readonly = [one for one in read_runs()[1] if one.endswith(",readonly")]
    assert sorted(readonly) == [
        f"type=bind,source={tmp_path / name},target={tmp_path / name},readonly"
        for name in ("my data", "my.yaml", "tasks", "teacher")
    ]


def test_only_the_cuda_image_asks_for_a_gpu(call, read_runs):
    call("reproduce", "mt")
    call("reproduce", "mt", DEVICE="cuda", RUN_FLAGS="--cpuset-cpus 1")
    cpu, cuda = read_runs()[1], read_runs()[3]
    assert "--gpus" not in cpu
    assert "--gpus\nall" in "\n".join(cuda)
    assert "--cpuset-cpus\n1" in "\n".join(cuda)
    assert all("--no-healthcheck" in one for one in (cpu, cuda))


def test_settings_reach_the_container(call, read_runs):
    call("reproduce", "mt", HARNESS_OPS="reference", OMP_NUM_THREADS="2")
    for flags in read_runs():
        assert "--env\nHARNESS_OPS" in "\n".join(flags)
        assert "--env\nOMP_NUM_THREADS" in "\n".join(flags)
