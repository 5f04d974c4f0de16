"""`rmindr queue …`: see and steer the queue from the command line; of all settings it needs REDIS_URL and RMINDR_QUEUE_PREFIX.

door.py opens the queue and says what went wrong; telling.py prints; the rest are the words, by what they are for.
"""

from __future__ import annotations

import typer

from rmindr.queue_commands import acting, looking, steering, watching

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at the queue, act on it, steer it: the one on REDIS_URL. Every word prints --json, too.",
)
for words in (looking.app, acting.app, steering.app, watching.app):
    app.add_typer(words)
app.add_typer(steering.schedules, name="schedules")
