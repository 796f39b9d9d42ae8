"""aiohttp: an answer as lines of JSON, and a WebSocket. `python aiohttp_lines.py 8000`."""

import sys

from aiohttp import WSMsgType, web

from mellea_rx import start_session
from mellea_rx.web import respond, websocket

m = start_session()


async def ask(request: web.Request) -> web.StreamResponse:
    thunk = await m.ainstruct(request.query["question"], stream=True)
    return await respond(request, thunk, protocol="ndjson")


async def talk(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await websocket(socket, await m.ainstruct(message.data, stream=True))
    return socket


app = web.Application()
app.add_routes([web.get("/ask", ask), web.get("/talk", talk)])

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
