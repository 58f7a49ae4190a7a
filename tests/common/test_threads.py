"""The number of threads follows affinity, hyper-threads and quotas, the environment, and the user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_lighteval.common.threads import choose_threads, set_threads, usable_cores


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Eight logical processors on four cores: 0 and 4 are one core, 1 and 5, 2 and 6, 3 and 7."""
    for processor in range(8):
        write(tmp_path / f"sys/devices/system/cpu/cpu{processor}/topology/core_cpus_list", f"{processor % 4},{processor % 4 + 4}")
    return tmp_path


def test_two_hyper_threads_of_a_core_count_once(machine: Path) -> None:
    assert usable_cores(machine, processors=range(8)) == 4


def test_only_processors_of_the_affinity_count(machine: Path) -> None:
    assert usable_cores(machine, processors={1, 5, 6}) == 2


def test_the_older_name_of_the_topology_is_read_too(tmp_path: Path) -> None:
    for processor in range(2):
        write(tmp_path / f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list", "0-1")

    assert usable_cores(tmp_path, processors=range(2)) == 1


def test_every_processor_is_a_core_if_the_system_lists_no_siblings(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, processors=range(6)) == 6


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        pytest.param({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2, id="container"),
        pytest.param({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, 4, id="no-limit"),
        pytest.param({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"}, 1, id="less-than-one"),
        pytest.param({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "350000 100000"}, 3, id="a-part-of-a-core-is-none"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/user/job/step",
                "sys/fs/cgroup/user/cpu.max": "300000 100000",
                "sys/fs/cgroup/user/job/step/cpu.max": "max 100000",
            },
            3,
            id="a-group-above",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/\n3:cpu,cpuacct:/docker/abc\n0::/",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            2,
            id="version-1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "3:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            4,
            id="version-1-no-limit",
        ),
    ],
)
def test_the_quota_of_a_control_group_limits_the_cores(machine: Path, files: dict[str, str], cores: int) -> None:
    for name, text in files.items():
        write(machine / name, text)

    assert usable_cores(machine, processors=range(8)) == cores


def test_this_machine_has_a_core_for_us() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_the_default_does_not_depend_on_the_number_of_workers(workers: int) -> None:
    assert choose_threads(None, cores=8, workers=workers, environment={}) == 8


@pytest.mark.parametrize(
    ("asked", "environment", "threads"),
    [
        pytest.param(None, {"OMP_NUM_THREADS": "3"}, 3, id="environment"),
        pytest.param(None, {"OMP_NUM_THREADS": "4,2"}, 4, id="nested"),
        pytest.param(None, {"OMP_NUM_THREADS": ""}, 8, id="empty"),
        pytest.param(None, {"OMP_NUM_THREADS": "many"}, 8, id="no-number"),
        pytest.param(2, {"OMP_NUM_THREADS": "3"}, 2, id="the-user-before-the-environment"),
        pytest.param("share", {"OMP_NUM_THREADS": "3"}, 2, id="share"),
    ],
)
def test_the_user_comes_before_the_environment_before_the_cores(asked: int | None, environment: dict[str, str], threads: int) -> None:
    assert choose_threads(asked, cores=8, workers=4, environment=environment) == threads


def test_more_workers_than_cores_have_one_thread_each() -> None:
    assert choose_threads("share", cores=2, workers=5) == 1


def test_a_torch_that_is_imported_already_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    try:
        set_threads(3)

        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (3, "3")
    finally:
        torch.set_num_threads(before)
