"""How a letter leaves, against a mail server that says whatever it is told to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

import pytest
import trustme
from pydantic import SecretStr

from rmindr.mail.letters import Letter
from rmindr.mail.smtp import Patience, Phase, Transport, Undelivered, Verdict, verdict
from rmindr.settings import SmtpServer
from tests.servers import free_port
from tests.sink import Drop, Reply, Session, Sink, held

PASSWORD: Final = "correct horse"
# For servers that never answer; everything else is given the time it takes.
SHORT: Final = Patience(
    command=timedelta(seconds=0.2),
    before_body=timedelta(seconds=5),
    after_dot=timedelta(seconds=0.2),
    courtesy=timedelta(seconds=0.2),
)
# Longer than anything takes on a busy machine: waiting this long in vain is a failure, never a measurement.
PATIENCE_S: Final = 20.0

Security = Literal["plain", "starttls", "tls"]


def a_letter(data: bytes = b"Subject: hi\r\n\r\nhi\r\n", *, to: str = "me@example.org") -> Letter:
    return Letter(sender="bounces@example.org", recipient=to, message_id="<1@example.org>", data=data)


def server_of(
    sink: Sink, security: Security = "plain", *, host: str = "127.0.0.1", username: str | None = None
) -> SmtpServer:
    password = SecretStr(PASSWORD) if username is not None else None
    return SmtpServer(host=host, port=sink.port, security=security, username=username, password=password)


@asynccontextmanager
async def transport_to(
    server: SmtpServer | Sink, *, connections: int = 1, patience: Patience | None = None
) -> AsyncIterator[Transport]:
    """A transport that is tended, and says goodbye at the end."""
    if isinstance(server, Sink):
        server = server_of(server)
    transport = Transport(server, hello="rmindr.example.org", connections=connections, patience=patience)
    tending = asyncio.create_task(transport.tend())
    await asyncio.sleep(0)
    try:
        yield transport
    finally:
        tending.cancel()
        await asyncio.wait([tending])


async def send(transport: Transport, letter: Letter | None = None) -> str:
    letter = letter or a_letter()
    async with transport.transaction(letter) as transaction:
        await transaction.data()
        return await transaction.body(letter)


async def refused(transport: Transport, letter: Letter | None = None) -> Undelivered:
    with pytest.raises(Undelivered) as caught:
        await send(transport, letter)
    return caught.value


async def until_ended(session: Session) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await session.ended.wait()


async def never(session: Session) -> str:
    return await session.never()


def drop(session: Session) -> str:
    raise Drop


def tell(*lines: str) -> Callable[[Session], str]:
    """Answers with these lines, one after another, the last for ever."""
    left = list(lines)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


# The good way


async def test_a_letter_leaves_by_these_words_and_no_others(sink: Sink) -> None:
    async with transport_to(sink) as transport:
        reply = await send(transport)

    assert reply == "250 2.0.0 Ok: queued"
    assert sink.sessions[0].lines == [
        "EHLO rmindr.example.org",
        "MAIL FROM:<bounces@example.org> SIZE=19",
        "RCPT TO:<me@example.org>",
        "DATA",
        "QUIT",
    ]
    (mail,) = sink.mails
    assert (mail.sender, mail.recipient, mail.data) == ("bounces@example.org", "me@example.org", a_letter().data)


async def test_the_servers_words_come_back_on_one_printable_line(sink: Sink) -> None:
    sink.replies["body"] = "250-2.0.0 Ok:\r\n250 queued \x1b[31mas\x07 4F1"

    async with transport_to(sink) as transport:
        assert await send(transport) == "250 2.0.0 Ok: queued [31mas 4F1"


async def test_a_server_that_forwards_has_taken_the_recipient(sink: Sink) -> None:
    sink.replies["RCPT"] = "251 2.1.5 will forward"

    async with transport_to(sink) as transport:
        assert (await send(transport)).startswith("250")


@pytest.mark.parametrize(
    "data",
    [
        b".\r\n..\r\n.hidden\r\nend.\r\n",
        b"Subject: hi\r\n\r\n.\r\n",
        b"Subject: hi\r\n\r\none\r\n.\r\nRSET\r\nMAIL FROM:<x@y.z>\r\n",
        b"",
        b"x" * 998 + b"\r\n",
    ],
)
async def test_lines_that_begin_with_dots_end_nothing(sink: Sink, data: bytes) -> None:
    async with transport_to(sink) as transport:
        await send(transport, a_letter(data))

    assert [mail.data for mail in sink.mails] == [data]
    assert sink.sessions[0].said("RSET") == []


async def test_each_letter_goes_to_exactly_one_recipient(sink: Sink) -> None:
    async with transport_to(sink) as transport:
        for to in ("a@example.org", "b@example.org"):
            await send(transport, a_letter(to=to))

    assert sink.sessions[0].said("RCPT") == ["RCPT TO:<a@example.org>", "RCPT TO:<b@example.org>"]
    assert [mail.recipient for mail in sink.mails] == ["a@example.org", "b@example.org"]


@pytest.mark.parametrize(
    "to", ["a@example.org>\r\nRCPT TO:<b@example.org", "a@example.org\nDATA", "a\x00@example.org", "ä@example.org"]
)
async def test_a_recipient_that_would_be_a_command_is_not_said(sink: Sink, to: str) -> None:
    async with transport_to(sink) as transport:
        failure = await refused(transport, a_letter(to=to))

    assert failure.verdict is Verdict.CONFIGURATION
    assert sink.sessions[0].said("RCPT") == []
    assert sink.mails == []


# What each answer means

CONNECT, AUTH, MAIL, RCPT, DATA, BODY = Phase
TEMPORARY, PERMANENT, CONFIGURATION, UNREACHABLE, UNKNOWN = Verdict

REPLIES: Final = [
    # Where the server says it, what it says → what that means, and where the letter is then.
    ("greeting", "554 5.3.2 no service", UNREACHABLE, CONNECT),
    ("greeting", "421 4.3.2 too busy", UNREACHABLE, CONNECT),
    ("greeting", "250 who are you", UNREACHABLE, CONNECT),
    ("EHLO", "421 4.3.2 shutting down", UNREACHABLE, CONNECT),
    ("EHLO", "550 5.7.1 go away", UNREACHABLE, CONNECT),
    ("EHLO", "530 5.7.0 authentication required", CONFIGURATION, CONNECT),
    ("MAIL", "530 5.7.0 authentication required", CONFIGURATION, MAIL),
    ("MAIL", "535 5.7.8 bad credentials", CONFIGURATION, MAIL),
    ("MAIL", "538 5.7.11 encryption required", CONFIGURATION, MAIL),
    ("MAIL", "550 5.7.1 you may not send as this", CONFIGURATION, MAIL),
    ("MAIL", "550 5.7.30 basic authentication is not supported", CONFIGURATION, MAIL),
    ("MAIL", "553 5.1.8 sender not known", CONFIGURATION, MAIL),
    ("MAIL", "501 5.1.7 bad sender", CONFIGURATION, MAIL),
    ("MAIL", "451 4.3.0 try later", TEMPORARY, MAIL),
    ("MAIL", "452 4.3.1 no room", TEMPORARY, MAIL),
    ("MAIL", "421 4.7.0 too many", UNREACHABLE, MAIL),
    ("MAIL", "454 4.7.0 temporary", UNREACHABLE, MAIL),
    ("MAIL", "552 5.3.4 too large", PERMANENT, MAIL),
    ("MAIL", "299 what", UNREACHABLE, MAIL),
    ("RCPT", "421 4.7.0 too many", TEMPORARY, RCPT),
    ("RCPT", "450 4.2.0 greylisted", TEMPORARY, RCPT),
    ("RCPT", "451 4.7.1 greylisted", TEMPORARY, RCPT),
    ("RCPT", "452 4.5.3 too many recipients", TEMPORARY, RCPT),
    ("RCPT", "454 4.7.1 relay access denied", TEMPORARY, RCPT),
    ("RCPT", "450", TEMPORARY, RCPT),
    ("RCPT", "550 5.1.1 no such user", PERMANENT, RCPT),
    ("RCPT", "550 no such user", PERMANENT, RCPT),
    ("RCPT", "551 5.1.6 has moved", PERMANENT, RCPT),
    ("RCPT", "553 5.1.3 bad mailbox", PERMANENT, RCPT),
    ("RCPT", "556 5.1.10 null MX", PERMANENT, RCPT),
    ("RCPT", "550 5.7.1 policy", PERMANENT, RCPT),
    ("RCPT", "550 5.7.515 access denied", PERMANENT, RCPT),
    ("RCPT", "550 5.7.30 basic authentication is not supported", CONFIGURATION, RCPT),
    ("RCPT", "530 5.7.0 authentication required", CONFIGURATION, RCPT),
    ("RCPT", "552 5.2.2 mailbox full", TEMPORARY, RCPT),
    ("RCPT", "550 5.2.2 mailbox full", TEMPORARY, RCPT),
    ("RCPT", "552 mailbox full", TEMPORARY, RCPT),
    ("RCPT", "552 5.3.4 too large", PERMANENT, RCPT),
    ("RCPT", "552 5.2.3 too large for this mailbox", PERMANENT, RCPT),
    ("RCPT", "552 5.7.0 blocked", PERMANENT, RCPT),
    ("RCPT", "354 go ahead", UNREACHABLE, RCPT),
    ("DATA", "421 4.3.2 shutting down", TEMPORARY, DATA),
    ("DATA", "451 4.3.0 try later", TEMPORARY, DATA),
    ("DATA", "452 4.3.1 no room", TEMPORARY, DATA),
    ("DATA", "554 5.6.0 no", PERMANENT, DATA),
    ("DATA", "503 5.5.1 no valid recipients", PERMANENT, DATA),
    ("DATA", "550 5.7.1 policy", PERMANENT, DATA),
    ("DATA", "250 ok", UNREACHABLE, DATA),
    ("body", "421 4.3.2 shutting down", TEMPORARY, BODY),
    ("body", "451 4.3.0 try later", TEMPORARY, BODY),
    ("body", "452 4.3.1 no room", TEMPORARY, BODY),
    ("body", "454 4.7.0 temporary", TEMPORARY, BODY),
    ("body", "552 5.2.2 mailbox full", TEMPORARY, BODY),
    ("body", "554 5.6.0 content refused", PERMANENT, BODY),
    ("body", "550 5.7.1 spam", PERMANENT, BODY),
    ("body", "550 5.7.515 access denied", PERMANENT, BODY),
    ("body", "554", PERMANENT, BODY),
    ("body", "251 perhaps", UNKNOWN, BODY),
    ("body", "354 go on", UNKNOWN, BODY),
    ("body", "999 what", UNKNOWN, BODY),
    ("body", "hello", UNKNOWN, BODY),
    ("RCPT", "hello", UNREACHABLE, RCPT),
]


@pytest.mark.parametrize(("place", "reply", "meaning", "phase"), REPLIES)
async def test_each_answer_has_this_meaning(sink: Sink, place: str, reply: str, meaning: Verdict, phase: Phase) -> None:
    sink.replies[place] = reply
    if place == "EHLO":
        sink.replies["HELO"] = reply

    async with transport_to(sink) as transport:
        failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (meaning, phase)
    assert not any(mail for mail in sink.mails if meaning is not UNKNOWN)


@pytest.mark.parametrize(("place", "reply", "meaning", "phase"), [row for row in REPLIES if row[1][0] in "45"])
async def test_a_refusal_holds_the_servers_words_and_its_summary_holds_none(
    sink: Sink, place: str, reply: str, meaning: Verdict, phase: Phase
) -> None:
    code, _, text = reply.partition(" ")
    failure = Undelivered(verdict(phase, int(code), reply), phase, reply, int(code))

    assert failure.reply == reply
    enhanced = [word for word in text.split()[:1] if word[1:2] == "."]
    assert failure.summary == " ".join([str(phase), code, *enhanced])


@pytest.mark.parametrize("code", ["530", "534", "535", "538", "550", "501", "504"])
async def test_a_login_that_is_refused_is_our_trouble(sink: Sink, code: str) -> None:
    sink.extensions.append("AUTH PLAIN LOGIN CRAM-MD5")
    sink.replies["AUTH"] = f"{code} 5.7.8 no"

    async with transport_to(server_of(sink, username="me")) as transport:
        failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (Verdict.CONFIGURATION, Phase.AUTH)
    assert PASSWORD not in str(failure)
    assert base64.b64encode(f"\0me\0{PASSWORD}".encode()).decode() not in str(failure)
    await until_ended(sink.sessions[0])


@pytest.mark.parametrize("reply", ["454 4.7.0 later", "421 4.3.2 busy", "334 more", "250 ok"])
async def test_a_login_that_cannot_be_had_now_is_the_servers_trouble(sink: Sink, reply: str) -> None:
    sink.extensions.append("AUTH PLAIN")
    sink.replies["AUTH"] = reply

    async with transport_to(server_of(sink, username="me")) as transport:
        failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (Verdict.UNREACHABLE, Phase.AUTH)
    await until_ended(sink.sessions[0])


async def test_a_server_that_nobody_listens_on_is_unreachable() -> None:
    server = SmtpServer(host="127.0.0.1", port=free_port(), security="plain")

    async with transport_to(server) as transport:
        failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (Verdict.UNREACHABLE, Phase.CONNECT)
    assert failure.summary == "connect"


async def test_a_server_whose_name_is_unknown_is_unreachable() -> None:
    async with transport_to(SmtpServer(host="mail.invalid", port=1025, security="plain")) as transport:
        failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (Verdict.UNREACHABLE, Phase.CONNECT)


# Silence and lost connections: what matters is on which side of the final dot


@pytest.mark.parametrize("harm", [never, drop])
@pytest.mark.parametrize(
    ("place", "phase"),
    [("greeting", CONNECT), ("EHLO", CONNECT), ("MAIL", MAIL), ("RCPT", RCPT), ("DATA", DATA)],
)
async def test_silence_or_a_drop_before_the_body_is_never_ambiguous(
    sink: Sink, place: str, phase: Phase, harm: Reply
) -> None:
    sink.replies[place] = harm

    async with transport_to(sink, patience=SHORT) as transport:
        failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (Verdict.UNREACHABLE, phase)
    assert sink.mails == []


@pytest.mark.parametrize("harm", [never, drop])
async def test_silence_or_a_drop_after_the_dot_is_unknown(sink: Sink, harm: Reply) -> None:
    sink.replies["body"] = harm

    async with transport_to(sink, patience=SHORT) as transport:
        failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (Verdict.UNKNOWN, Phase.BODY)
    assert len(sink.mails) == 1


async def test_a_connection_lost_between_354_and_the_body_is_not_ambiguous(sink: Sink) -> None:
    async with transport_to(sink) as transport:
        attempt = lost_before_the_body(transport, sink)
        with pytest.raises(Undelivered) as caught:
            await attempt

    assert (caught.value.verdict, caught.value.phase) == (Verdict.UNREACHABLE, Phase.DATA)
    assert sink.mails == []


async def lost_before_the_body(transport: Transport, sink: Sink) -> None:
    async with transport.transaction(a_letter()) as transaction:
        await transaction.data()
        sink.sessions[0].writer.transport.abort()
        await until_ended(sink.sessions[0])
        # Until our side has heard of it too.
        await asyncio.sleep(0.05)
        await transaction.body(a_letter())


async def test_the_goodbye_of_a_server_after_the_dot_is_its_answer(sink: Sink) -> None:
    """421 after the dot: refused, not lost; and the connection is not used again."""
    sink.replies["body"] = "421 4.3.2 shutting down"

    async with transport_to(sink) as transport:
        assert (await refused(transport)).verdict is Verdict.TEMPORARY
        del sink.replies["body"]
        await send(transport)

    assert len(sink.sessions) == 2


async def test_a_server_that_trickles_hits_the_deadline_of_the_whole(sink: Sink) -> None:
    """Each answer comes in time for itself; all together they do not."""
    waits = asyncio.Event()

    async def slowly(session: Session) -> str:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(waits.wait(), 0.2)
        return "250 ok"

    sink.replies |= {"EHLO": slowly, "MAIL": slowly, "RCPT": slowly}
    patience = Patience(command=timedelta(seconds=PATIENCE_S), before_body=timedelta(seconds=0.5))
    async with transport_to(sink, patience=patience) as transport:
        failure = await refused(transport)

    assert failure.verdict is Verdict.UNREACHABLE
    assert failure.reply == "no answer within 0.5 seconds"
    await until_ended(sink.sessions[0])
    waits.set()


@pytest.mark.parametrize("place", ["greeting", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_an_answer_that_comes_byte_by_byte_and_never_ends_is_no_answer(sink: Sink, place: str) -> None:
    async def trickle(session: Session) -> str:
        while True:
            session.writer.write(b"2")
            await session.writer.drain()
            await asyncio.sleep(0.02)

    sink.replies[place] = trickle
    async with transport_to(sink, patience=SHORT) as transport:
        failure = await refused(transport)

    assert failure.verdict is Verdict.UNREACHABLE


async def test_an_answer_that_comes_byte_by_byte_and_ends_is_understood(sink: Sink) -> None:
    async def split(session: Session) -> str:
        for byte in b"250-2.1.0 your sender\r\n250-\r\n250 2.1.0 is wel":
            session.writer.write(bytes([byte]))
            await session.writer.drain()
            await asyncio.sleep(0)
        return "come"

    sink.replies["MAIL"] = split
    async with transport_to(sink) as transport:
        assert (await send(transport)).startswith("250")


@pytest.mark.parametrize(
    ("place", "meaning"), [("greeting", UNREACHABLE), ("EHLO", UNREACHABLE), ("RCPT", UNREACHABLE), ("body", UNKNOWN)]
)
@pytest.mark.parametrize("flood", [b"250-and more\r\n" * 100, b"x" * 1000, b"\0\xff" * 500, b"\r\n" * 500])
async def test_a_server_that_never_stops_talking_is_cut_off(
    sink: Sink, place: str, meaning: Verdict, flood: bytes
) -> None:
    said = 0

    async def endless(session: Session) -> str:
        nonlocal said
        while True:
            session.writer.write(flood)
            said += len(flood)
            await session.writer.drain()

    sink.replies[place] = endless
    async with transport_to(sink) as transport:
        failure = await refused(transport)

    assert failure.verdict is meaning
    assert len(failure.reply) <= 500
    await until_ended(sink.sessions[0])
    # The rest of it lay in the buffers of the two sockets.
    assert said < 50_000_000


async def test_an_answer_given_before_the_question_is_not_taken_for_one(sink: Sink) -> None:
    """354 and 250 in one breath; the true answer to the body is a refusal."""
    sink.replies["DATA"] = "354 go ahead\r\n250 2.0.0 Ok: of course"
    sink.replies["body"] = "554 5.6.0 refused"

    async with transport_to(sink) as transport:
        failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (Verdict.UNREACHABLE, Phase.DATA)
    assert sink.mails == []


@pytest.mark.parametrize("place", ["greeting", "EHLO", "MAIL", "RCPT"])
async def test_answers_out_of_step_end_the_connection(sink: Sink, place: str) -> None:
    first = {"greeting": "220 hello", "EHLO": "250 sink"}.get(place, "250 ok")
    sink.replies[place] = f"{first}\r\n250 2.0.0 Ok: of course"
    sink.replies["body"] = "554 5.6.0 refused"

    async with transport_to(sink) as transport:
        failure = await refused(transport)

    assert failure.verdict is Verdict.UNREACHABLE
    assert sink.mails == []
    await until_ended(sink.sessions[0])


# Connections: few, and used again


async def test_letters_one_after_another_share_a_connection(sink: Sink) -> None:
    async with transport_to(sink) as transport:
        for number in range(5):
            await send(transport, a_letter(to=f"person{number}@example.org"))

    assert len(sink.sessions) == 1
    assert sink.sessions[0].said("QUIT") == ["QUIT"]


async def test_letters_at_once_take_as_many_connections_as_are_allowed(sink: Sink) -> None:
    async with transport_to(sink, connections=3) as transport:
        await asyncio.gather(*(send(transport, a_letter(to=f"person{number}@example.org")) for number in range(30)))

    assert len(sink.sessions) == 3
    assert {mail.recipient for mail in sink.mails} == {f"person{number}@example.org" for number in range(30)}
    for session in sink.sessions:
        verbs = [line.partition(" ")[0] for line in session.lines]
        # One letter at a time on each: no two are ever mixed.
        assert verbs == ["EHLO", *["MAIL", "RCPT", "DATA"] * (len(verbs) // 3), "QUIT"]


async def test_a_hundred_letters_later_a_connection_is_given_up(sink: Sink) -> None:
    async with transport_to(sink) as transport:
        for _ in range(101):
            await send(transport)

    assert [len(session.said("DATA")) for session in sink.sessions] == [100, 1]
    assert sink.sessions[0].lines[-1] == "QUIT"


@pytest.mark.parametrize("reply", ["421 4.3.2 in a hurry", "500 what", never, drop, "221 bye\r\n221 bye"])
async def test_a_goodbye_that_goes_wrong_harms_nothing(sink: Sink, reply: Reply) -> None:
    sink.replies["QUIT"] = reply

    async with transport_to(sink, patience=Patience(courtesy=timedelta(seconds=0.2))) as transport:
        for _ in range(101):
            assert await send(transport) == "250 2.0.0 Ok: queued"

    assert len(sink.mails) == 101
    for session in sink.sessions:
        await until_ended(session)


async def test_a_connection_that_nobody_needs_is_given_up(sink: Sink) -> None:
    async with transport_to(sink, patience=Patience(idle=timedelta(seconds=0.05))) as transport:
        await send(transport)

        await until_ended(sink.sessions[0])

        assert sink.sessions[0].lines[-1] == "QUIT"
        await send(transport)
    assert len(sink.sessions) == 2


async def test_a_pooled_connection_that_died_unseen_is_replaced(sink: Sink) -> None:
    async with transport_to(sink, connections=3) as transport:
        await asyncio.gather(*(send(transport) for _ in range(3)))
        assert len(sink.sessions) == 3
        for session in sink.sessions:
            session.writer.transport.abort()

        await send(transport)

    assert len(sink.mails) == 4
    assert len(sink.sessions) == 4


@pytest.mark.parametrize("harm", [drop, "421 4.4.2 idle for too long", "hello"])
async def test_a_pooled_connection_that_dies_at_its_first_word_is_replaced_once(sink: Sink, harm: Reply) -> None:
    async with transport_to(sink) as transport:
        await send(transport)
        sink.replies["MAIL"] = harm
        failure = await refused(transport)
        assert len(sink.sessions) == 2

        del sink.replies["MAIL"]
        await send(transport)

    assert failure.verdict is Verdict.UNREACHABLE
    assert len(sink.sessions) == 3
    assert len(sink.mails) == 2


@pytest.mark.parametrize("place", ["DATA", "body"])
async def test_a_letter_whose_data_had_begun_is_not_said_again_elsewhere(sink: Sink, place: str) -> None:
    async with transport_to(sink) as transport:
        await send(transport)
        sink.replies[place] = drop
        await refused(transport)

    assert len(sink.sessions) == 1
    assert len(sink.sessions[0].said("DATA")) == 2


async def test_after_a_refusal_the_envelope_is_forgotten_and_the_connection_used_again(sink: Sink) -> None:
    sink.replies["RCPT nobody@example.org"] = "550 5.1.1 no such user"

    async with transport_to(sink) as transport:
        await refused(transport, a_letter(to="nobody@example.org"))
        await send(transport)

    verbs = [line.partition(" ")[0] for line in sink.sessions[0].lines]
    assert verbs == ["EHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA", "QUIT"]
    assert [mail.recipient for mail in sink.mails] == ["me@example.org"]


@pytest.mark.parametrize("harm", [never, drop, "421 bye", "500 what", "hello"])
@pytest.mark.parametrize("pooled", [True, False])
async def test_a_reset_that_goes_wrong_hides_no_refusal(sink: Sink, harm: Reply, pooled: bool) -> None:
    sink.replies |= {"RCPT nobody@example.org": "550 5.1.1 no such user", "RSET": harm}
    # The deadline for the envelope is over before the server would answer.
    patience = Patience(before_body=timedelta(seconds=1), courtesy=timedelta(seconds=1.5))

    async with transport_to(sink, patience=patience) as transport:
        if pooled:
            await send(transport)
        failure = await refused(transport, a_letter(to="nobody@example.org"))
        await send(transport)

    assert (failure.verdict, failure.reply) == (Verdict.PERMANENT, "550 5.1.1 no such user")
    assert len(sink.sessions) == 2
    await until_ended(sink.sessions[0])


async def test_a_letter_beyond_the_servers_limit_is_refused_before_it_is_offered(sink: Sink) -> None:
    sink.extensions = ["SIZE 1000"]

    async with transport_to(sink) as transport:
        failure = await refused(transport, a_letter(b"x" * 1001))
        await send(transport, a_letter(b"x" * 900 + b"\r\n"))

    assert failure.verdict is Verdict.PERMANENT
    assert "1000 bytes" in failure.reply
    assert len(sink.mails) == 1


@pytest.mark.parametrize("extension", ["SIZE", "SIZE 0", "SIZE unlimited", "8BITMIME"])
async def test_a_server_without_a_limit_takes_any_size(sink: Sink, extension: str) -> None:
    sink.extensions = [extension]

    async with transport_to(sink) as transport:
        await send(transport, a_letter(b"x" * 900 + b"\r\n"))

    assert len(sink.mails) == 1


async def test_a_server_that_knows_only_helo_is_spoken_to(sink: Sink) -> None:
    sink.replies |= {"EHLO": "502 5.5.1 unknown", "HELO": "250 sink"}

    async with transport_to(sink) as transport:
        await send(transport)

    assert sink.sessions[0].said("MAIL") == ["MAIL FROM:<bounces@example.org>"]


async def test_leaving_before_the_body_drops_the_connection_and_sends_nothing(sink: Sink) -> None:
    async with transport_to(sink) as transport:
        async with transport.transaction(a_letter()) as transaction:
            await transaction.data()

        await until_ended(sink.sessions[0])
        await send(transport)

    assert len(sink.mails) == 1
    assert len(sink.sessions) == 2


@pytest.mark.parametrize("place", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "body", "RSET"])
async def test_a_cancelled_letter_takes_its_connection_with_it(sink: Sink, place: str) -> None:
    """A reply that nobody waits for would answer the next letter's question."""
    asked = asyncio.Event()

    async def hold(session: Session) -> str:
        asked.set()
        return await session.never()

    sink.replies[place] = hold
    if place == "RSET":
        sink.replies["RCPT"] = "550 5.1.1 no such user"
    async with transport_to(sink) as transport:
        sending = asyncio.create_task(send(transport))
        await asyncio.wait_for(asked.wait(), PATIENCE_S)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

        await until_ended(sink.sessions[0])
        sink.replies.clear()
        assert (await send(transport)).startswith("250")

    assert len(sink.sessions) == 2


async def test_cancelling_a_letter_that_waits_for_a_connection_leaves_its_seat_to_others(sink: Sink) -> None:
    async with transport_to(sink) as transport:
        async with held(sink, "DATA", "354 go ahead") as answer:
            first = asyncio.create_task(send(transport))
            second = asyncio.create_task(send(transport))
            while not sink.sessions or not sink.sessions[0].said("DATA"):
                await asyncio.sleep(0.005)
            second.cancel()
            await asyncio.wait([second])
            answer.set()
            await first
        await send(transport)

    assert len(sink.mails) == 2
    assert len(sink.sessions) == 1


async def test_a_letter_that_ends_after_the_goodbye_leaves_no_connection_behind(sink: Sink) -> None:
    async with held(sink, "body", "250 ok") as answer:
        async with transport_to(sink) as transport:
            sending = asyncio.create_task(send(transport))
            await sink.wait_for(1)
        answer.set()
        await sending

    await until_ended(sink.sessions[0])
    assert sink.sessions[0].lines[-1] == "QUIT"


# The probe


async def test_a_probe_says_hello_and_goodbye_and_no_more(sink: Sink) -> None:
    sink.extensions.append("AUTH PLAIN")

    async with transport_to(server_of(sink, username="me")) as transport:
        await transport.probe()

    verbs = [line.partition(" ")[0] for line in sink.sessions[0].lines]
    assert verbs == ["EHLO", "AUTH", "QUIT"]


@pytest.mark.parametrize(("place", "harm"), [("greeting", "554 no"), ("greeting", never), ("EHLO", drop)])
async def test_a_probe_of_a_server_in_trouble_says_so(sink: Sink, place: str, harm: Reply) -> None:
    sink.replies[place] = harm

    async with transport_to(sink, patience=SHORT) as transport:
        with pytest.raises(Undelivered) as caught:
            await transport.probe()

    assert caught.value.verdict is Verdict.UNREACHABLE
    await until_ended(sink.sessions[0])


# Behind locks


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' authority is one that this machine trusts, as an operator would make it: by OpenSSL's own variable."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


@pytest.fixture
def no_password_was_heard() -> Callable[[Sink], None]:
    secrets = [PASSWORD, *(base64.b64encode(text.encode()).decode() for text in (PASSWORD, f"\0me\0{PASSWORD}"))]

    def check(sink: Sink) -> None:
        heard = "\n".join(line for session in sink.sessions for line in session.lines)
        assert not any(secret in heard for secret in secrets)
        assert "AUTH" not in heard

    return check


def tls_for(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_letter_crosses_a_verified_connection(server_tls: ssl.SSLContext, security: Security) -> None:
    async with Sink(tls=server_tls, implicit_tls=security == "tls") as sink:
        sink.extensions.append("AUTH PLAIN")
        async with transport_to(server_of(sink, security, username="me")) as transport:
            await send(transport)
            await send(transport)

    (session,) = sink.sessions
    assert session.secure
    verbs = [line.partition(" ")[0] for line in session.lines]
    secured = verbs[2:] if security == "starttls" else verbs
    assert secured == ["EHLO", "AUTH", *["MAIL", "RCPT", "DATA"] * 2, "QUIT"]


@pytest.mark.usefixtures("trusted")
async def test_a_server_without_starttls_gets_neither_password_nor_letter(
    sink: Sink, no_password_was_heard: Callable[[Sink], None]
) -> None:
    sink.extensions.append("AUTH PLAIN LOGIN")

    async with transport_to(server_of(sink, "starttls", username="me")) as transport:
        failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (Verdict.CONFIGURATION, Phase.CONNECT)
    no_password_was_heard(sink)
    assert sink.sessions[0].said("MAIL") == []
    await until_ended(sink.sessions[0])


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("reply", ["454 4.7.0 not now", "502 5.5.1 unknown", "220-go\r\n502 ahead", drop, never])
async def test_a_server_that_refuses_starttls_gets_neither_password_nor_letter(
    server_tls: ssl.SSLContext, reply: Reply, no_password_was_heard: Callable[[Sink], None]
) -> None:
    async with Sink(tls=server_tls) as sink:
        sink.extensions.append("AUTH PLAIN LOGIN")
        sink.replies["STARTTLS"] = reply
        patience = SHORT if reply is never else None
        async with transport_to(server_of(sink, "starttls", username="me"), patience=patience) as transport:
            failure = await refused(transport)

        assert failure.phase is Phase.CONNECT
        assert failure.verdict in (Verdict.UNREACHABLE, Verdict.CONFIGURATION)
        no_password_was_heard(sink)
        await until_ended(sink.sessions[0])


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("certificate", ["self-signed", "wrong name"])
@pytest.mark.usefixtures("trusted")
async def test_a_server_that_cannot_prove_its_name_gets_neither_password_nor_letter(
    authority: trustme.CA, security: Security, certificate: str, no_password_was_heard: Callable[[Sink], None]
) -> None:
    strange = tls_for(trustme.CA(), "127.0.0.1") if certificate == "self-signed" else tls_for(authority, "example.org")
    async with Sink(tls=strange, implicit_tls=security == "tls") as sink:
        sink.extensions.append("AUTH PLAIN LOGIN")
        async with transport_to(server_of(sink, security, username="me")) as transport:
            failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (Verdict.CONFIGURATION, Phase.CONNECT)
    assert "certificate" in failure.reply
    no_password_was_heard(sink)


async def test_a_certificate_of_an_authority_nobody_trusts_is_refused(server_tls: ssl.SSLContext) -> None:
    async with Sink(tls=server_tls) as sink, transport_to(server_of(sink, "starttls")) as transport:
        failure = await refused(transport)

    assert failure.verdict is Verdict.CONFIGURATION


@pytest.mark.usefixtures("trusted")
async def test_a_server_that_speaks_in_the_clear_where_tls_was_agreed_is_refused(
    sink: Sink, no_password_was_heard: Callable[[Sink], None]
) -> None:
    async with transport_to(server_of(sink, "tls", username="me")) as transport:
        failure = await refused(transport)

    assert failure.phase is Phase.CONNECT
    no_password_was_heard(sink)


@pytest.mark.usefixtures("trusted")
async def test_words_slipped_in_before_the_handshake_are_not_heard_after_it(server_tls: ssl.SSLContext) -> None:
    """STARTTLS injection: what stood in the clear must not answer what is asked behind the lock."""
    async with Sink(tls=server_tls) as sink:
        sink.replies["STARTTLS"] = "220 go ahead\r\n250-evil\r\n250 SIZE 10"
        async with transport_to(server_of(sink, "starttls")) as transport:
            with contextlib.suppress(Undelivered):
                await send(transport, a_letter(b"x" * 900 + b"\r\n"))

    assert all(mail.data == b"x" * 900 + b"\r\n" for mail in sink.mails)


@pytest.mark.usefixtures("trusted")
async def test_a_verified_connection_lost_in_the_middle_is_unreachable_and_not_our_trouble(
    server_tls: ssl.SSLContext,
) -> None:
    async with Sink(tls=server_tls, implicit_tls=True) as sink:
        sink.replies["RCPT"] = drop
        async with transport_to(server_of(sink, "tls")) as transport:
            failure = await refused(transport)

    assert failure.verdict is Verdict.UNREACHABLE


async def test_a_connection_lost_in_the_handshake_is_unreachable(sink: Sink, trusted: None) -> None:
    sink.replies["greeting"] = drop

    async with transport_to(server_of(sink, "tls")) as transport:
        failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (Verdict.UNREACHABLE, Phase.CONNECT)


# Logging in


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ("AUTH PLAIN LOGIN CRAM-MD5", "AUTH PLAIN"),
        ("AUTH LOGIN PLAIN", "AUTH PLAIN"),
        ("AUTH=PLAIN", "AUTH PLAIN"),
        ("AUTH LOGIN CRAM-MD5", "AUTH LOGIN"),
        ("AUTH XOAUTH2 CRAM-MD5", "AUTH CRAM-MD5"),
    ],
)
async def test_a_wrong_password_is_tried_once_by_one_method(sink: Sink, offered: str, said: str) -> None:
    sink.extensions.append(offered)
    sink.replies["AUTH"] = "535 5.7.8 no"

    async with transport_to(server_of(sink, username="me")) as transport:
        await refused(transport)

    (line,) = sink.sessions[0].said("AUTH")
    assert line.startswith(said)


async def test_a_password_is_told_as_the_method_asks(sink: Sink) -> None:
    async def login(session: Session) -> str:
        session.writer.write(b"334 " + base64.b64encode(b"Password:") + b"\r\n")
        password = await session.reader.readline()
        assert base64.b64decode(password).decode() == PASSWORD
        return "235 2.7.0 welcome"

    sink.extensions.append("AUTH LOGIN")
    sink.replies["AUTH"] = login
    async with transport_to(server_of(sink, username="me")) as transport:
        await send(transport)

    assert len(sink.mails) == 1


@pytest.mark.parametrize("extensions", [[], ["AUTH"], ["AUTH XOAUTH2 GSSAPI"]])
async def test_a_server_that_offers_no_login_we_know_is_our_trouble(sink: Sink, extensions: list[str]) -> None:
    sink.extensions = extensions

    async with transport_to(server_of(sink, username="me")) as transport:
        failure = await refused(transport)

    assert (failure.verdict, failure.phase) == (Verdict.CONFIGURATION, Phase.AUTH)
    assert sink.sessions[0].said("MAIL") == []
    await until_ended(sink.sessions[0])


async def test_a_password_never_crosses_a_plain_connection_beyond_loopback(
    sink: Sink, no_password_was_heard: Callable[[Sink], None]
) -> None:
    sink.extensions.append("AUTH PLAIN")

    # This machine by another name than those of its loopback.
    async with transport_to(server_of(sink, host="127.0.0.1.", username="me")) as transport:
        failure = await refused(transport)

    assert failure.verdict in (Verdict.CONFIGURATION, Verdict.UNREACHABLE)
    no_password_was_heard(sink)


def test_every_answer_in_every_phase_has_a_meaning() -> None:
    for phase in Phase:
        for code in range(-1, 1000):
            meaning: Any = verdict(phase, code, str(code))
            assert meaning in Verdict
            assert (meaning is Verdict.UNKNOWN) <= (phase is Phase.BODY)
