"""FastAPI: an answer as Server-Sent Events. `python fastapi_sse.py 8000`, then
`curl -N 'http://127.0.0.1:8000/ask?question=Hello'`."""

import sys

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from mellea_rx import start_session
from mellea_rx.web import sse

m = start_session()
app = FastAPI()


@app.get("/ask")
async def ask(question: str) -> StreamingResponse:
    answer = sse(await m.ainstruct(question, stream=True))
    return StreamingResponse(answer, media_type=answer.content_type, headers=answer.headers)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
