"""From what the user asked for to what will be done: names resolved, files found, all checked.

What is wrong with a request is found here, before a folder is made or a model is loaded, as far as
that can be known without loading one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from benchmarks.base import Benchmark
from harness.abilities import check_abilities
from harness.config import RECORDED_IMAGES, Plugin, RunConfig
from harness.errors import HarnessError, UsageError, did_you_mean
from harness.identity import Resolver
from harness.locating import Paths, digests, locate
from harness.models.adapter_names import adapters, is_adapter
from harness.models.bundled import loads_miniature
from harness.models.judges.chosen import check_judge, chosen_judge, is_remote
from harness.models.metrics.together import chosen, metric_names
from harness.models.remote_code import remote_code
from harness.models.suites import ModelSpec, Suite, load_suite, sampler_settings
from harness.options import build, resolved
from harness.prompts import benchmark_of, select_prompts
from harness.records import (
    LARGEST_BATCH,
    LARGEST_SEED,
    MOST_DRAWS,
    MOST_REPLICATES,
    MOST_THREADS,
    Ability,
    Draw,
    Prompt,
    Role,
    resolve_dtype,
)
from harness.registry import (
    BENCHMARKS,
    GENERATORS,
    JUDGES,
    METRICS,
    STRATEGIES,
    check_allowed,
    import_paths,
)
from harness.seeds import digest
from harness.truncation import Truncated, Truncation, truncation_of
from strategies.base import Strategy


@dataclass(frozen=True)
class Ask:
    """A user's request for a run, as given; `plan` checks it.

    Attributes mirror the options of `python -m harness run`.
    """

    strategy: str = "best-of-n"
    strategy_options: Mapping[str, str] | None = None
    benchmark: str = "geneval"
    benchmark_options: Mapping[str, str] | None = None
    model: str = "miniature"
    generator_settings: Mapping[str, str] | None = None
    checkpoint: str | None = None
    loras: tuple[str, ...] = ()
    trust_remote_code: bool = False
    judge: str | None = None
    judge_settings: Mapping[str, str] | None = None
    scorer: Mapping[str, str] | None = None
    scorer_settings: Mapping[str, str] | None = None
    metrics: tuple[str, ...] = ()
    dtype: str | None = None
    compile: bool = False
    batch_size: int | None = None
    budget: int = 4
    replicates: int = 1
    seed: int = 0
    tags: tuple[str, ...] = ()
    limit: int | None = None
    threads: int = 2
    keep_images: Literal["all", "selected", "none"] = "all"
    device: str = "cpu"


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start.

    Attributes:
        config: What determines its content.
        paths: Where each checkpoint lies here.
        recorded: Prompt and replicate of each search, in order, where images are there already
            and prompts may have different numbers of them.
    """

    config: RunConfig
    prompts: tuple[Prompt, ...]
    strategy: Strategy
    paths: Paths
    recorded: tuple[tuple[Prompt, int], ...] = ()

    @property
    def searches(self) -> Sequence[tuple[Prompt, int]]:
        """Prompt and replicate of each search, in the order in which they are opened.

        Not the official one, which goes tag by tag: so the running score means something.
        """
        if self.recorded:
            return self.recorded
        prompts = sorted(self.prompts, key=lambda prompt: digest(["order", prompt.id]))
        return [(prompt, n) for n in range(self.config.replicates) for prompt in prompts]

    @property
    def stores_images(self) -> bool:
        """True if images are written to disk: they are kept, or looked at again by the search."""
        return self.config.keep_images != "none" or self.looks_again

    @property
    def looks_again(self) -> bool:
        """True if later requests of a search may bring its earlier images: feedback, questions."""
        return bool({Ability.FEEDBACK, Ability.REPLY} & self.strategy.needs())

    @property
    def resolver(self) -> Resolver:
        """Turns the strategy's draws into requests."""
        return Resolver.of(self.config, self._factory)

    @property
    def _factory(self) -> Any:
        """The generator's class; None where images are there already."""
        if self.config.generator.kind == RECORDED_IMAGES:
            return None
        with import_paths(allowed=True):  # the plan's own, which has been imported before
            return GENERATORS.get(self.config.generator.kind)

    @cached_property
    def truncation(self) -> Truncation | None:
        """Tells which texts of a request are cut; None where nobody can tell.

        Raises:
            HarnessError: The generator's checkpoint is damaged.
        """
        trusted = self.config.generator.trust_remote_code
        with import_paths(allowed=True), remote_code(trusted=trusted):  # as of the factory
            return truncation_of(self._factory, self.paths.get(Role.GENERATOR, {}))

    def truncated(self) -> Truncated:
        """Return whose prompts are longer than the text encoder takes, before anything is drawn.

        Raises:
            HarnessError: The generator's checkpoint is damaged.
        """
        if (tell := self.truncation) is None:
            return Truncated(len(self.prompts), 0)
        resolve = self.resolver.resolve
        texts = ((prompt.id, tell(resolve(prompt, 0, Draw(0)))) for prompt in self.prompts)
        return Truncated.of(len(self.prompts), texts)


@import_paths(allowed=True)
def plan(ask: Ask) -> Plan:
    """Check a request and resolve everything in it; what it names by import path is imported.

    Raises:
        UsageError: A name, option or value is no good, or a prompt file.
        HarnessError: A checkpoint is missing here.
    """
    _check_sizes(ask)
    strategy = build(STRATEGIES.get(ask.strategy), ask.strategy_options or {}, flag="-S")
    benchmark = build(BENCHMARKS.get(ask.benchmark), ask.benchmark_options or {}, flag="-B")
    for name in benchmark.file_options.intersection(ask.benchmark_options or {}):
        raise UsageError(
            f"-B {name} is about files of images from elsewhere, and a run makes its own",
            "leave it out; `score` takes it",
        )
    prompts = select_prompts(benchmark.prompts(), ask.tags, ask.limit)
    suite = override(load_suite(ask.model), ask)
    scorer = scorer_spec(benchmark, suite.scorer, ask.scorer or {}) if benchmark.scored else None
    if scorer is not None:
        settings = {**scorer.settings, **(ask.scorer_settings or {})}
        complete = benchmark.scorer_settings(settings)
        if ask.scorer_settings:
            scorer = scorer.model_copy(update={"settings": complete})
    elif ask.scorer or ask.scorer_settings:
        raise UsageError(
            f"benchmark '{ask.benchmark}' has no scorer, so {'--scorer' if ask.scorer else '-O'} "
            "has nothing to change",
            "leave it out, or choose another --benchmark",
        )
    oracle = bool(getattr(JUDGES.get(suite.judge.kind), "oracle", False))
    if oracle:
        if scorer is None:
            raise UsageError(
                f"benchmark '{ask.benchmark}' has no scorer, so there is no oracle judge",
                "choose another --judge",
            )
        suite = suite.model_copy(update={"judge": scorer.model_copy(update={"kind": "oracle"})})
    else:
        check_judge(suite.judge, benchmark)
    check_abilities(strategy, suite.generator, suite.judge, ask.budget)
    _check_compile(suite)
    specs = {Role.GENERATOR: suite.generator, Role.JUDGE: suite.judge}
    if scorer is not None:
        specs[Role.SCORER] = scorer
    if (metrics := chosen(ask.metrics, suite.metric, benchmark)) is not None:
        specs[Role.METRIC] = metrics
    specs = {role: _settled(spec, ask) for role, spec in specs.items()}
    if ask.trust_remote_code and not any(spec.trust_remote_code for spec in specs.values()):
        raise UsageError(
            "--trust-remote-code, and no model of this run has a checkpoint that could bring code",
            "leave it out",
        )
    paths = locate(specs)
    config = RunConfig(
        benchmark=Plugin(name=ask.benchmark, options=resolved(benchmark)),
        tags=ask.tags,
        limit=ask.limit,
        replicates=ask.replicates,
        strategy=Plugin(name=ask.strategy, options=resolved(strategy)),
        budget=ask.budget,
        seed=ask.seed,
        suite=suite.name,
        miniature=suite.miniature or loads_miniature(specs, paths),
        generator=specs[Role.GENERATOR],
        judge=specs[Role.JUDGE],
        scorer=specs.get(Role.SCORER),
        metric=specs.get(Role.METRIC),
        oracle=oracle,
        digests=digests(specs, paths),
        threads=ask.threads,
        keep_images=ask.keep_images,
    )
    return Plan(config, tuple(prompts), strategy, paths)


def _check_sizes(ask: Ask) -> None:
    """Refuse what no manifest may hold."""
    for flag, value, most in (
        ("--budget", ask.budget, MOST_DRAWS),
        ("--replicates", ask.replicates, MOST_REPLICATES),
        ("--seed", ask.seed, LARGEST_SEED),
        ("--threads", ask.threads, MOST_THREADS),
        ("--batch-size", ask.batch_size or 1, LARGEST_BATCH),
    ):
        if value > most:
            raise UsageError(f"{flag} {value} is more than {most}", f"give {most} at most")


def replan(config: RunConfig, stored: Sequence[Prompt] = ()) -> Plan:
    """The plan of a run that was started before, from its manifest's config.

    The prompts in its folder are for where their source is gone. One that gives others than these
    is no reason to go on: whoever edited it expects to find the change.

    Raises:
        ImportRefused: The config names code by import path, and that was not allowed.
        UsageError: A plug-in is not installed here, or its prompts are no good any more.
        HarnessError: A checkpoint is missing here, or is not the one the run began with.
    """
    strategy = build(STRATEGIES.get(config.strategy.name), config.strategy.options, flag="-S")
    benchmark = benchmark_of(config)
    # Workers import them later, in processes of their own, and ask nobody.
    GENERATORS.get(config.generator.kind)
    JUDGES.get(config.judge.kind)
    if is_remote(config.judge.kind):
        address = config.judge.settings.get("base_url", "its endpoint")
        check_allowed(
            f"the manifest has images and a key from the environment sent to {address}, which is "
            "done with --plugins only",
            "add --plugins if the run is yours or you trust it",
        )
    for name in metric_names(config.metric):
        METRICS.get(name)
    specs = config.specs
    paths = locate(specs)
    for spec in specs.values():
        with remote_code(trusted=spec.trust_remote_code):  # refused unless it is allowed
            pass
    actual = digests(specs, paths)
    for name, expected in config.digests.items():
        if actual.get(name) != expected:
            raise HarnessError(
                f"checkpoint {name} is not the one this run was started with",
                "put the original back, or start a new run",
            )
    try:
        prompts = select_prompts(benchmark.prompts(), config.tags, config.limit)
    except HarnessError:
        if not stored:
            raise
        prompts = list(stored)
    return Plan(config, tuple(prompts), strategy, paths)


def override(suite: Suite, ask: Ask) -> Suite:
    """The suite with what the user wants otherwise.

    Raises:
        UsageError: A part the suite does not have, or a setting the generator does not know.
    """
    if ask.trust_remote_code:
        # Not of the scorer: how a run is measured is a suite's to say.
        of = {name: getattr(suite, name) for name in ("generator", "judge", "metric")}
        trusted = {"trust_remote_code": True}
        suite = suite.model_copy(
            update={name: spec.model_copy(update=trusted) for name, spec in of.items()}
        )
    generator = suite.generator
    checkpoints = dict(generator.checkpoints)
    if ask.checkpoint is not None:
        checkpoints[next(iter(checkpoints), "pipeline")] = ask.checkpoint
    generator = generator.model_copy(
        update={
            "checkpoints": {**checkpoints, **adapters(ask.loras)},
            "batch_size": ask.batch_size or generator.batch_size,
            "compile": ask.compile or generator.compile,
        }
    )
    _check_adapters(generator)
    settings = sampler_settings(generator, ask.generator_settings or {})
    generator = generator.model_copy(update={"settings": settings})
    judge = chosen_judge(suite.judge, ask.judge, ask.judge_settings or {}, suite.metric)
    return suite.model_copy(update={"generator": generator, "judge": judge})


def _settled(spec: ModelSpec, ask: Ask) -> ModelSpec:
    """Return a spec with its number type, trusted only where its checkpoints can bring code.

    The type is bfloat16 on a GPU and float32 on a CPU, unless stated.
    """
    dtype = resolve_dtype(ask.dtype or spec.dtype, ask.device)
    bundled = all(ref.startswith("bundled:") for ref in spec.checkpoints.values())
    trusted = spec.trust_remote_code and not bundled
    return spec.model_copy(update={"dtype": dtype, "trust_remote_code": trusted})


def _check_adapters(generator: ModelSpec) -> None:
    parts = [part for part in generator.checkpoints if is_adapter(part)]
    if parts and not getattr(GENERATORS.get(generator.kind), "takes_adapters", False):
        raise UsageError(
            f"generator '{generator.kind}' takes no LoRA adapters, such as {parts[0]}",
            "leave the adapter out, or merge it into the checkpoint",
        )


def scorer_spec(benchmark: Benchmark, suite: ModelSpec, given: Mapping[str, str]) -> ModelSpec:
    """Return the scorer of a benchmark: its own parts, with a suite's and the user's references.

    If none of the parts of the suite's scorer is the benchmark's, it is another one's: the
    benchmark's own references are taken, and of the suite's only number format and batch size.

    Raises:
        UsageError: A part that the scorer does not have, or one that nobody names.
    """
    parts = benchmark.parts
    if not suite.checkpoints.keys() & parts.keys():
        suite = suite.model_copy(update={"checkpoints": parts, "settings": {}})
    for part in (*given, *suite.checkpoints):
        if part not in parts:
            raise UsageError(f"the scorer has no part '{part}'", did_you_mean(part, parts))
    checkpoints = {**suite.checkpoints, **given}
    for part in parts:
        if not checkpoints.get(part):
            raise UsageError(
                f"the scorer of benchmark '{benchmark.name}' needs a checkpoint '{part}'",
                f"name one with --scorer {part}=REF, or in the suite",
            )
    return suite.model_copy(update={"checkpoints": checkpoints})


def _check_compile(suite: Suite) -> None:
    if suite.generator.compile:
        kind = suite.generator.kind
        if not getattr(GENERATORS.get(kind), "can_compile", False):
            raise UsageError(
                f"generator '{kind}' cannot be compiled", "leave --compile out, or out of the suite"
            )
    for role in (Role.JUDGE, Role.SCORER, Role.METRIC):
        if suite.spec(role).compile:
            raise UsageError(
                f"suite '{suite.name}' asks for a compiled {role}, and only generators can be",
                "leave compile out there",
            )
