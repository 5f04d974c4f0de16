"""How the findings are told: a line each for a person, the worst marked; or JSON for a program."""

from __future__ import annotations

import json
import os
import sys
from typing import Final

from rmindr.doctor import Level, examine

_MARKS: Final = {Level.GOOD: "✓", Level.NOTE: "·", Level.WARNING: "!", Level.ERROR: "✗"}


async def tell(*, as_json: bool, name_server: str | None) -> None:
    """Print each finding as it is made. Raises SystemExit 1 where one is an error."""
    worst = Level.GOOD
    async for each in examine(os.environ, name_server=name_server):
        if as_json:
            print(json.dumps(each.as_dict(), ensure_ascii=False), flush=True)
        else:
            print(f"{_MARKS[each.level]} {each.name}: {each.sentence} {each.remedy}".rstrip(), flush=True)
        if each.level is Level.ERROR:
            worst = Level.ERROR
    sys.exit(worst is Level.ERROR)
