"""Streams of an answer for web clients: Server-Sent Events, lines of JSON, Vercel's and AG-UI's.

Each function returns a `ByteStream`, an async iterator of bytes for the response of any web
framework. It owns its thunk: however the stream is left, the request to the model ends at once.
`respond` sends one over aiohttp, and `websocket` sends an answer over a WebSocket.
"""

from mellea_rx.web.ag_ui import ag_ui
from mellea_rx.web.byte_stream import ByteStream
from mellea_rx.web.plain import ndjson, sse
from mellea_rx.web.respond import respond
from mellea_rx.web.sockets import websocket
from mellea_rx.web.ui_message import ui_message_stream

__all__ = ["ByteStream", "ag_ui", "ndjson", "respond", "sse", "ui_message_stream", "websocket"]
