"""Show what a configuration says, its placeholders filled; or import `ConfigManager` from here.

    python scripts/config_manager.py --config config/workflow.json --get trading_config

A door: the class lives in qlib.cli.config_manager.
"""

import sys

from qlib.cli.config_manager import ConfigManager, run

__all__ = ["ConfigManager"]

if __name__ == "__main__":
    sys.exit(run())
