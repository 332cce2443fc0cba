from __future__ import annotations

from harness.engine.executors.base import Executor
from harness.engine.executors.inline import InlineExecutor
from harness.engine.worker import Setup
from harness.plan import Plan
from tests.engine.executor_contract import ExecutorContract


class TestInline(ExecutorContract):
    def make(self, ready: Plan) -> Executor:
        return InlineExecutor(Setup(ready.config, ready.paths), list(ready.config.specs))
