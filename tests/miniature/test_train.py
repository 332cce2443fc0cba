from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.miniature import glyphs
from harness.miniature.evaluate import sample
from harness.miniature.train import (
    autoencoder,
    base,
    colors,
    detector,
    feedback,
    reflect,
    vision,
)
from harness.miniature.train.__main__ import STAGES, main
from harness.miniature.train.data import make_pool
from harness.miniature.train.loop import Schedule, TrainConfig, averaged, fit
from harness.models.digests import folder_digest
from harness.models.reflect_dit.generator import ReflectDiTGenerator
from harness.models.sana import SanaGenerator
from harness.records import Ability, Loading

SHORT = Schedule(steps=4, batch=4, lr=2e-3, warmup=1, ema=0.9)
SMALL_TEXT = {**base.TEXT, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
SMALL_TRANSFORMER = {**base.TRANSFORMER, "num_layers": 1}


@pytest.fixture(scope="module")
def trained(font: None, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A folder with an autoencoder that has hardly learnt anything, for the other stages."""
    folder = tmp_path_factory.mktemp("miniature")
    setting = TrainConfig(folder / "work", folder / "weights", scale=0.001, habits=False)
    autoencoder.train(setting, SHORT)
    return setting


@contextmanager
def interrupted_at_step(number: int) -> Iterator[None]:
    own = Schedule.rate

    def rate(schedule: Schedule, step: int) -> float:
        if step == number - 1:
            signal.raise_signal(signal.SIGINT)
        return own(schedule, step)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Schedule, "rate", rate)
        yield


def train_base(setting: TrainConfig) -> None:
    small = {"text": SMALL_TEXT, "transformer": SMALL_TRANSFORMER}
    base.train(setting, SHORT, **small)


def train_detector(setting: TrainConfig) -> None:
    variant = replace(detector.SCORER, widths=(8, 8, 8), schedule=SHORT)
    detector.train(setting, variant)


def train_judge(setting: TrainConfig) -> None:
    detector.train(setting, replace(detector.JUDGE, widths=(8, 8, 8), schedule=SHORT))


def train_colors(setting: TrainConfig) -> None:
    colors.train(setting, replace(colors.SCORER, schedule=SHORT))


def train_judge_colors(setting: TrainConfig) -> None:
    colors.train(setting, replace(colors.JUDGE, schedule=SHORT))


def train_vision(setting: TrainConfig) -> None:
    vision.train(setting, SHORT)


@pytest.mark.slow
@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("train", "files"),
    [
        (train_base, ("base/model_index.json", "base/transformer/config.json")),
        (train_detector, ("detector/config.json", "detector/model.safetensors")),
        (train_judge, ("judge/config.json", "judge/model.safetensors")),
        (train_colors, ("colors/config.json", "colors/preprocessor_config.json")),
        (train_judge_colors, ("judge_colors/config.json", "judge_colors/model.safetensors")),
        (train_vision, ("vision/config.json", "vision/preprocessor_config.json")),
    ],
)
def test_a_stage_exports_its_folder_and_recipe(
    trained: TrainConfig, train: Callable[[TrainConfig], None], files: tuple[str, ...]
) -> None:
    train(trained)
    for name in files:
        assert (trained.out / name).exists()
    recipe = json.loads((trained.out / files[0].split("/")[0] / "recipe.json").read_text())
    assert recipe["schedule"]["steps"] == SHORT.steps
    assert recipe["held_out"]
    assert all(loss == loss and loss > 0 for loss in recipe["losses"])


@pytest.mark.slow
def test_reflection_learns_from_the_other_stages_and_resumes(
    trained: TrainConfig, tmp_path: Path
) -> None:
    for stage in (train_base, train_judge, train_judge_colors, train_vision):
        stage(trained)
    parts = replace(trained, work=tmp_path / "work")
    reflect.train(trained, SHORT)
    name = "reflect/diffusion_pytorch_model.safetensors"
    whole = (trained.out / name).read_bytes()
    (trained.out / name).unlink()
    with interrupted_at_step(3):
        reflect.train(parts, SHORT)
    assert not (trained.out / name).exists()
    reflect.train(parts, SHORT)
    assert (trained.out / name).read_bytes() == whole

    recipe = json.loads((trained.out / "reflect" / "recipe.json").read_text())
    assert recipe["rejections"] > 0 and set(recipe["held_out"]) == {
        "flow_loss_with_feedback",
        "flow_loss_with_anothers_feedback",
        "flow_loss_with_no_feedback",
    }
    before = load_file(trained.out / "base/transformer/diffusion_pytorch_model.safetensors")
    after = load_file(trained.out / name)
    assert set(before) < set(after)
    assert after["reflection_norm.weight"].abs().max() > 0
    parts = {"pipeline": "base", "transformer": "reflect", "vision_encoder": "vision"}
    generator = ReflectDiTGenerator.load(
        Loading({part: trained.out / name for part, name in parts.items()}, batch_size=2)
    )
    assert Ability.FEEDBACK in generator.abilities


def test_a_world_of_its_own_shares_the_pipeline_and_leaves_the_other_alone(
    trained: TrainConfig, tmp_path: Path
) -> None:
    train_base(trained)
    out = tmp_path / "weights"
    shutil.copytree(trained.out, out)
    before = folder_digest(out / "base")
    habits = replace(trained, work=tmp_path / "work", out=out, habits=True, start=out / "base")
    train_base(habits)
    assert folder_digest(out / "base") == before
    assert not (out / "habits" / "vae").exists() and (out / "habits" / "recipe.json").exists()
    own, shared = (
        list(sample(out / "base", ["a photo of a red apple"], 0, 1, components=components))
        for components in (habits.denoiser, None)
    )
    assert (own[0] != shared[0]).any()
    checkpoints = {"pipeline": out / "base", "components": out / "habits"}
    settings = {"height": 64, "width": 64, "complex_human_instruction": False}
    pipeline = SanaGenerator.load(Loading(checkpoints, settings=settings)).pipeline
    weights = load_file(out / "habits/transformer/diffusion_pytorch_model.safetensors")
    for name, value in pipeline.transformer.state_dict().items():
        assert torch.equal(value, weights[name].float())


def test_samples_that_were_made_are_not_made_again(
    trained: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_base(trained)
    texts = [f"a photo of {number} apples" for number in range(4)]
    monkeypatch.setattr(feedback, "BATCH", 2)
    file = tmp_path / "samples"
    whole = feedback.sampled(trained, texts, 7, file)
    assert whole.shape == (4, 64, 64, 3)
    saved = file.read_bytes()
    # Cut off within the fourth image: its batch is made again, and the first is not.
    file.write_bytes(saved[: len(saved) * 7 // 8])
    made: list[int] = []
    own = feedback.sample

    def counted(*args: Any, **options: Any) -> Iterator[Any]:
        for image in own(*args, **options):
            made.append(len(made))
            yield image

    monkeypatch.setattr(feedback, "sample", counted)
    assert (feedback.sampled(trained, texts, 7, file) == whole).all()
    assert len(made) == 2 and file.read_bytes() == saved
    assert (feedback.sampled(trained, texts, 7, file) == whole).all() and len(made) == 2


def test_reflection_without_the_stages_before_it_says_so(font: None, tmp_path: Path) -> None:
    with pytest.raises(base.HarnessError, match="there is no folder") as caught:
        reflect.train(TrainConfig(tmp_path / "work", tmp_path / "weights", scale=0.001))
    assert caught.value.hint == "train the stage base first"


def test_peers_share_a_prompt_and_have_sentences_of_their_own() -> None:
    prompts, kinds = torch.tensor([0, 0, 0, 0, 1, 2, 2]), torch.tensor([5, 6, 5, 7, 5, 8, 8])
    peers = reflect.peers_of(prompts, kinds)
    assert peers.tolist() == [[1, 3], [0, 3], [1, 3], [0, 1], [-1, -1], [-1, -1], [-1, -1]]


def test_the_autoencoder_gives_latents_of_unit_variance(trained: TrainConfig) -> None:
    vae = base.AutoencoderDC.from_pretrained(
        trained.out / "base" / "vae", torch_dtype=torch.float32
    )
    assert vae.config["scaling_factor"] == 1.0
    # The same pool that the normalisation was measured on.
    pool = make_pool(trained.count(autoencoder.SCENES), trained.seed + 1, free=0.5)
    latents = base.encode(vae, pool.images, "cpu").float()
    assert latents.mean((0, 2, 3)).abs().max() < 0.02
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.02


def test_a_stage_without_its_autoencoder_says_so(font: None, tmp_path: Path) -> None:
    setting = TrainConfig(tmp_path / "work", tmp_path / "weights", scale=0.001)
    for train in (train_base, train_detector):
        with pytest.raises(base.HarnessError, match="there is no autoencoder") as caught:
            train(setting)
        assert caught.value.hint == "train the stage autoencoder first"


@pytest.mark.slow
def test_the_base_goes_on_from_trained_weights(trained: TrainConfig, tmp_path: Path) -> None:
    train_base(trained)
    start = tmp_path / "start"
    shutil.copytree(trained.out / "base", start)
    further = replace(trained, work=tmp_path / "work", seed=1, start=start)
    train_base(further)
    recipe = json.loads((trained.out / "base" / "recipe.json").read_text())
    first = json.loads((start / "recipe.json").read_text())
    assert recipe["earlier"] == [first]
    assert (recipe["seed"], first["seed"]) == (1, 0)
    model = base.Denoiser(SMALL_TEXT, SMALL_TRANSFORMER)
    assert len(base.resumed_from(model, trained.out / "base")) == 2
    weights = load_file(trained.out / "base/transformer/diffusion_pytorch_model.safetensors")
    for name, value in model.transformer.state_dict().items():
        assert torch.equal(value, weights[name].float())
    again = replace(further, work=tmp_path / "again", start=trained.out / "base")
    with pytest.raises(base.HarnessError, match="cannot be gone on from"):
        base.train(
            again, SHORT, text=SMALL_TEXT, transformer={**SMALL_TRANSFORMER, "num_layers": 2}
        )


@pytest.mark.slow
def test_an_interrupted_stage_ends_as_one_that_was_not(
    trained: TrainConfig, tmp_path: Path
) -> None:
    whole = replace(trained, work=tmp_path / "a", out=tmp_path / "whole")
    parts = replace(trained, work=tmp_path / "b", out=tmp_path / "parts")
    train_autoencoder(whole)
    with interrupted_at_step(3):
        train_autoencoder(parts)
    assert not (parts.out / "base" / "vae" / "config.json").exists()
    train_autoencoder(parts)
    name = "base/vae/diffusion_pytorch_model.safetensors"
    assert (whole.out / name).read_bytes() == (parts.out / name).read_bytes()


def train_autoencoder(setting: TrainConfig) -> None:
    autoencoder.train(setting, SHORT)


class Line(nn.Module):
    """Something quick to fit."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))

    def loss(self, rows: Tensor) -> Tensor:
        x = torch.randn(len(rows))
        return ((self.slope - 3) * x).square().mean()


def test_the_loop_learns_and_remembers_its_losses(tmp_path: Path) -> None:
    line = Line()
    schedule = Schedule(steps=250, batch=8, lr=0.1, warmup=5, ema=0.9)
    recipe = fit(line, line.loss, 10, schedule, TrainConfig(tmp_path, tmp_path), "line")
    assert float(line.slope.detach()) == pytest.approx(3, abs=0.05)
    assert len(recipe["losses"]) == 3
    assert recipe["losses"][-1] < 0.01 < recipe["losses"][0]


def test_the_average_forgets_its_start_and_keeps_its_decay() -> None:
    line = nn.BatchNorm1d(1)  # it has weights, statistics and a counter
    average = averaged(line, decay=0.5)
    expected = {name: value.clone() for name, value in line.state_dict().items()}
    for step in range(20):
        share = 1 - min(0.5, (step + 1) / (step + 10))
        for name, value in line.state_dict().items():
            value += step + 1
            if name == "num_batches_tracked":
                expected[name] = value.clone()
            else:
                expected[name] += share * (value - expected[name])
        average.update_parameters(line)
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_the_loop_stops_at_a_loss_that_is_not_a_number(tmp_path: Path) -> None:
    line = Line()
    with pytest.raises(FloatingPointError, match="line: the loss is not a number at step 0"):
        fit(
            line,
            lambda rows: line.loss(rows) * float("nan"),
            10,
            SHORT,
            TrainConfig(tmp_path, tmp_path),
            "line",
        )


def test_warm_up_and_cool_down() -> None:
    schedule = Schedule(steps=100, batch=1, lr=1.0, warmup=10, cooldown=0.2)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == 0.1 and rates[9] == 1 == rates[79]
    assert rates[90] == 0.5 and 0 < rates[99] < 0.1


def test_centres_boxes_and_foreground_are_the_targets_of_the_detector(font: None) -> None:
    pool = make_pool(32, 7, free=1.0)
    targets, _ = detector.make_targets(pool.boxes, pool.classes, pool.foreground)
    there = pool.classes >= 0
    assert torch.equal(targets.centres.sum((1, 2)).long(), there.sum(1))
    assert torch.equal(targets.foreground > 0, pool.foreground > 0)
    xs, ys = detector.cell_middles(16, 16, torch.device("cpu"))
    for row in range(len(pool)):
        for number in range(int(there[row].sum())):
            box = pool.boxes[row, number]
            x, y = ((box[:2] + box[2:]) / 8).long().tolist()
            assert targets.centres[row, y, x] == 1
            assert targets.classes[row, y, x] == pool.classes[row, number]
            left, top, right, bottom = (targets.sides[row, :, y, x] * detector.REACH).tolist()
            middle_x, middle_y = float(xs[0, x]), float(ys[y, 0])
            decoded = (middle_x - left, middle_y - top, middle_x + right, middle_y + bottom)
            assert decoded == pytest.approx(box.tolist(), abs=1e-4)


def test_what_covers_a_token(font: None) -> None:
    pool = make_pool(8, 9, free=1.0)
    kinds, shades, centres, presence = vision.token_truth(
        pool.foreground, pool.boxes, pool.classes, pool.colours
    )
    assert kinds.shape == shades.shape == centres.shape == (8, 64)
    assert torch.equal(kinds == vision.BACKGROUND_CLASS, shades == -1)
    for row in range(len(pool)):
        shown = {int(number) for number in pool.classes[row] if number >= 0}
        assert {int(k) for k in kinds[row] if k != vision.BACKGROUND_CLASS} <= shown
        assert {int(k) for k in presence[row].nonzero()} == shown
        assert centres[row].sum() == (pool.classes[row] >= 0).sum()


def test_the_commands_are_the_stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listing = CliRunner().invoke(main, ["--help"]).output
    for name in (*STAGES, "all"):
        assert name in listing
    monkeypatch.setenv(glyphs.FONT_ENV, str(tmp_path / "no.ttf"))
    missing = CliRunner().invoke(main, ["vision"])
    assert isinstance(missing.exception, glyphs.FontMissingError)
