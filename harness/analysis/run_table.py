"""The results of runs, one row a run: the table a paper prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.curve_tables import group_bands, over
from harness.analysis.logged_run import PADDED, LoggedRun
from harness.analysis.pairs import detectable
from harness.analysis.protocol import facts


def runs_table(runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """Scores, costs and completeness of runs, each as it selected at its own budget.

    Args:
        runs: The runs.
        names: What to call each.
        seed: Of the bootstrap.

    Returns:
        One row a run and group: `run`, `kind`, `tag`, `score`, `low`, `high`, `method`,
        `prompts`; realised mean costs of an image `draws`, `nfe`, `tflops`, `device_seconds`
        with the suffixes of `harness.analysis.logged_run.ROLE_SETS`; `tflops_padded`, `tflops` with
        the padding of batches; `detectable_unpaired`, the
        smallest difference to an independent run of as many prompts that would be found with
        80% power; and `harness.analysis.protocol.facts` (`draws` as `draws_logged`).
    """
    return pd.concat(
        [_rows(run, name, seed) for run, name in zip(runs, names, strict=True)],
        ignore_index=True,
    )


def _rows(run: LoggedRun, name: str, seed: int) -> pd.DataFrame:
    known = {k: v for k, v in facts(run).items() if k != "draws"}
    known["draws_logged"] = facts(run)["draws"]
    values = run.scores()[:, None]
    costs = {column: run.mean_cost(spent) for column, spent in run.spending()}
    costs[PADDED] = run.mean_cost(run.spent(PADDED))
    rows: list[dict[str, Any]] = []
    bands = group_bands(run, values, seed=seed)
    for g, (group, (band, method)) in enumerate(zip(run.groups, bands, strict=True)):
        score = float(band.value[0])
        rows.append(
            {
                "run": name,
                "kind": group.kind,
                "tag": group.tag,
                "score": score,
                "low": float(band.low[0]),
                "high": float(band.high[0]),
                "method": str(method[0]),
                "prompts": int(over(group, values)[0]),
                **{axis: float(cost[g]) for axis, cost in costs.items()},
                "detectable_unpaired": detectable(
                    float(np.sqrt(2 * max(score * (1 - score), 0.0))), int(over(group, values)[0])
                )
                if group.kind == "micro"
                else float("nan"),
                **known,
            }
        )
    return pd.DataFrame(rows)
