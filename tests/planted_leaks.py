"""Processors, loaders, filters, operators and datasets that know the future, each in its own way."""

from __future__ import annotations

import pandas as pd

from qlib.data import D
from qlib.data.dataset import TSDatasetH
from qlib.data.dataset.loader import QlibDataLoader
from qlib.data.dataset.processor import Processor
from qlib.data.filter import SeriesDFilter
from qlib.data.ops import ElemOperator


class WholeSampleNorm(Processor):
    """Mean and deviation of all days."""

    def __call__(self, df):
        features = df["feature"]
        df[features.columns.map(lambda c: ("feature", c))] = ((features - features.mean()) / features.std()).to_numpy()
        return df


class BackFill(Processor):
    """A missing value is the next one."""

    def __call__(self, df):
        return df.groupby(level="instrument", group_keys=False).bfill()


class MeanFill(Processor):
    """A missing value is the instrument's mean over all days."""

    def __call__(self, df):
        return df.fillna(df.groupby(level="instrument").transform("mean"))


class DropUnlabelled(Processor):
    """Rows whose label is missing are left out, and it says that this is fine at inference."""

    def __call__(self, df):
        return df[df["label"].notna().all(axis=1)]


class DropLosers(Processor):
    """Rows with a bad label are left out."""

    def __call__(self, df):
        return df[~(df["label"].iloc[:, 0] < -0.02)]


class Centred(Processor):
    """A mean over five days around the day."""

    def __call__(self, df):
        features = df["feature"].groupby(level="instrument", group_keys=False)
        smooth = features.transform(lambda s: s.rolling(5, center=True, min_periods=1).mean())
        df[smooth.columns.map(lambda c: ("feature", c))] = smooth.to_numpy()
        return df


class RankOverTime(Processor):
    """An instrument's days are ranked among all its days."""

    def __call__(self, df):
        rank = df["feature"].groupby(level="instrument").rank(pct=True)
        df[rank.columns.map(lambda c: ("feature", c))] = rank.to_numpy()
        return df


class LabelInside(Processor):
    """The feature MA5 is the label with a little noise."""

    def __call__(self, df):
        df[("feature", "MA5")] = (df["label"].iloc[:, 0] + 0.001).to_numpy(dtype="float32")
        return df


class ClipLearned(Processor):
    """Learns what is an outlier from everything that it is given."""

    def fit(self, df=None):
        self.high = df["feature"].quantile(0.9)

    def __call__(self, df):
        clipped = df["feature"].clip(upper=self.high, axis=1)
        df[clipped.columns.map(lambda c: ("feature", c))] = clipped.to_numpy()
        return df


class TopOfAllDays(SeriesDFilter):
    """Belongs whoever is dear on the average of all days."""

    def _getFilterSeries(self, instruments, fstart, fend):  # noqa: N802  Qlib's name
        mean = D.features(list(instruments), ["$close"], freq="day").groupby(level="instrument").mean()["$close"]
        days = pd.DatetimeIndex(D.calendar(freq="day"))
        keep = set(mean.index[mean > mean.median()])
        return {name: pd.Series(name in keep, index=days) for name in instruments}

    @staticmethod
    def from_config(config):
        return TopOfAllDays(config.get("filter_start_time"), config.get("filter_end_time"))

    def to_config(self):
        return {"filter_type": type(self).__name__, "filter_start_time": None, "filter_end_time": None}


class Peek(ElemOperator):
    """A user's operator that looks at tomorrow and says that it does not."""

    def _load_internal(self, instrument, start_index, end_index, freq):
        return self.feature.load(instrument, start_index, end_index, freq).shift(-1)


class SurvivorsLoader(QlibDataLoader):
    """Only instruments that have a bar on the last day of the store."""

    def load(self, instruments=None, start_time=None, end_time=None):
        found = super().load(instruments, start_time, end_time)
        last = found.index.get_level_values("datetime").max()
        alive = found.loc[last].dropna(how="all").index
        return found[found.index.get_level_values("instrument").isin(alive)]


class WindowsAhead(TSDatasetH):
    """Windows that end a day later than they say."""

    def prepare(self, segments, **kwargs):
        return _Shifted(super().prepare(segments, **kwargs))


class _Shifted:
    def __init__(self, sampler):
        self.sampler = sampler
        places = {label: place for place, label in enumerate(sampler.get_index())}
        self.later, newest = dict.fromkeys(places.values()), {}
        for date, name in sorted(places, reverse=True):
            self.later[places[date, name]] = newest.get(name, places[date, name])
            newest[name] = places[date, name]

    def get_index(self):
        return self.sampler.get_index()

    def __len__(self):
        return len(self.sampler)

    def __getitem__(self, i):
        return self.sampler[self.later[i]]
