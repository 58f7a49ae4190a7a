"""How many CPU threads an engine should use, from what the system grants this process.

Too many threads wait for busy cores and cost much more than they gain; too few leave cores idle.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal

ENVIRONMENT_VARIABLE = "OMP_NUM_THREADS"
"""Read by torch and its mathematics libraries when they are imported."""

Threads = int | Literal["share"] | None
"""What the user asked for: a number, or the cores divided among the workers (share). None: the default."""


def choose_threads(asked: Threads, *, cores: int, workers: int = 1, environment: Mapping[str, str] = os.environ) -> int:
    """Threads of one process, at least 1.

    The default is `OMP_NUM_THREADS`, or all `cores` if it is not set. Only `share` depends on `workers`, because the number of threads may
    change the last digits of a score.
    """
    if asked == "share":
        return max(1, cores // max(1, workers))
    if asked is not None:
        return max(1, asked)
    # it may be a list, one number for each level of nesting
    outermost = environment.get(ENVIRONMENT_VARIABLE, "").partition(",")[0].strip()
    return int(outermost) if outermost.isdecimal() and int(outermost) > 0 else max(1, cores)


def set_threads(count: int) -> None:
    """Set the number of threads of libraries that are imported later, of child processes, and of torch if it is imported."""
    os.environ[ENVIRONMENT_VARIABLE] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


def usable_cores(root: Path = Path("/"), *, processors: Collection[int] | None = None) -> int:
    """Physical cores that this process may use, at least 1: within its affinity and its control group's quota.

    Two hyper-threads of a core count once. `root` has `proc` and `sys`. `processors` are its logical processors (default: its
    affinity).
    """
    if processors is None:
        affinity = getattr(os, "sched_getaffinity", None)
        processors = affinity(0) if affinity is not None else range(os.cpu_count() or 1)
    cores = len({_siblings(root, processor) for processor in processors})
    return max(1, min([cores, *(int(quota) for quota in _quotas(root))]))


def _siblings(root: Path, processor: int) -> str:
    """The logical processors of a core, as the kernel writes them; only this processor if the kernel does not list them."""
    topology = root / f"sys/devices/system/cpu/cpu{processor}/topology"
    return _read(topology / "core_cpus_list") or _read(topology / "thread_siblings_list") or str(processor)


def _quotas(root: Path) -> Iterator[float]:
    """The limit of each control group of this process, as a number of processors; nothing if there is no limit."""
    mount = root / "sys/fs/cgroup"
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            for folder in _upwards(mount, path):
                quota, _, period = (_read(folder / "cpu.max") or "").partition(" ")
                yield from _share(quota, period)
        elif "cpu" in controllers.split(","):
            for place in (mount / controllers, mount / "cpu"):
                for folder in _upwards(place, path):
                    yield from _share(_read(folder / "cpu.cfs_quota_us") or "", _read(folder / "cpu.cfs_period_us") or "")


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The group's folder and those above it. In a container the path may be the host's, of which only the top is mounted."""
    parts = [part for part in path.split("/") if part and part != ".."]
    for length in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:length])


def _share(quota: str, period: str) -> Iterator[float]:
    # "max" and -1 mean no limit
    if quota.isdecimal() and period.isdecimal() and int(period) > 0:
        yield int(quota) / int(period)


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
