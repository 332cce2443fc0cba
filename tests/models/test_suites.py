from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.errors import UsageError
from harness.models.suites import (
    ModelSpec,
    Suite,
    identity,
    load_suite,
    overview,
    sampler_settings,
)
from harness.records import Role, resolve_dtype
from harness.registry import SUITES

MINIMAL = """
name = "mine"
[generator]
kind = "sana"
checkpoints = { pipeline = "./weights" }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["miniature", "miniature-even", "sana-1.0-1.6b", "reflect-dit"])
def test_built_in_suites_load_and_their_settings_are_valid(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name and suite.title
    assert suite.miniature == name.startswith("miniature")
    settings = sampler_settings(suite.generator)
    assert set(suite.generator.settings) <= set(settings)
    assert {role for role, _, _ in overview(suite)} >= {Role.GENERATOR, Role.SCORER}


@pytest.mark.parametrize("name", [n for n in SUITES.names() if not n.startswith("miniature")])
def test_a_suite_of_full_size_names_its_judge_and_its_licence(name: str) -> None:
    title = load_suite(name).title.lower()
    assert "judged by" in title and ("licence" in title or "license" in title)


def test_the_two_worlds_share_all_but_what_draws_and_judges() -> None:
    worlds = [load_suite(name) for name in ("miniature", "miniature-even")]
    own, even = ({r: s.spec(r).checkpoints for r in Role} for s in worlds)
    assert own[Role.SCORER] == even[Role.SCORER]
    assert own[Role.GENERATOR]["pipeline"] == even[Role.GENERATOR]["pipeline"]
    assert own[Role.GENERATOR]["vision_encoder"] == even[Role.GENERATOR]["vision_encoder"]
    assert own[Role.GENERATOR]["transformer"] != even[Role.GENERATOR]["transformer"]
    settings = [sampler_settings(suite.generator) for suite in worlds]
    assert settings[0] == settings[1]


def test_a_suite_is_frozen() -> None:
    with pytest.raises(ValidationError):
        load_suite("miniature").name = "other"


def test_an_unknown_suite_is_answered_with_the_right_one() -> None:
    with pytest.raises(UsageError) as caught:
        load_suite("minature")
    assert "did you mean 'miniature'" in caught.value.hint


def test_a_file_with_defaults_and_a_folder_beside_it(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    suite = load_suite(write(tmp_path, MINIMAL))
    assert suite.judge.kind == "none" and suite.generator.batch_size == 1
    assert suite.generator.checkpoints == {"pipeline": str(tmp_path / "weights")}
    assert overview(suite)[0][2].path
    again = load_suite(str(write(tmp_path, MINIMAL.replace("./weights", "weights"))))
    assert again.generator.checkpoints == suite.generator.checkpoints


@pytest.mark.parametrize("ref", ["org/name", "org/name@v1", "bundled:base", "~/x", "converted"])
def test_what_is_no_folder_beside_the_file_stays_as_written(tmp_path: Path, ref: str) -> None:
    suite = load_suite(write(tmp_path, MINIMAL.replace("./weights", ref)))
    assert suite.generator.checkpoints == {"pipeline": ref}


def test_what_is_missing_says_where_it_was_looked_for(tmp_path: Path) -> None:
    role, part, located = overview(load_suite(write(tmp_path, MINIMAL)))[0]
    assert (role, part) == (Role.GENERATOR, "pipeline")
    assert located.path is None and located.looked == (str(tmp_path / "weights"),)


@pytest.mark.parametrize(
    ("extra", "message", "hint"),
    [
        ("[generater]\n", "unknown key 'generater'", "did you mean 'generator'"),
        ("[judge]\nkynd = 'none'\n", "unknown key 'judge.kynd'", "did you mean 'kind'"),
        ("[judge]\nbatch_size = 0\n", "judge.batch_size", ""),
        ("[judge]\ndtype = 'float8'\n", "judge.dtype", ""),
        ("[judge]\nsettings = { a = [1] }\n", "judge.settings.a", ""),
    ],
)
def test_a_bad_key_or_value_is_named_with_its_file(
    tmp_path: Path, extra: str, message: str, hint: str
) -> None:
    path = write(tmp_path, MINIMAL + extra)
    with pytest.raises(UsageError) as caught:
        load_suite(path)
    assert message in caught.value.message and str(path) in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [("name = ", "no TOML"), ('name = "x"', "'generator' is missing"), (None, "cannot be read")],
)
def test_a_bad_file(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "absent.toml" if text is None else write(tmp_path, text)
    with pytest.raises(UsageError, match=message):
        load_suite(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a = {'[' * 100_000}", "nested too deeply"),
        (f"a{'.a' * 100_000} = 1", "line 1: more than 100 dots"),
        (f"[{'a . ' * 50_000}a]", "line 1: more than 100 dots"),
        (f"a = {'9' * 5000}", "no TOML"),
        (f"{MINIMAL}[judge]\nbatch_size = 0x{'f' * 50_000}", "judge.batch_size"),
        (f"{MINIMAL}[judge]\nbatch_size = '{'9' * 5000}'", "judge.batch_size"),
        (f"{MINIMAL}[judge]\nsettings = '{'x' * 50_000}'", "judge.settings"),
        ("#" * 2**19, "larger than"),
        ("a = 9999-99-99", "no TOML"),
    ],
    ids=["deep", "keys", "table", "digits", "hex", "string", "text", "large", "date"],
)
def test_a_file_made_to_exhaust_its_reader(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError, match=message) as caught:
        load_suite(path)
    assert len(caught.value.message) < len(str(path)) + 300 and caught.value.hint


@pytest.mark.parametrize("ref", ["./\\u0000", "\\u0000", "x" * 300, f"./{'x' * 300}"])
def test_a_reference_that_is_no_name_of_a_folder_is_kept_for_its_refusal(
    tmp_path: Path, ref: str
) -> None:
    text = f'{MINIMAL}[judge]\ncheckpoints = {{ vlm = "{ref}" }}\n'
    assert load_suite(write(tmp_path, text)).judge.checkpoints["vlm"]


def test_third_parties_may_give_a_suite_a_mapping_a_path_or_a_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, MINIMAL)
    suite = load_suite(path)
    forms: list[Any] = [suite, suite.model_dump(), path, str(path), lambda: suite]
    for form in forms:
        monkeypatch.setattr(type(SUITES), "get", lambda _self, _name, form=form: form)
        assert load_suite("theirs") == suite
    monkeypatch.setattr(type(SUITES), "get", lambda _self, _name: 3)
    with pytest.raises(UsageError, match="is a int"):
        load_suite("theirs")


def test_sampler_settings_are_complete_and_the_last_word_wins() -> None:
    spec = load_suite("miniature").generator
    settings = sampler_settings(spec, {"guidance_scale": "2.5"}, {"num_inference_steps": 3})
    assert settings["guidance_scale"] == 2.5 and settings["num_inference_steps"] == 3
    assert settings["height"] == 64 and settings["negative_prompt"] == ""
    with pytest.raises(UsageError) as caught:
        sampler_settings(spec, {"guidance": 3})
    assert "guidance_scale" in caught.value.hint
    with pytest.raises(UsageError, match="unknown generator"):
        sampler_settings(ModelSpec(kind="sanna"))


def test_a_setting_that_a_suite_misspells_is_refused(tmp_path: Path) -> None:
    text = f"{MINIMAL}[generator.settings]\nguidance_scal = 3.0\n"
    suite = load_suite(write(tmp_path, text))
    with pytest.raises(UsageError, match="has no option 'guidance_scal'") as caught:
        sampler_settings(suite.generator)
    assert "guidance_scale" in caught.value.hint


def test_identity_names_what_determines_the_outputs() -> None:
    spec = ModelSpec(kind="sana", batch_size=8, checkpoints={"pipeline": "somewhere"})
    digests = {"pipeline": "a" * 64}
    name = identity(spec, digests)
    moved = spec.model_copy(update={"checkpoints": {"pipeline": "elsewhere"}})
    assert identity(moved, digests) == name
    same = spec.model_copy(update={"dtype": "float32"})
    assert identity(same, digests) == name
    others = [
        identity(spec.model_copy(update={"batch_size": 4}), digests),
        identity(spec.model_copy(update={"kind": "other"}), digests),
        identity(spec, {"pipeline": "b" * 64}),
        identity(spec.model_copy(update={"dtype": "bfloat16"}), digests),
    ]
    assert len({name, *others}) == 5


def test_auto_is_float32_on_a_cpu_and_bfloat16_elsewhere() -> None:
    assert resolve_dtype("auto", "cpu") == "float32"
    assert resolve_dtype("auto", "cuda:1") == "bfloat16"
    assert resolve_dtype("float16", "cpu") == "float16"


def test_every_role_has_a_spec() -> None:
    suite: Suite = load_suite("miniature")
    specs = [suite.generator, suite.judge, suite.scorer, suite.metric]
    assert [suite.spec(role) for role in Role] == specs
