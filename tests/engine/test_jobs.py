from __future__ import annotations

import pickle

import pytest

from harness.engine.jobs import Png
from harness.records import Look, Prompt


def test_images_travel_beside_their_message() -> None:
    item = Look(Prompt("1", "a cow"), Png(b"\x89PNG" + bytes(10_000)), 7)
    beside: list[pickle.PickleBuffer] = []
    message = pickle.dumps(item, protocol=5, buffer_callback=beside.append)
    assert len(message) < 1000 and len(beside) == 1
    back = pickle.loads(message, buffers=beside)
    assert back == item and isinstance(back.image, Png)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_images_travel_inside_where_that_is_all_there_is(protocol: int) -> None:
    image = Png(bytes(range(256)))
    assert pickle.loads(pickle.dumps(image, protocol=protocol)) == image
