"""A classifier whose body is the model: a typed stub, and a docstring that is the task."""

from typing import Literal

from mellea_rx import ModelOption, generative, start_session

Mood = Literal["positive", "negative"]


@generative
def mood(text: str) -> Mood:
    """Classify the sentiment of the text."""
    ...


with start_session(model_options={ModelOption.TEMPERATURE: 0}) as m:
    # One call, which waits for its answer.
    print(mood(m, text="Everything was awful."))

    # Several at once; inside the `with` block the session may be left out.
    reviews = ["I am so happy with it.", "It broke after one day.", "Do not buy this."]
    thunks = [mood.start(text=review) for review in reviews]
    for review, thunk in zip(reviews, thunks, strict=True):
        print(f"{thunk.wait().parsed}: {review}")
