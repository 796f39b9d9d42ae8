"""An open aiohttp session on an event loop in a thread of its own, as a program has it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Self

import aiohttp

__all__ = ["SessionLoop"]


class SessionLoop:
    """Makes sessions, and closes them at the end.

    Example:
        >>> with SessionLoop() as sessions:
        ...     backend = OllamaBackend("m", base_url=url, http_session=sessions.make())
    """

    def __enter__(self) -> Self:
        self._sessions: list[aiohttp.ClientSession] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="session-loop")
        self._thread.start()
        return self

    def make(self, **how: Any) -> aiohttp.ClientSession:
        """A session without a limit, whose connections are closed when they have been used."""

        async def made() -> aiohttp.ClientSession:
            connector = aiohttp.TCPConnector(**{"limit": 0, "force_close": True, **how})
            return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

        self._sessions.append(asyncio.run_coroutine_threadsafe(made(), self._loop).result(30))
        return self._sessions[-1]

    def __exit__(self, *_: object) -> None:
        async def close() -> None:
            for session in self._sessions:
                await session.close()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()
