"""Is a data set fit for use? `python scripts/check_data_health.py check_data --qlib_dir STORE` (qlib.cli.health)."""

from qlib.cli.health import DataHealthChecker, run

__all__ = ["DataHealthChecker"]

if __name__ == "__main__":
    run()
