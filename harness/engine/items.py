"""The items that workers get: a request with the images and the state that it refers to.

States are a cache. They leave memory with their search, and when they are too many; what is gone is
made again by the worker that needs it, from the draw that it is of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cachetools import LRUCache

from harness.engine.executors.base import Executor
from harness.engine.jobs import Item, Pixels, Png, Remote
from harness.engine.pending import OpenSearch, Pending, PendingDraw, PendingQuestion
from harness.engine.sources import Known
from harness.errors import HarnessError
from harness.identity import judge_seed, question_seed
from harness.log.images import ImageStore
from harness.records import Inquiry, Look, Request, Role

STATE_BYTES = 2**30
"""Memory for the states in which draws stopped; one of 1024 pixels has half a megabyte."""


class Items:
    """Builds what workers get. Has state: the states of open searches, images not yet proven."""

    def __init__(self, images: ImageStore, executor: Executor, seed: int) -> None:
        self._images = images
        self._executor = executor
        self._seed = seed
        self._states: LRUCache[str, Png] = LRUCache(STATE_BYTES, getsizeof=len)
        # Images that an earlier session stored, as far as nobody has held them to their digests.
        # Those of this session are not decoded here: that would take more than all else it does.
        self._unproven: set[str] = set()

    def item(self, role: Role, pending: Pending) -> Item:
        """Return what a worker gets for a draw or a question.

        Raises:
            HarnessError: An image that it refers to is damaged or gone.
        """
        search = pending.open.search
        match pending:
            case PendingDraw() if role is Role.GENERATOR:
                return self._complete(pending.request, pending.open)
            case PendingDraw():
                return Look(search.prompt, self._new(pending.known), judge_seed(pending.request.id))
            case PendingQuestion(question=question):
                seed = question_seed(self._seed, search.prompt, search.replicate, question)
                images = tuple(self._image(id, pending.open) for id in question.images)
                return Inquiry(search.prompt, question.text, images, seed)
        raise TypeError(f"unknown kind of work: {type(pending).__name__}")

    def distrust(self, image: str) -> None:
        """Have an image that an earlier session stored held to its digest before it is used."""
        self._unproven.add(image)

    def keep_state(self, pending: Pending, state: Png) -> None:
        """Keep where a draw stopped, for draws that start there, if there is room for it."""
        if isinstance(pending, PendingDraw) and len(state) <= self._states.maxsize:
            self._states[pending.request.id] = state

    def drop_states(self, open: OpenSearch) -> None:
        """Let go of the states of a search that is over."""
        for id in open.requests:
            self._states.pop(id, None)

    def _complete(self, request: Request[Any], open: OpenSearch) -> Request[Pixels]:
        """Return a request with its images and the state that it starts from.

        Where the state is gone, the draw that it is of is completed too, to be made again.
        """
        images = {item.draw_id: self._image(item.draw_id, open) for item in request.feedback}
        start, state = request.start, None
        if start is not None and (state := self._states.get(start.id)) is None:
            start = self._complete(start, open)
        return replace(request, images=images, start=start, state=state)

    def _new(self, known: Known) -> Pixels:
        """Return an image that nobody has looked at yet."""
        assert known.png is not None
        if not isinstance(known.png, Remote):
            return Png(known.png)
        if not known.png.is_lost:
            return known.png
        assert known.image is not None
        return self._stored(known.image)

    def _image(self, draw_id: str, open: OpenSearch) -> Pixels:
        digest = open.images.get(draw_id)
        if digest is None:
            raise HarnessError(f"draw {draw_id} has no image to show")
        return self._stored(digest)

    def _stored(self, digest: str) -> Pixels:
        check = digest in self._unproven
        self._unproven.discard(digest)
        remote = self._executor.image(digest, check=check)
        return Png(self._images.read(digest, check=check)) if remote is None else remote
