"""LightGBM on the features of a dataset.

    model = LGBModel(loss="mse", learning_rate=0.05, num_leaves=210, num_threads=4, seed=42)
    model.fit(dataset)
    model.predict(dataset)

Keyword arguments that are not the model's own are LightGBM's parameters. With `num_threads=1`, or `deterministic=True`
and `force_row_wise=True`, the same data give the same trees.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qlib.contrib.model.segments import (
    features_of,
    keep_history,
    learning_rows,
    require_fitted,
    require_same_columns,
)
from qlib.data.dataset import DatasetH
from qlib.data.dataset.weight import Reweighter
from qlib.errors import ConfigError, did_you_mean
from qlib.log import get_module_logger
from qlib.model.base import ModelFT
from qlib.model.interpret.base import LightGBMFInt

if TYPE_CHECKING:
    import lightgbm

LOSSES = ("mse", "binary")


class LGBModel(ModelFT, LightGBMFInt):
    """Gradient-boosted trees.

    Parameters
    ----------
    loss
        "mse", or "binary" for a label of 0 and 1.
    early_stopping_rounds
        Stop when the segment "valid" has not become better for so many rounds; None (or no such segment): never.
    num_boost_round
        Trees at most.
    kwargs
        LightGBM's parameters. A name that LightGBM does not know is reported as a warning when the model is fitted.

    After `fit`: `model` (the lightgbm.Booster), `feature_names`.
    """

    def __init__(
        self,
        loss: str = "mse",
        early_stopping_rounds: int | None = 50,
        num_boost_round: int = 1000,
        **kwargs: Any,
    ) -> None:
        if loss not in LOSSES:
            raise ConfigError(
                f"loss: received {loss!r}; allowed are {', '.join(LOSSES)}{did_you_mean(str(loss), LOSSES)}"
            )
        super().__init__()
        self.params: dict[str, Any] = {"objective": loss, "verbosity": -1, **kwargs}
        self.early_stopping_rounds = early_stopping_rounds
        self.num_boost_round = num_boost_round
        self.model: lightgbm.Booster | None = None
        self.feature_names: list[str] | None = None

    @classmethod
    def known_kwargs(cls) -> tuple[str, ...]:
        """Return the parameters that LightGBM knows, by all their names."""
        import lightgbm  # noqa: PLC0415  heavy: only who trains needs it

        table = getattr(lightgbm.basic, "_ConfigAliases", None)  # LightGBM's own list has no public name
        aliases = {} if table is None else table._get_all_param_aliases()
        return tuple(dict.fromkeys(name for main, names in aliases.items() for name in (main, *names)))

    def _warn_unknown(self) -> None:
        known = set(self.known_kwargs())
        for name in self.params if known else ():
            if name not in known:
                get_module_logger("LGBModel").warning(
                    f"LightGBM knows no parameter {name}: it has no effect{did_you_mean(name, known)}"
                )

    def fit(  # type: ignore[override]
        self,
        dataset: DatasetH,
        num_boost_round: int | None = None,
        early_stopping_rounds: int | None = None,
        verbose_eval: int = 20,
        evals_result: dict[str, Any] | None = None,
        reweighter: Reweighter | None = None,
        **kwargs: Any,
    ) -> None:
        """Learn from the segment "train"; the segment "valid", if there is one, decides when to stop.

        Parameters
        ----------
        num_boost_round, early_stopping_rounds
            None means what the model was made with.
        verbose_eval
            Write the metrics to the log every so many rounds; 0 never.
        evals_result
            A dict that is filled with segment -> metric -> list of values, one per round. The same series go to the run
            that is going on, as "<metric>.<segment>".
        kwargs
            More arguments of `lightgbm.train`.
        """
        rounds = self.num_boost_round if num_boost_round is None else num_boost_round
        patience = self.early_stopping_rounds if early_stopping_rounds is None else early_stopping_rounds
        history = {} if evals_result is None else evals_result
        self._warn_unknown()
        segments = ["train", *(["valid"] if "valid" in dataset.segments else [])]
        self._train(dataset, segments, rounds, patience, verbose_eval, history, reweighter, **kwargs)
        keep_history(
            {f"{metric}.{name}": values for name, found in history.items() for metric, values in found.items()}
        )

    def finetune(  # type: ignore[override]
        self,
        dataset: DatasetH,
        num_boost_round: int = 10,
        verbose_eval: int = 20,
        reweighter: Reweighter | None = None,
    ) -> None:
        """Add `num_boost_round` trees, learned from the segment "train", to the model."""
        require_fitted(self.model is not None, self)
        self._train(dataset, ["train"], num_boost_round, None, verbose_eval, {}, reweighter, init_model=self.model)

    def _train(
        self,
        dataset: DatasetH,
        segments: list[str],
        rounds: int,
        patience: int | None,
        verbose_eval: int,
        history: dict[str, Any],
        reweighter: Reweighter | None,
        callbacks: list[Callable[..., Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        import lightgbm  # noqa: PLC0415  heavy: only who trains needs it

        sets: list[Any] = []
        for segment in segments:
            rows = learning_rows(dataset, segment, reweighter)
            if segment == "train":
                names = rows.names
            sets.append(
                lightgbm.Dataset(
                    in_one_piece(rows.features),
                    label=rows.label,
                    weight=rows.weights,
                    feature_name=plain_names(names),
                    reference=sets[0] if sets else None,
                    params=self.params,
                    free_raw_data=False,
                )
            )
        watchers: list[Callable[..., Any]] = [lightgbm.record_evaluation(history), *(callbacks or [])]
        if verbose_eval:
            watchers.append(_log_every(int(verbose_eval)))
        if patience and len(segments) > 1:
            watchers.append(lightgbm.early_stopping(int(patience), verbose=False))
        self.model = lightgbm.train(
            self.params,
            sets[0],
            num_boost_round=rounds,
            valid_sets=sets,
            valid_names=segments,
            callbacks=watchers,
            **kwargs,
        )
        self.feature_names = names

    def predict(self, dataset: DatasetH, segment: Any = "test") -> pd.Series:  # type: ignore[override]
        """Return the scores of a segment (a name, or a slice of dates)."""
        require_fitted(self.model is not None, self)
        assert self.model is not None
        df = features_of(dataset, segment)
        require_same_columns(self.feature_names, df)
        scores = self.model.predict(in_one_piece(df.to_numpy())) if len(df) else np.empty(0)
        return pd.Series(scores, index=df.index, name="score")


def in_one_piece(table: np.ndarray) -> np.ndarray:
    """Return a table that LightGBM reads without turning it round: a slice of rows is copied column by column."""
    return table if table.flags.c_contiguous or table.flags.f_contiguous else np.asfortranarray(table)


def plain_names(names: list[str]) -> list[str]:
    """Return names that LightGBM can store (no blanks, none of JSON's marks), each once.

    >>> plain_names(["Ref($close, 1)", "Ref($close: 1)"])
    ['Ref($close__1)', 'Ref($close__1)_1']
    """
    plain: dict[str, None] = {}
    for i, name in enumerate(names):
        text = re.sub(r'[\s",:\[\]{}]', "_", name)
        plain[text if text not in plain else f"{text}_{i}"] = None
    return list(plain)


def _log_every(period: int) -> Callable[..., None]:
    log = get_module_logger("LGBModel")

    def watch(env: Any) -> None:
        if (env.iteration + 1) % period == 0:
            shown = ", ".join(f"{name} {metric} {value:g}" for name, metric, value, *_ in env.evaluation_result_list)
            log.info(f"round {env.iteration + 1}: {shown}")

    watch.order = 10  # type: ignore[attr-defined]  # as LightGBM's own: after recording, before stopping
    return watch
