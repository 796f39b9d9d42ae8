"""Django in one file, as ASGI: an answer as Server-Sent Events. `python django_sse.py 8000`."""

import sys

import django
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path

from mellea_rx import start_session
from mellea_rx.web import sse

m = start_session()


async def ask(request: HttpRequest) -> StreamingHttpResponse:
    answer = sse(await m.ainstruct(request.GET["question"], stream=True))
    return StreamingHttpResponse(
        answer, content_type=answer.content_type, headers=dict(answer.headers)
    )


urlpatterns = [path("ask", ask)]

if __name__ == "__main__":
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="example")
    django.setup()
    uvicorn.run(get_asgi_application(), port=int(sys.argv[1]), log_level="warning")
