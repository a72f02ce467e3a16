"""Frames as Arrow files, equal to the bit when they come back.

    file, described = ...                     what the frame looks like, as JSON, and its columns in one Arrow file
    write_frame(open_file, frame)
    read_frame(path, described)

Columns are called by their number and index levels are kept as codes, so that any labels are allowed. Columns of one
type that stand together come back as one block of memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from qlib.errors import ConfigError

NUMBERS = "fiubMm"  # kinds of numpy types that Arrow holds bit by bit


def check_frame(frame: pd.DataFrame) -> None:
    """Raise ConfigError for a column that is neither numbers, nor dates, nor texts."""
    for at, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, np.dtype) and dtype.kind in NUMBERS:
            continue
        column = frame.iloc[:, at]
        texts = column[column.notna()]
        if str(dtype) not in ("object", "str", "string") or not all(isinstance(text, str) for text in texts):
            raise ConfigError(
                f"column {frame.columns[at]} of dtype {dtype} cannot be saved; numbers, dates and texts can"
            )


def write_frame(file: IO[bytes], frame: pd.DataFrame) -> None:
    """Write the columns and the index codes of a frame to an open file."""
    import pyarrow as pa  # noqa: PLC0415

    columns = {str(at): _arrow(frame.iloc[:, at]) for at in range(frame.shape[1])}
    if isinstance(frame.index, pd.MultiIndex):
        columns |= {f"code{at}": pa.array(np.asarray(code)) for at, code in enumerate(frame.index.codes)}
    table = pa.table(columns)
    with pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table, max_chunksize=max(len(table), 1))


def _arrow(column: pd.Series) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(column.dtype, np.dtype) and column.dtype.kind in NUMBERS:
        return pa.array(column.to_numpy())
    return pa.array([text if isinstance(text, str) else None for text in column], pa.string())


def read_frame(path: Path, levels: list[pd.Index], index: pd.Index | None, dtypes: list[str]) -> pd.DataFrame:
    """Return the frame in a file; its columns are numbered.

    Parameters
    ----------
    levels
        The levels of a MultiIndex, whose codes the file holds.
    index
        Any other index; None when it is a MultiIndex.
    dtypes
        One for each column.
    """
    import pyarrow as pa  # noqa: PLC0415

    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        if index is None:
            codes = [table.column(f"code{at}").to_numpy() for at in range(len(levels))]
            index = pd.MultiIndex(levels=levels, codes=codes, names=[level.name for level in levels])  # type: ignore[arg-type]
        pieces, low = [], 0
        for at in range(1, len(dtypes) + 1):
            if at == len(dtypes) or dtypes[at] != dtypes[low]:
                pieces.append(_piece(table, low, at, dtypes[low], index))
                low = at
    if not pieces:
        return pd.DataFrame(index=index)
    lazily: dict[str, Any] = {"copy": False} if pd.__version__.startswith("2.") else {}
    return pieces[0] if len(pieces) == 1 else pd.concat(pieces, axis=1, **lazily)


def _piece(table: Any, low: int, high: int, dtype: str, index: pd.Index) -> pd.DataFrame:
    """Return neighbouring columns of one type as a frame over one block of memory."""
    names = range(low, high)
    if dtype not in ("object", "str", "string"):
        block = np.empty((high - low, len(index)), np.dtype(dtype))
        for at in names:
            block[at - low] = table.column(str(at)).to_numpy()
        return pd.DataFrame(block.T, index=index, columns=names, copy=False)
    texts = {at: table.column(str(at)).to_pylist() for at in names}
    # The text type of pandas 3 does not exist in pandas 2, where texts are objects.
    return pd.DataFrame(texts, index=index, dtype="object" if dtype == "object" else None)
