"""Starlette: the server of a page with `useChat` of Vercel's AI SDK, and a WebSocket.
`python starlette_ai_sdk.py 8000`."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from mellea_rx import start_session
from mellea_rx.web import ui_message_stream, websocket

m = start_session()


async def chat(request: Request) -> StreamingResponse:
    message = (await request.json())["messages"][-1]
    question = "".join(part["text"] for part in message["parts"] if part["type"] == "text")
    answer = ui_message_stream(await m.ainstruct(question, stream=True))
    return StreamingResponse(answer, media_type=answer.content_type, headers=answer.headers)


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    async for question in socket.iter_text():
        thunk = await m.ainstruct(question, stream=True)
        if await websocket(socket, thunk) == "disconnected":
            break


app = Starlette(routes=[Route("/api/chat", chat, methods=["POST"]), WebSocketRoute("/talk", talk)])

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
