"""The measurements on a GPU, part by part; each takes a `Recorder`, a scale and a device."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.engine.calibration import made_up
from harness.models.compiling import compile_blocks
from harness.plan import Ask
from harness.records import Image, Prompt
from tests.perf.gpu import models as gpu_models
from tests.perf.gpu.parts import Recorder
from tests.perf.gpu.timing import (
    attention_backends,
    bound,
    brief,
    graphed,
    largest_difference,
    peak,
    random_image,
    recorded_calls,
    replayed,
    timed,
)
from tests.sizes import Scale

BATCHES = (1, 2, 4, 8, 16)

FULL_BATCH = 8
"""Rows at which what is done to a network is compared, besides one alone."""

OVERLAP_SECONDS = 6.0
"""How long roles run alone and together; a tenth of it on a CPU."""

PARITY = Ask(strategy="reflect", budget=3, limit=4, dtype="float32")
"""The run that is made on the CPU and on the GPU: the bundled models, feedback included."""


def doctor(record: Recorder, scale: Scale, device: str) -> None:
    """Ask what `doctor` asks: scorers and judges answer as on the CPU, and known images rightly."""
    from harness.doctor import check_suites, devices_of

    for check in check_suites(devices_of(device)):
        record.add(what=check.name, ok=check.ok, answer=check.detail)


def parity(record: Recorder, scale: Scale, device: str) -> None:
    """Make one small run of the bundled models on the CPU and on the device, and compare."""
    import harness
    from harness.audit.tolerance import LARGEST_DIFFERENCE, LEAST_PSNR, image_distance
    from harness.engine.launch import Execution, work
    from harness.log.images import ImageStore, decode
    from harness.log.run_folder import RunFolder
    from harness.plan import plan

    with tempfile.TemporaryDirectory() as folder:
        frames, stores = [], []
        for name, place in (("cpu", "cpu"), ("device", device)):
            run = RunFolder(Path(folder) / name)
            ready = plan(replace(PARITY, device=place))
            work(ready, Execution(executor="inline", device=place), run, command="bench")
            frames.append(harness.load(run.path).set_index(["prompt_id", "draw_index"]))
            stores.append(ImageStore(run.images))
        ours, theirs = (frame.sort_index() for frame in frames)
        common = ours.index.intersection(theirs.index)
        bitwise, near, distances = 0, 0, []
        for key in common:
            pair = [f.loc[key, "image"] for f in (ours, theirs)]
            if pair[0] == pair[1]:
                bitwise += 1
                continue
            images = [decode(s.read(str(d))) for s, d in zip(stores, pair, strict=True)]
            psnr, largest = image_distance(*images) or (0.0, 255)
            near += psnr >= LEAST_PSNR and largest <= LARGEST_DIFFERENCE
            distances.append((psnr, largest))
        same = (ours.loc[common, "accepted"] == theirs.loc[common, "accepted"]).sum()
        sentences = ours.loc[common, "judge_sentence"] == theirs.loc[common, "judge_sentence"]
        whole = bitwise == len(common) == len(ours) == len(theirs)
        tolerable = bitwise + near == len(common) == len(ours) == len(theirs)
        record.add(
            what="reflect on the bundled models, CPU against device",
            tier="bitwise" if whole else "within tolerance" if tolerable else "beyond tolerance",
            draws=len(common),
            draws_of_each=[len(ours), len(theirs)],
            bitwise=bitwise,
            within_tolerance=near,
            least_psnr=min((psnr for psnr, _ in distances), default=None),
            largest_difference=max((largest for _, largest in distances), default=0),
            equal_verdicts=int(same),
            equal_sentences=int(sentences.sum()),
        )


def generation(record: Recorder, scale: Scale, device: str, feedbacks: Sequence[int]) -> None:
    """Time whole batches of a generator by size and number of feedbacks.

    The first number of feedbacks is measured at every size, the others at one and at a full batch.
    """
    model = gpu_models.generator(scale, device)
    settings = gpu_models.settings_of(scale)
    for context in feedbacks:
        for size in BATCHES if context == feedbacks[0] else (1, FULL_BATCH):
            model.batch_size = size
            requests = made_up(settings, size, context)
            named = {"what": "whole batches", "feedbacks": context, "batch": size}
            with record.guarded(**named) as row, peak(device, row):
                model.generate([brief(request) for request in requests])
                timed(row, bound(model.generate, requests), device, size, repeats=1)


def networks(record: Recorder, scale: Scale, device: str, context: int) -> None:
    """Time a generator's networks one by one, and in several ways of running them."""
    import torch

    model = gpu_models.generator(scale, device)
    transformer, decoder = model.pipeline.transformer, model.pipeline.vae.decoder
    settings = gpu_models.settings_of(scale)
    read = bound(
        model.pipeline.encode_prompt, "a photo of a dog", False, "", 1, device, None, None, None,
        None, False, scale.tokens,
    )  # fmt: skip
    look = bound(model.vision.encode, random_image(scale), scale.image_tokens)
    for what, call in (("reading a prompt", read), ("looking at an image", look)):
        with record.guarded(what=what, batch=1) as row, torch.no_grad():
            timed(row, call, device, 1)
    calls: dict[tuple[str, int], Callable[[], Any]] = {}
    for size in (1, FULL_BATCH):
        model.batch_size = size
        requests = [brief(request) for request in made_up(settings, size, context)]
        with recorded_calls(transformer) as first, recorded_calls(decoder) as second:
            model.generate(requests)
        calls["step", size] = replayed(transformer, *first[0])
        calls["decoding", size] = replayed(decoder, *second[0])

    def compare(way: str, what: str, *, as_graph: bool = False) -> None:
        for (name, size), call in calls.items():
            if what in ("", name):
                with record.guarded(what=name, way=way, batch=size) as row:
                    timed(row, graphed(call, device) if as_graph else call, device, size)

    with torch.no_grad():
        compare("eager", "")
        for way, context_manager in attention_backends():
            with context_manager():
                compare(way, "step")
        compare("CUDA graph", "", as_graph=True)
        decoder.to(memory_format=torch.channels_last)
        compare("channels_last", "decoding")
        decoder.to(memory_format=torch.contiguous_format)
        compile_blocks(transformer, decoder)
        compare("compiled blocks", "")
        compare("compiled blocks, CUDA graph", "", as_graph=True)


def judging(record: Recorder, scale: Scale, device: str) -> None:
    """Time the judge by batch size, and with another attention."""
    model = gpu_models.judge(scale, device)
    picture = random_image(scale)
    ways = (("sdpa", BATCHES), ("eager", (FULL_BATCH,)))
    for way, sizes in ways:
        for size in sizes:
            model.batch_size = model.writer.batch_size = size
            asked = [Prompt(f"{n}", f"a photo of {n} dogs") for n in range(size)]
            with (
                record.guarded(what="judging", way=f"attention {way}", batch=size) as row,
                peak(device, row),
            ):
                model.writer.model.set_attn_implementation(way)
                call = bound(model.judge, asked, [picture] * size, list(range(size)))
                timed(row, call, device, size, repeats=1)


def scoring(record: Recorder, scale: Scale, device: str) -> None:
    """Time detector and colours by batch size and way of running them."""
    import torch

    from benchmarks.geneval.colors import Crop

    picture = random_image(scale)
    network = gpu_models.detector(scale, device)
    for way, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        network.dtype = dtype
        for size in BATCHES:
            network.batch_size = size
            named = {"what": "detection", "way": way, "batch": size}
            with record.guarded(**named) as row, peak(device, row):
                timed(row, bound(network.detect, [picture] * size), device, size)
    network.dtype = torch.float32
    network.batch_size = FULL_BATCH
    with record.guarded(what="detection", way="float32, channels_last", batch=FULL_BATCH) as row:
        network.network.to(memory_format=torch.channels_last)
        timed(row, bound(network.detect, [picture] * FULL_BATCH), device, FULL_BATCH)
    classifier = gpu_models.colors(scale, device)
    mask = np.ones(picture.shape[:2], np.bool_)
    box = np.array([0, 0, *picture.shape[1::-1]], np.float32)
    for size in BATCHES:
        classifier.batch_size = size
        crops = [Crop(picture, mask, box, "dog")] * size
        with (
            record.guarded(what="colours", way="float32", batch=size) as row,
            peak(device, row),
        ):
            timed(row, bound(classifier.classify, crops), device, size)


def invariance(record: Recorder, scale: Scale, device: str) -> None:
    """Say whether a row's bits depend on its neighbours, its place or its batch's size.

    What the harness relies on is the first two, at one size. Where the third holds too, sizes
    would not have to be part of a draw's identity.
    """
    settings = gpu_models.settings_of(scale)
    model = gpu_models.generator(scale, device)
    for context in (0, 1):
        rows = [brief(request) for request in made_up(settings, FULL_BATCH, context)]

        def pictures(requests: Sequence[Any], size: int) -> list[Image]:
            model.batch_size = size
            return [made.image for made in model.generate(requests)]

        with record.guarded(what=f"generator, {context} feedbacks", batch=FULL_BATCH) as row:
            among = pictures(rows, FULL_BATCH)
            row["alone"] = largest_difference(among[2], pictures(rows[2:3], FULL_BATCH)[0])
            row["elsewhere"] = largest_difference(among[2], pictures(rows[::-1], FULL_BATCH)[-3])
            row["again"] = largest_difference(among[2], pictures(rows, FULL_BATCH)[2])
            row["other_size"] = largest_difference(among[2], pictures(rows[2:3], 1)[0])
    network = gpu_models.detector(scale, device)
    images = [random_image(scale, n) for n in range(FULL_BATCH)]

    def logits(chosen: Sequence[Image], size: int) -> list[Any]:
        network.batch_size = size
        return [masks.cpu().numpy() for _, masks in network._run(chosen)]

    with record.guarded(what="detector", batch=FULL_BATCH) as row:
        among = logits(images, FULL_BATCH)
        row["alone"] = largest_difference(among[2], logits(images[2:3], FULL_BATCH)[0])
        row["elsewhere"] = largest_difference(among[2], logits(images[::-1], FULL_BATCH)[-3])
        row["again"] = largest_difference(among[2], logits(images, FULL_BATCH)[2])
        row["other_size"] = largest_difference(among[2], logits(images[2:3], 1)[0])


def overlap(record: Recorder, scale: Scale, device: str) -> None:
    """Run roles in turns and at once, each in a process of its own, as Ray's workers do."""
    import multiprocessing

    context = multiprocessing.get_context("forkserver")
    seconds = OVERLAP_SECONDS * (0.1 if device == "cpu" else 1.0)
    for pair in (("generator", "scorer"), ("generator", "judge")):
        with record.guarded(what=" and ".join(pair), seconds=seconds) as row:
            pipes, workers = [], []
            for role in pair:
                ours, theirs = context.Pipe()
                worker = context.Process(target=_role, args=(theirs, role, scale, device, seconds))
                worker.start()
                theirs.close()
                pipes.append(ours)
                workers.append(worker)
            try:
                for pipe in pipes:
                    pipe.recv()  # loaded and warm
                alone = []
                for pipe in pipes:
                    pipe.send("go")
                    alone.append(pipe.recv())
                for pipe in pipes:
                    pipe.send("go")
                together = [pipe.recv() for pipe in pipes]
            finally:
                for worker in workers:
                    worker.kill()
                    worker.join()
            row["images_per_second_alone"] = dict(zip(pair, alone, strict=True))
            row["images_per_second_together"] = dict(zip(pair, together, strict=True))
            row["work_done_together"] = sum(t / a for t, a in zip(together, alone, strict=True))


def _role(connection: Any, role: str, scale: Scale, device: str, seconds: float) -> None:
    """Work whenever told to, for so many seconds, and answer with the images a second."""
    size = FULL_BATCH if role != "scorer" else 4
    picture = random_image(scale)
    if role == "generator":
        generator = gpu_models.generator(scale, device)
        generator.batch_size = size
        requests = [brief(r) for r in made_up(gpu_models.settings_of(scale), size, 0)]
        call = bound(generator.generate, requests)
    elif role == "judge":
        judge = gpu_models.judge(scale, device)
        judge.batch_size = judge.writer.batch_size = size
        prompts = [Prompt(f"{n}", "a photo of a dog") for n in range(size)]
        call = bound(judge.judge, prompts, [picture] * size, list(range(size)))
    else:
        detector = gpu_models.detector(scale, device)
        detector.batch_size = size
        call = bound(detector.detect, [picture] * size)
    call()
    with contextlib.suppress(EOFError, BrokenPipeError):  # whoever asked is gone, or was killed
        connection.send("ready")
        while True:
            connection.recv()
            started, batches = time.perf_counter(), 0
            while time.perf_counter() - started < seconds or not batches:
                call()
                batches += 1
            connection.send(batches * size / (time.perf_counter() - started))


# How things are timed.
