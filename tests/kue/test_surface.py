"""The checklist of Kue's API on the page about the queue has every name that the original itself exports."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Final

import pytest

from tests.kue.original import FOLDER
from tests.test_docs import section, spans

pytestmark = pytest.mark.kue

_NAMES: Final = """
    const kue = require('kue'), Worker = require('kue/lib/queue/worker')
    const own = each => Object.getOwnPropertyNames(each)
    const named = [kue, kue.prototype, kue.Job, kue.Job.prototype, Worker.prototype].flatMap(own)
    console.log(JSON.stringify(named))
    process.exit(0)
"""
# What every function and class of JavaScript has.
_OF_ALL: Final = {"length", "name", "arguments", "caller", "prototype", "constructor", "super_"}


@pytest.mark.usefixtures("installed")
def test_every_name_that_kue_exports_is_in_the_checklist() -> None:
    told = subprocess.run(["node", "-e", _NAMES], cwd=FOLDER, capture_output=True, check=True, text=True).stdout
    exported = {name for name in json.loads(told) if name not in _OF_ALL and not name.startswith("_")}

    listed = {word for span in spans(section("## Kue's API, line by line")) for word in re.findall(r"\w+", span)}

    assert {"createQueue", "failedAttempt", "rangeByType", "resume"} <= exported
    assert exported <= listed
