"""What tests need from npm, installed once, exactly as a lock file has it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest


def install(folder: Path, who: str) -> None:
    """Fill the folder's node_modules where they are not what its lock file says; `who` needs them."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.fail(f"{who} need {program}: install it with `apt install nodejs npm`.", pytrace=False)
    with (folder / "package.json").open() as turn:
        # Of several test processes one installs; the others wait, and find it done.
        fcntl.flock(turn, fcntl.LOCK_EX)
        _install(folder)


def _install(folder: Path) -> None:
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".lock.sha256"
    if stamp.exists() and stamp.read_text() == lock:
        return
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    installing = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if installing.returncode:
        pytest.fail(f"`{' '.join(command)}` failed in {folder}:\n{installing.stderr[-2000:]}", pytrace=False)
    stamp.write_text(lock)
