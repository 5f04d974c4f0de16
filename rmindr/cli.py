"""The words a person types: dev, web, worker, migrate, remind, replan, doctor, queue.

What a word needs is imported when it is typed: a look at the queue must not wait for the web tier and the database's tools.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from rmindr import __version__, queue_commands
from rmindr.errors import RmindrError, SettingsError
from rmindr.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="rmindr: hand over a message and an instant; the mail goes out when it is due, once.",
)

app.add_typer(queue_commands.app, name="queue")

# Heroku's router keeps connections for 90 s; a server that closes earlier answers the next request with a reset.
_KEEP_ALIVE_S = 95
# An open page that never ends must not hold up a stop until the process is killed.
_STOP_S = 20


@app.command()
def dev() -> None:
    """Run everything, on this machine only. Queue, database, mail inbox, web and worker; Ctrl-C ends it all."""
    # Its servers are not among what a dyno installs.
    from rmindr import dev as everything

    everything.main(_port())


@app.command()
def web() -> None:
    """Run the web tier. It listens on PORT, in WEB_CONCURRENCY processes."""
    import uvicorn

    from rmindr.web.heads import PatientProtocol

    settings = _settings()
    uvicorn.run(
        "rmindr.cli:web_app",
        factory=True,
        host=settings.bind_host,
        port=settings.port,
        workers=settings.web_concurrency,
        http=PatientProtocol,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_S,
        # The client's address is read from the end of X-Forwarded-For that the router wrote (web/access.py).
        proxy_headers=False,
        server_header=False,
        log_config=None,
        access_log=False,
    )


def web_app() -> Any:
    """The web application of this process's environment; each web process calls it once."""
    from rmindr import log
    from rmindr.web.app import create_app
    from rmindr.web.live import on_stop

    log.configure()
    app = create_app(_settings())
    on_stop(app.state.end_news)
    return app


@app.command("worker")
def run_worker() -> None:
    """Run a worker. It sends what is due, keeps the queue filled, and logs what happens."""
    from rmindr import log, worker

    settings = _settings()
    log.configure()
    _run(worker.run(settings))


@app.command()
def migrate() -> None:
    """Bring the database up to date. Harmless when it is there already; all or nothing when it is not."""
    from rmindr import log, schema

    settings = _settings()
    log.configure()
    schema.migrate(settings.database_url.get_secret_value())
    typer.echo("the database is up to date")


@app.command()
def remind(
    message: Annotated[str, typer.Argument(help="What the mail says.")],
    at: Annotated[str, typer.Option(help="When: «tomorrow 9am», «in 2h», «every weekday at 8», 2026-12-01T09:00.")],
    to: Annotated[str, typer.Option(help="The address that it goes to.")],
    zone: Annotated[str, typer.Option(help="On whose clock, e.g. Europe/Paris; by default this machine's.")] = "",
    repeat: Annotated[str | None, typer.Option(help="weekdays, monthly on the day, FREQ=WEEKLY;BYDAY=MO …")] = None,
    deadline: Annotated[str | None, typer.Option(help="After which it is of no use: 10:15, «in 2 hours».")] = None,
    subject: Annotated[str | None, typer.Option(help="By default made of the message.")] = None,
    url: Annotated[str, typer.Option(envvar="REMIND_URL", help="A service elsewhere; by default this one.")] = "",
    token: Annotated[str, typer.Option(envvar="REMIND_TOKEN", help="Your token there.", show_envvar=True)] = "",
) -> None:
    """Schedule a reminder from here. Into this instance's database, or by the API of another one."""
    from rmindr import remind_command

    zone = zone or remind_command.here()
    wish = remind_command.Wish(
        message=message, at=at, to=to, zone=zone, repeat=repeat, deadline=deadline, subject=subject
    )
    if url:
        remind_command.remind_at(url, token or None, wish)
    else:
        _run(remind_command.remind(_settings(), wish))


@app.command()
def replan() -> None:
    """Find reminders anew by the zone rules in use. Lists what has moved; workers do so as they start."""
    from rmindr import remind_command

    _run(remind_command.replan(_settings()))


@app.command()
def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each finding.")] = False,
    name_server: Annotated[str | None, typer.Option(help="Which to ask for DNS records, e.g. 9.9.9.9.")] = None,
) -> None:
    """Look for what is wrong with this instance. Changes nothing; ends with 1 where something is, else with 0."""
    from rmindr.doctor import report

    _run(report.tell(as_json=as_json, name_server=name_server))


@app.command()
def version() -> None:
    """Print the version of this release."""
    typer.echo(__version__)


def main() -> None:
    """Run the command; an error that a person can mend is a sentence, not a traceback."""
    try:
        app(prog_name="rmindr")
    except SettingsError as error:
        for variable, problem in error.problems.items():
            print(f"rmindr: {variable} {problem}", file=sys.stderr)
        raise SystemExit(2) from None
    except RmindrError as error:
        print(f"rmindr: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _port() -> int:
    """PORT alone: the other settings of `dev` are its own."""
    return Settings.load(access="open", host="127.0.0.1").port


def _settings() -> Settings:
    return Settings.load()


def _run(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop, as the web tier runs: its timers and sockets are what punctuality is made of."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
