"""How the server reads the head of a request: it must come soon, and it must end. The server below has no limit of its own."""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Longer than any network that still works takes for so little.
_PATIENCE_S: Final = 25.0
_MAX_HEAD: Final = 64 * 1024
_LINGER_S: Final = 1.0


class PatientProtocol(HttpToolsProtocol):
    """A connection whose client is waited for so long and no longer, and listened to so far and no further."""

    patience_s = _PATIENCE_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._in_head, self._come, self._is_over = False, 0, False
        self._waiting: asyncio.TimerHandle | None = None
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; of a head that goes on and on, no more."""
        if self._is_over:
            return
        # What comes together with its first byte may be the end of what was before it.
        self._come = self._come + len(data) if self._in_head else 0
        super().data_received(data)
        if self._in_head and self._come > _MAX_HEAD:
            self._hang_up(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head = True
        self._wait()

    def on_headers_complete(self) -> None:
        """It has ended; its body has limits of its own (guards.py)."""
        self._in_head = False
        self._wait_no_more()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._wait_no_more()
        self._waiting = self.loop.call_later(self.patience_s, self._hang_up, b"408 Request Timeout")

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _hang_up(self, status: bytes) -> None:
        self._wait_no_more()
        if self.transport.is_closing():
            return
        self._is_over = True
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        # A connection closed upon unread data is reset, and the answer with it: what still comes is swallowed for a moment.
        self.loop.call_later(_LINGER_S, self.transport.close)
