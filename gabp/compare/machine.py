"""What a timing was taken on: processor, memory, libraries and the state of the code."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import gabp

__all__ = ["describe_commit", "describe_machine"]

LIBRARIES = ("gabp", "torch", "numpy", "scipy")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, system, threads, versions and the date."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    return platform.processor() or platform.machine()


def describe_commit(folder: Path | None = None) -> dict[str, Any]:
    """The commit of a checkout, and how many files in it differ; empty where it is none.

    The folder is by default the one that gabp runs from, which for an installed gabp is no checkout.
    """
    folder = folder or Path(gabp.__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return {}
    return {
        "commit": _git(folder, "rev-parse", "HEAD"),
        "changed_files": len(_git(folder, "status", "--porcelain", "--untracked-files=no").splitlines()),
    }


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()
