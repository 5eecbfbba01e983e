"""What this process may use: files of control groups of both versions, in containers and outside."""

from __future__ import annotations

import os

import pytest

from harness.limits import Limits

MEMINFO = (
    "MemTotal:       4000000 kB\nMemFree:  10 kB\nMemAvailable:    2000000 kB\nHugePages_Total:       0\n"
)


@pytest.fixture
def system(tmp_path):
    """Return a function that writes the files of a system and returns its limits."""

    def system(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Limits(tmp_path)

    return system


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n"}, 4.0),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
            },
            2.0,
        ),
        ({"proc/self/cgroup": "0::/of/the/host\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/x\n2:memory:/docker/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        ({"proc/self/cgroup": "nonsense\n0\n\n", "sys/fs/cgroup/cpu.max": "0 0\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 0\n"}, None),
    ],
)
def test_the_quota_is_the_least_of_the_groups(files, quota, system):
    assert system(files).read_cpu_quota() == quota


@pytest.mark.parametrize(
    ("files", "limit", "free"),
    [
        ({}, None, None),
        ({"proc/meminfo": MEMINFO}, 4096000000, 2048000000),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/a\n",
                "sys/fs/cgroup/a/memory.max": "1000000\n",
                "sys/fs/cgroup/a/memory.current": "900000\n",
                "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 50000\n",
            },
            1000000,
            150000,
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/a\n",
                "sys/fs/cgroup/a/memory.max": "max\n",
                "sys/fs/cgroup/a/memory.current": "900000\n",
            },
            4096000000,
            2048000000,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n",
                "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "5000\n",
                "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "6000\n",
                "sys/fs/cgroup/memory/x/memory.stat": "inactive_file 1\ntotal_inactive_file 400\n",
            },
            5000,
            0,
        ),
    ],
)
def test_free_memory_is_the_least_of_machine_and_groups(files, limit, free, system):
    limits = system(files)
    assert (limits.read_memory_limit(), limits.read_free_memory()) == (limit, free)


@pytest.mark.parametrize(
    ("loadavg", "running"),
    [("0.50 0.40 0.30 3/900 77\n", 2.0), ("7.25 1.00 0.30 1/900 77\n", 7.25), ("nonsense\n", 0.0)],
)
def test_running_tasks_are_those_of_now_or_of_the_last_minute(loadavg, running, system):
    assert system({"proc/loadavg": loadavg}).count_running() == running


def test_a_system_without_these_files_states_no_limit(system):
    limits = system({})
    assert limits.count_running() == 0.0
    assert limits.count_processors() == len(os.sched_getaffinity(0))
