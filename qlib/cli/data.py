"""`python -m qlib.cli.data COMMAND ...`: the same commands as scripts/get_data.py."""

from qlib.tests.data import GetData

__all__ = ["GetData"]

if __name__ == "__main__":
    import fire

    fire.Fire(GetData)
