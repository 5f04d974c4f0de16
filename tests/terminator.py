"""Speaks TLS to clients and plainly to a server of this machine that cannot: python terminator.py PORT SERVER CERTIFICATE."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from asyncio import StreamReader, StreamWriter


async def main(port: int, server: int, certificate: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def link(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", server)
        except OSError:
            writer.close()
            return
        ways = [asyncio.create_task(_pass_on(reader, to_server)), asyncio.create_task(_pass_on(from_server, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        writer.close()
        to_server.close()

    async with await asyncio.start_server(link, "127.0.0.1", port, ssl=context) as listener:
        await listener.serve_forever()


async def _pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
