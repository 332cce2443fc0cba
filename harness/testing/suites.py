"""The promises of a suite of models. Subclass `SuiteContract` to hold yours against it.

class TestMine(SuiteContract):
    suite_name = "my-suite"
"""

from __future__ import annotations

import pytest

from harness.models.suites import Suite, load_suite, sampler_settings
from harness.registry import GENERATORS, JUDGES
from harness.seeds import canonical_json


class SuiteContract:
    """A suite is installed under its own name and fits the models that it names."""

    suite_name: str

    @pytest.fixture
    def suite(self) -> Suite:
        """The suite, as its entry point gives it."""
        return load_suite(self.suite_name)

    def test_it_has_the_name_that_it_is_asked_for_by(self, suite: Suite) -> None:
        assert suite.name == self.suite_name

    def test_its_models_are_installed(self, suite: Suite) -> None:
        assert callable(GENERATORS.get(suite.generator.kind).load)
        assert callable(JUDGES.get(suite.judge.kind).load)

    def test_its_settings_are_the_generator_s(self, suite: Suite) -> None:
        canonical_json(sampler_settings(suite.generator))
