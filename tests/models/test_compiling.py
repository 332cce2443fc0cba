"""Compiled generators: another identity, the same contract, and no silent way back to eager."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.errors import HarnessError, UsageError
from harness.identity import Resolver
from harness.models import compiling
from harness.models.compiling import compile_blocks, repeated
from harness.models.sana import SanaGenerator
from harness.models.suites import Suite, load_suite, sampler_settings
from harness.plan import Ask, plan
from harness.records import Loading, Request
from tests.stubs import make_stub_suite


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functools.reduce(lambda y, layer: layer(y).relu(), self.inner, x)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.mixed = nn.ModuleList([nn.Linear(4, 4), nn.Dropout()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functools.reduce(lambda y, block: block(y), self.blocks, x)


def test_the_outermost_lists_of_like_blocks_are_compiled() -> None:
    network = Network()
    assert list(repeated(network)) == list(network.blocks)


@pytest.mark.slow
def test_a_shape_too_many_is_an_error_and_not_another_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiling, "SHAPES", 1)
    network = Network().eval()
    compile_blocks(network)
    with torch.no_grad(), pytest.raises(Exception, match="recompile_limit"):
        for rows in (2, 3):
            network(torch.zeros(rows, 4))


def test_without_a_compiler_nothing_is_loaded_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder

    def missing() -> str:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    with pytest.raises(HarnessError, match=r"for this processor: .*compiler"):
        compile_blocks(Network())


def test_compiled_is_part_of_the_identity_and_absent_from_configs_without() -> None:
    usual, compiled = plan(Ask(limit=1)).config, plan(Ask(limit=1, compile=True)).config
    assert compiled.digest != usual.digest
    assert Resolver.of(compiled).generators != Resolver.of(usual).generators
    assert "compile" not in usual.model_dump(mode="json")["generator"]
    assert compiled.model_dump(mode="json")["generator"]["compile"] is True
    assert "compile" not in compiled.model_dump(mode="json")["judge"]


def test_what_cannot_be_compiled_is_refused(tmp_path: Path) -> None:
    suite, _ = make_stub_suite(tmp_path)
    with pytest.raises(UsageError, match=r"generator 'tests\.stubs:StubGenerator' cannot be"):
        plan(Ask(model=str(suite), benchmark="tests.stubs:StubBenchmark", compile=True))
    text = Path(suite).read_text(encoding="utf-8").replace("[scorer]", "[scorer]\ncompile = true")
    Path(suite).write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="asks for a compiled scorer"):
        plan(Ask(model=str(suite), benchmark="tests.stubs:StubBenchmark"))


def test_a_suite_may_ask_for_it(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('name = "own"\n[generator]\nkind = "sana"\ncompile = true\n', encoding="utf-8")
    assert load_suite(path).generator.compile


@pytest.mark.slow
def test_a_compiled_row_depends_on_itself_alone(tiny_suite: Suite, tiny_pipeline: Path) -> None:
    settings = dict(sampler_settings(tiny_suite.generator))

    def load() -> SanaGenerator:
        generator = SanaGenerator.load(Loading({"pipeline": tiny_pipeline}, batch_size=3))
        generator.compile()
        return generator

    requests = [Request(f"id{n}", "a photo of a bench", ((n, 1.0),), settings) for n in range(3)]
    first, second = load(), load()
    together = [made.image for made in first.generate(requests)]
    alone = second.generate(requests[2:])[0].image
    assert np.array_equal(alone, together[2])
    # Another shape in between, here before and there after, changes nothing.
    single = Request("id2", "a photo of a bench", ((2, 1.0),), settings, rows=1)
    small = second.generate([single])[0].image
    again = first.generate([single])[0].image
    assert np.array_equal(small, again)
    assert np.array_equal(first.generate(requests)[2].image, together[2])
