"""Linux namespaces without another program: a process gets users, processes, a network and a root folder of its own."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from typing import Any

from pytest_lighteval.sandbox.inside import confine

_NEW_USER, _NEW_MOUNTS, _NEW_PIDS, _NEW_NETWORK = 0x10000000, 0x00020000, 0x20000000, 0x40000000
_NEW_IPC, _NEW_NAMES, _NEW_CGROUP = 0x08000000, 0x04000000, 0x02000000
_READ_ONLY, _NO_SETUID, _NO_DEVICES, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_LOCKED = {2: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}
"""Flags of statvfs -> of mount, which a namespace may not take off."""
_DETACH = 2
_INSIDE = 1000
"""The user's number inside."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def enter(settings: Mapping[str, Any]) -> None:
    """Go on as the first process of new namespaces, whose root has the readable paths and a scratch folder alone.

    The calling process waits for the end and passes it on. Raises OSError where the kernel does not let a user do so.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    told, tell = os.pipe()
    done, say = os.pipe()
    first = os.fork()
    if first:
        # only a process outside may map more than one user
        if os.read(told, 1):
            _map_users(first, whole=settings["become"] is not None)
            os.write(say, b"x")
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    confine.die_with_parent()
    kinds = _NEW_USER | _NEW_MOUNTS | _NEW_PIDS | _NEW_NETWORK | _NEW_IPC | _NEW_NAMES | _NEW_CGROUP
    _check(libc.unshare(kinds), "unshare")
    os.write(tell, b"x")
    os.close(say)
    if not os.read(done, 1):
        raise OSError("the users of the namespace cannot be set")
    for descriptor in (told, tell, done):
        os.close(descriptor)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    confine.die_with_parent()
    _make_root(libc, settings)


def _map_users(pid: int, *, whole: bool) -> None:
    """Let the process's namespace have this user alone, or as root all users that there are here."""
    for name, own in (("uid_map", os.geteuid()), ("gid_map", os.getegid())):
        text = f"{_INSIDE} {own} 1"
        if whole:
            with open(f"/proc/self/{name}") as file:
                text = "\n".join(f"{first} {first} {count}" for first, _, count in (line.split() for line in file))
        elif name == "gid_map":
            with open(f"/proc/{pid}/setgroups", "w") as file:
                file.write("deny")
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)


def _make_root(libc: Any, settings: Mapping[str, Any]) -> None:
    def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
        arguments = [None if text is None else text.encode() for text in (source, target, kind, data)]
        _check(libc.mount(*arguments[:3], ctypes.c_ulong(flags), arguments[3]), f"mount {target}")

    root = settings["root"]
    mount(None, "/", None, _RECURSIVE | _PRIVATE)
    mount("tmpfs", root, "tmpfs", _NO_SETUID | _NO_DEVICES, "size=1m,mode=755")
    scratch = root + settings["scratch"]
    os.makedirs(scratch, exist_ok=True)
    mount("tmpfs", scratch, "tmpfs", _NO_SETUID | _NO_DEVICES, f"size={settings['scratch_bytes']},mode=1777")
    for path in (*settings["readable"], *_DEVICES):
        target = root + path
        if not os.path.lexists(path) or os.path.lexists(target):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.islink(path):
            os.symlink(os.readlink(path), target)
            continue
        if os.path.isdir(path):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        mount(path, target, None, _BIND | _RECURSIVE)
        if path not in _DEVICES:
            held = os.statvfs(path).f_flag
            kept = sum(flag for of_path, flag in _LOCKED.items() if held & of_path)
            mount(None, target, None, _REMOUNT | _BIND | _READ_ONLY | _NO_SETUID | _NO_DEVICES | kept)
    old = root + "/old"
    os.mkdir(old)
    _check(libc.syscall(ctypes.c_long(_PIVOT_ROOT), root.encode(), old.encode()), "pivot_root")
    os.chdir("/")
    _check(libc.umount2(b"/old", _DETACH), "umount")
    os.rmdir("/old")
    mount(None, "/", None, _REMOUNT | _BIND | _READ_ONLY | _NO_SETUID | _NO_DEVICES)


_PIVOT_ROOT = 41 if sys.platform == "linux" and os.uname().machine == "aarch64" else 155


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
