"""A process gives its rights away, for good: limits, another user, Landlock, a seccomp filter. Linux; elsewhere only the limits."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NO_NEW_PRIVILEGES, _SECCOMP, _DUMPABLE, _PARENT_DEATH, _KEEP_CAPABILITIES = 38, 22, 4, 1, 8
_OVERRIDE, _READ_SEARCH = 1, 2
_FILTER_MODE = 2
_KILL_PROCESS, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_CLONE_THREAD = 0x00010000

_CALLS: Mapping[str, tuple[int, int | None]] = {
    # name: x86_64, aarch64 (None: it does not exist there), from the kernel's tables (asm/unistd_64.h, asm-generic/unistd.h)
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242), "bind": (49, 200), "listen": (50, 201),
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
    "kcmp": (312, 272), "setpriority": (141, 140), "sched_setaffinity": (203, 122), "ioprio_set": (251, 30),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274), "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "fanotify_init": (300, 262),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "quotactl": (179, 60), "acct": (163, 89),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_setup": (206, 0), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "mknod": (133, None), "mknodat": (259, 33), "truncate": (76, 45),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "lchown": (94, None),
    "fchown": (93, 55), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "personality": (135, 92), "syslog": (103, 116), "vhangup": (153, 58), "lookup_dcookie": (212, 18), "nfsservctl": (180, 42),
}  # fmt: skip
"""What no program of a benchmark needs, and what Landlock leaves open: chmod and its kin, UDP, System V's shared memory."""
_BY_ARGUMENT: Sequence[tuple[tuple[int, int], int, tuple[int, ...]]] = (
    ((72, 25), 1, (8, 15)),  # fcntl: F_SETOWN, F_SETOWN_EX, with which a pipe sends signals to anybody
    ((16, 29), 1, (0x8901, 0x8902, 0x5412)),  # ioctl: FIOSETOWN, SIOCSPGRP, TIOCSTI
)
"""Calls that are refused for some values of an argument: numbers, which argument, its values."""
_CLONE, _CLONE3, _TGKILL, _PRLIMIT = (56, 220), (435, 435), (234, 131), (302, 261)
_ABORT = 6
_MACHINES: Mapping[str, tuple[int, int]] = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""The kernel's number of an architecture, and its column above."""


def set_limits(*, cpu_seconds: int, memory_bytes: int, file_bytes: int, threads: int) -> None:
    """Limits that end the process, or fail what it asks for. The second at which it can catch the signal is followed by one it cannot.

    `threads`: of its user, with those that other programs have.
    """
    _limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1)
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 256)
    _limit(resource.RLIMIT_NPROC, threads)


def _limit(what: int, most: int, hardest: int | None = None) -> None:
    _, hard = resource.getrlimit(what)
    ceiling = most if hardest is None else hardest
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses some
        resource.setrlimit(what, (min(most, ceiling), ceiling))


def become(user: int) -> None:
    """Go on as another user, with one capability at most: to read what only root may, where Landlock lets it read. Raises OSError.

    Python's own library may lie in root's home folder.
    """
    libc = _libc()
    os.setgroups([])
    os.setresgid(user, user, user)
    _check(libc.prctl(_KEEP_CAPABILITIES, 1, 0, 0, 0), "prctl")
    os.setresuid(user, user, user)
    for capability in (_READ_SEARCH, _OVERRIDE):
        if _set_capabilities(1 << capability):
            return
    drop_capabilities()


def drop_capabilities() -> None:
    """Give up every capability, as the first user of a namespace has all of them in it. Raises OSError."""
    if not _set_capabilities(0):
        raise OSError(ctypes.get_errno(), "capset")


def _set_capabilities(bits: int) -> bool:
    """The only ones that are left, of the first 32. False: one of them is not there."""
    header = struct.pack("=Ii", 0x20080522, 0)
    return bool(_libc().capset(ctypes.c_char_p(header), ctypes.c_char_p(struct.pack("=6I", bits, bits, 0, 0, 0, 0))) == 0)


def hide_memory() -> None:
    """No other process of the user may read this one's memory, or trace it."""
    _check(_libc().prctl(_DUMPABLE, 0, 0, 0, 0), "prctl")


def die_with_parent() -> None:
    """End when the parent ends, however it ends."""
    if sys.platform == "linux":
        _check(_libc().prctl(_PARENT_DEATH, 9, 0, 0, 0), "prctl")


def forbid_new_rights() -> None:
    """Nothing that is executed from here on can give rights back. Raises OSError."""
    _check(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")


def filter_calls() -> None:
    """Refuse every system call of the list, new processes, and signals but its own abort. Raises OSError.

    A refused call fails with EPERM, so that a library that only probes goes on.
    """
    found = _MACHINES.get(platform.machine())
    if found is None:
        raise OSError(errno.ENOSYS, f"no filter of system calls is known for {platform.machine()}")
    program = b"".join(_program(*found, os.getpid()))
    buffer = ctypes.create_string_buffer(program, len(program))
    described = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer)))
    _check(_libc().prctl(_SECCOMP, _FILTER_MODE, ctypes.byref(described), 0, 0), "seccomp")


def _program(machine: int, column: int, pid: int) -> Iterator[bytes]:
    """The filter in the kernel's classic BPF: a load, comparisons that jump over the next instruction, and returns."""

    def load(offset: int) -> bytes:
        return struct.pack("HBBI", 0x20, 0, 0, offset)

    def skip_unless(value: int, steps: int) -> bytes:
        return struct.pack("HBBI", 0x15, 0, steps, value)

    def give(verdict: int) -> bytes:
        return struct.pack("HBBI", 0x06, 0, 0, verdict)

    refused, unknown = give(_ERRNO | errno.EPERM), give(_ERRNO | errno.ENOSYS)
    number, arguments = load(0), [load(16 + 8 * index) for index in range(6)]
    yield load(4)
    yield struct.pack("HBBI", 0x15, 1, 0, machine)
    yield give(_KILL_PROCESS)
    yield number
    # x32's numbers on x86_64
    yield struct.pack("HBBI", 0x35, 0, 1, 0x40000000)
    yield give(_KILL_PROCESS)
    yield from (skip_unless(_CLONE3[column], 1), unknown)
    # clone is for threads alone
    some_thread = struct.pack("HBBI", 0x45, 1, 0, _CLONE_THREAD)
    yield from (skip_unless(_CLONE[column], 4), arguments[0], some_thread, refused, give(_ALLOW))
    of_itself = (skip_unless(pid, 3), arguments[2], skip_unless(_ABORT, 1), give(_ALLOW))
    yield from (skip_unless(_TGKILL[column], 6), arguments[0], *of_itself, refused)
    # limits of its own, which it may only lower
    yield from (skip_unless(_PRLIMIT[column], 4), arguments[0], skip_unless(0, 1), give(_ALLOW), refused)
    for numbers, argument, values in _BY_ARGUMENT:
        refusals = [step for value in values for step in (skip_unless(value, 1), refused)]
        yield from (skip_unless(numbers[column], len(refusals) + 2), arguments[argument], *refusals, give(_ALLOW))
    for either in _CALLS.values():
        call = either[column]
        if call is not None:
            yield from (skip_unless(call, 1), refused)
    yield give(_ALLOW)


def landlock(readable: Sequence[str], scratch: str | None) -> Any:
    """A set of rules: these may be read, and the scratch folder be written. It is in force once `restrict` is called.

    Raises OSError without Landlock, ImportError without the package.
    """
    from landlockpy import AccessFS, Ruleset, Scope, abi_version

    if abi_version() < 1:
        raise OSError(errno.ENOSYS, "the kernel has no Landlock")
    reading = AccessFS.READ_FILE | AccessFS.READ_DIR
    rules = Ruleset(scoped=Scope.SIGNAL | Scope.ABSTRACT_UNIX_SOCKET)
    for path in readable:
        if os.path.isdir(path):
            rules.allow_path(path, reading)
        elif os.path.exists(path):
            rules.allow_path(path, AccessFS.READ_FILE)
    for path in ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"):
        if os.path.exists(path):
            rules.allow_path(path, AccessFS.READ_FILE | (AccessFS.WRITE_FILE if path == "/dev/null" else AccessFS.READ_FILE))
    if scratch is not None:
        writing = AccessFS.WRITE_FILE | AccessFS.MAKE_REG | AccessFS.MAKE_DIR | AccessFS.REMOVE_FILE | AccessFS.REMOVE_DIR
        rules.allow_path(scratch, reading | writing | AccessFS.TRUNCATE)
    return rules


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
