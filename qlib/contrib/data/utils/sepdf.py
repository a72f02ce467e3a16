"""A frame kept as one frame per column group, so that groups of different types are never copied into each other.

    frame = SepDataFrame({"feature": X, "label": y}, join="feature")
    frame["feature"]                    X itself, no copy
    frame[("feature", "KMID")]          one column
    frame.loc["2020-01-02":]            the rows of every group
    frame.loc(axis=1)["label"]          one group

All groups have the rows of the group named by `join`. In Qlib such a frame claims to be a `pandas.DataFrame`: the
builtin `isinstance` is replaced for the whole program. Here it is a class of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from qlib.errors import InputError, MissingDataError, did_you_mean


def align_index(df_dict: Mapping[str, Any], join: str | None) -> dict[str, Any]:
    """Return the frames with the rows of the one called `join` (NaN where a frame lacks one); None leaves them.

    >>> two, one = pd.DataFrame({"x": [1, 2]}), pd.DataFrame({"y": [3]})
    >>> align_index({"two": two, "one": one}, "two")["one"]["y"].tolist()
    [3.0, nan]
    """
    if join is None:
        return dict(df_dict)
    index = _known(df_dict, join).index
    return {name: df if df.index is index else df.reindex(index) for name, df in df_dict.items()}


def _known(df_dict: Mapping[str, Any], name: Any) -> Any:
    try:
        return df_dict[name]
    except (KeyError, TypeError):
        hint = did_you_mean(str(name), df_dict)
        raise MissingDataError(f"no group is called {name!r}; there are {', '.join(map(str, df_dict))}{hint}") from None


class SepDataFrame:
    """Frames with the same rows, by group.

    Parameters
    ----------
    df_dict
        Group -> frame.
    join
        The group whose rows all others get.
    skip_align
        The frames have the same rows already: take them as they are.
    """

    def __init__(self, df_dict: Mapping[str, Any], join: str, skip_align: bool = False) -> None:
        self.join = join
        self._df_dict = dict(df_dict) if skip_align else align_index(df_dict, join)
        _known(self._df_dict, join)

    @property
    def loc(self) -> SDFLoc:
        """Rows by label: `loc[rows]`, `loc[rows, group]`, `loc(axis=0)[rows]`, `loc(axis=1)[groups]`."""
        return SDFLoc(self, join=self.join)

    @property
    def index(self) -> pd.Index:
        """The rows, those of the group `join`."""
        return self._df_dict[self.join].index

    @property
    def columns(self) -> pd.MultiIndex:
        """All columns as (group, name)."""
        return pd.MultiIndex.from_tuples([(group, name) for group, df in self._df_dict.items() for name in df.columns])

    def apply_each(self, method: str, skip_align: bool = True, *args: Any, **kwargs: Any) -> SepDataFrame | None:
        """Call the method of that name of every frame.

        `skip_align=False` aligns the results once more. Returns a SepDataFrame of the results, None with
        `inplace=True`.
        """
        results = {}
        for group, df in self._df_dict.items():
            found = getattr(df, method, None)
            if found is None:
                raise InputError(f"apply_each: received {method!r}; a method of {type(df).__name__} is needed")
            results[group] = found(*args, **kwargs)
        if kwargs.get("inplace"):
            return None
        return SepDataFrame(results, join=self.join, skip_align=skip_align)

    def sort_index(self, *args: Any, **kwargs: Any) -> SepDataFrame | None:
        """Sort every frame."""
        return self.apply_each("sort_index", True, *args, **kwargs)

    def copy(self, *args: Any, **kwargs: Any) -> SepDataFrame | None:
        """Copy every frame."""
        return self.apply_each("copy", True, *args, **kwargs)

    def droplevel(self, *args: Any, **kwargs: Any) -> SepDataFrame | None:
        """Drop a level of the rows of every frame (Qlib names this method but has not written it)."""
        return self.apply_each("droplevel", True, *args, **kwargs)

    def __getitem__(self, item: Any) -> Any:
        """Return a group, the column (group, name), or a list of groups as a SepDataFrame."""
        if isinstance(item, tuple) and len(item) == 2:
            return _known(self._df_dict, item[0])[item[1]]
        if isinstance(item, list):
            chosen = {group: _known(self._df_dict, group) for group in item}
            return SepDataFrame(chosen, self.join if self.join in chosen else item[0], skip_align=True)
        return _known(self._df_dict, item)

    def __setitem__(self, item: Any, df: Any) -> None:
        """Set a group, or the column (group, name); a frame gets the rows of this one."""
        if not isinstance(item, tuple):
            if not isinstance(df, pd.DataFrame | pd.Series):
                raise InputError(f"group {item!r}: received {type(df).__name__}; a DataFrame or Series is allowed")
            self._df_dict[item] = df if item == self.join else df.reindex(self.index)
            if item == self.join:
                self._df_dict = align_index(self._df_dict, self.join)
            return
        group, *names = item
        if not names:
            raise InputError(f"column: received {item!r}; (group, name) is allowed")
        name = names[0] if len(names) == 1 else tuple(names)
        if group in self._df_dict:
            changed = self._df_dict[group].copy(deep=False)  # the caller's frame stays as it is
            changed[name] = df
            self._df_dict[group] = changed
        else:
            self._df_dict[group] = pd.DataFrame({name: df}, index=self.index)

    def __delitem__(self, item: Any) -> None:
        """Take a group out; when it was `join`, the first of the others takes over."""
        _known(self._df_dict, item)
        if len(self._df_dict) == 1:
            raise InputError(f"group {item!r} is the last one: a SepDataFrame has at least one")
        del self._df_dict[item]
        if item == self.join:
            self.join = next(iter(self._df_dict))

    def __contains__(self, item: Any) -> bool:
        """Return whether there is such a group, or such a column (group, name)."""
        if isinstance(item, tuple) and len(item) == 2:
            return item[0] in self._df_dict and item[1] in self._df_dict[item[0]].columns
        return item in self._df_dict

    def __iter__(self) -> Iterator[str]:
        return iter(self._df_dict)

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{group}: {len(df.columns)} columns" for group, df in self._df_dict.items())
        return f"SepDataFrame({len(self)} rows of {self.join}; {shapes})"

    @staticmethod
    def merge(df_dict: Mapping[str, pd.DataFrame], join: str) -> pd.DataFrame:
        """Return one frame of all groups beside each other, without the groups' names, with the rows of `join`.

        Raises InputError when two groups have a column of the same name.
        """
        aligned = align_index(df_dict, join)
        names = pd.Index([name for df in aligned.values() for name in df.columns])
        if not names.is_unique:
            twice = ", ".join(map(str, names[names.duplicated()].unique()[:5]))
            raise InputError(f"merge: several groups have the columns {twice}; rename them first")
        return pd.concat(list(aligned.values()), axis=1)


class SDFLoc:
    """What `SepDataFrame.loc` is: rows of every group, or groups.

    Parameters
    ----------
    sdf
        The frame.
    join
        The group whose rows count.
    """

    def __init__(self, sdf: SepDataFrame, join: str) -> None:
        self._sdf = sdf
        self.axis: int | None = None
        self.join = join

    def __call__(self, axis: int) -> SDFLoc:
        """Choose rows (0) or groups (1), as in pandas."""
        if axis not in (0, 1):
            raise InputError(f"loc: received axis={axis!r}; allowed are 0 (rows) and 1 (groups)")
        self.axis = axis
        return self

    def __getitem__(self, args: Any) -> Any:
        if self.axis == 1:
            return self._sdf if isinstance(args, slice) and args == slice(None) else self._sdf[args]
        if self.axis == 0 or not (isinstance(args, tuple) and len(args) == 2 and self._names_groups(args[1])):
            return self._rows(args)
        rows, groups = args
        chosen = self._sdf if isinstance(groups, slice) else self._sdf[groups if isinstance(groups, list) else [groups]]
        return SDFLoc(chosen, chosen.join)._rows(rows)

    def _names_groups(self, part: Any) -> bool:
        """Return whether the second part of `loc[a, b]` is about groups, rather than the second level of the rows."""
        if isinstance(part, slice):
            return part == slice(None)
        names = part if isinstance(part, list) else [part]
        return all(isinstance(name, str) and name in self._sdf for name in names)

    def _rows(self, rows: Any) -> SepDataFrame:
        places = pd.Series(range(len(self._sdf)), index=self._sdf.index).loc[rows]
        if not isinstance(places, pd.Series):  # one whole row
            places = pd.Series([places])
        if len(places) == 0 or len(places) == len(self._sdf):
            first, last = 0, len(places)
        else:
            first, last = int(places.iloc[0]), int(places.iloc[-1]) + 1
        together = last - first == len(places) and places.is_monotonic_increasing
        at: Any = slice(first, last) if together else places.to_numpy()
        parts = {group: self._sdf[group].iloc[at] for group in self._sdf}
        return SepDataFrame(parts, join=self.join, skip_align=True)
