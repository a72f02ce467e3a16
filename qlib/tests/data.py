"""`GetData`: Qlib's door to ready-made data; what a machine without a network can have is the synthetic sample market.

python scripts/get_data.py sample --target_dir ~/.qlib/qlib_data/sample_data --exists_skip
"""

from __future__ import annotations

from pathlib import Path

from qlib.crypto.planted import read_truth
from qlib.crypto.sample import DEFAULT_SEED, MarketSpec
from qlib.crypto.sample_store import DEFAULT_TARGET, write_sample
from qlib.errors import InputError

AVAILABLE = "`get_data.py sample` writes a synthetic market of 50 coins without a network"


class GetData:
    """Commands of `scripts/get_data.py`.

    Parameters
    ----------
    delete_zip_file
        Whether to delete a downloaded archive after unpacking it (Qlib's argument; the sample needs no archive).
    """

    def __init__(self, delete_zip_file: bool = False) -> None:
        self.delete_zip_file = delete_zip_file

    def sample(
        self,
        target_dir: str | Path = DEFAULT_TARGET,
        seed: int = DEFAULT_SEED,
        exists_skip: bool = False,
        null: bool = False,
    ) -> str:
        """Write the synthetic market as a `.bin` store; return what was done as a few sentences.

        Parameters
        ----------
        target_dir
            Folder of the store; must be absent, empty, or an older sample store (which is replaced).
        seed
            Seed of the market: the same seed gives the same bytes.
        exists_skip
            Keep a sample store that is already there.
        null
            Write the null twin: the same shocks with the predictable part switched off.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"seed must be a whole number from 0, received {seed!r}")
        for name, value in (("exists_skip", exists_skip), ("null", null)):
            if not isinstance(value, bool):
                raise InputError(f"{name} must be True or False, received {value!r}")
        spec = MarketSpec(seed=seed, ic=0.0) if null else MarketSpec(seed=seed)
        folder, written = write_sample(target_dir, spec, exists_skip=exists_skip)
        return _report(folder, written)

    def qlib_data(self, *args: object, **kwargs: object) -> str:
        """Qlib's stock data sets; refused with a sentence, because their download is not built."""
        raise InputError(_refusal("qlib_data"))

    def download_data(self, *args: object, **kwargs: object) -> str:
        """Download of a named archive; refused with a sentence, because it is not built."""
        raise InputError(_refusal("download_data"))


def _refusal(command: str) -> str:
    return f"received {command}, which would download from the network; that is not built yet, but {AVAILABLE}"


def _report(folder: Path, written: bool) -> str:
    truth = read_truth(folder)
    spec = truth["spec"]
    kind = "null twin, nothing planted" if truth["null_twin"] else f"planted IC {truth['planted']['ic']}"
    done = "written to" if written else "already there, kept:"
    return "\n".join(
        [
            f"SYNTHETIC market {done} {folder}",
            f"  {spec['coins']} invented coins and MARKET, {spec['days']} days from {spec['start']} "
            f"(60min: the last {spec['hourly_days']} days), seed {spec['seed']}, {kind}",
            "  No price in it is real; README.txt and truth.json in the folder say what was invented and planted.",
            "Next: qrun config/workflow.json",
        ]
    )
