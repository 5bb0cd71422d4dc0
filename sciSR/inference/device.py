"""Where and how a network runs: device, precision, threads, memory at hand."""

from __future__ import annotations

import ctypes
import logging
import os
import sys

import torch

from sciSR.errors import UsageError

log = logging.getLogger("sciSR")

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_tuned = False


def choose_device(name: str = "auto") -> torch.device:
    """Turn ``auto|cpu|cuda|cuda:N|mps`` into a device that is there.

    Raises
    ------
    UsageError
        Unknown name, or a device that this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}", remedy="use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError("no CUDA device on this machine", remedy="use --device cpu or auto")
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise UsageError(f"there are only {torch.cuda.device_count()} CUDA devices, not {name}")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("no MPS device on this machine", remedy="use --device cpu or auto")
    elif device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"unsupported device {name!r}", remedy="use auto, cpu, cuda, cuda:N or mps")
    return device


def tune_allocator() -> None:
    """Keep freed activations in the process (glibc only).

    glibc gives every freed block above 32 MB back to the system; the network's next layer then faults all its pages
    in again, which costs a factor of two. Set SCISR_MALLOPT=0 to leave the allocator alone.
    """
    global _tuned
    if _tuned or not sys.platform.startswith("linux") or os.environ.get("SCISR_MALLOPT") == "0":
        return
    _tuned = True
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_ARENA_MAX, 1)  # other threads' own arenas hold blocks of 64 MB at most
    except (OSError, AttributeError):  # musl and others
        log.debug("the C library has no mallopt; nothing tuned")


def available_memory(device: torch.device) -> int:
    """Bytes that can be used without swapping, as far as the system tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = []
    try:
        with open("/proc/meminfo") as stream:
            limits += [int(line.split()[1]) * 1024 for line in stream if line.startswith("MemAvailable:")]
        with open("/sys/fs/cgroup/memory.max") as stream, open("/sys/fs/cgroup/memory.current") as used:
            text = stream.read().strip()
            if text != "max":
                limits.append(int(text) - int(used.read()))
    except (OSError, ValueError):
        pass
    return min(limits) if limits else 4 << 30


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator" in text or "out of memory" in text.lower()
    )
