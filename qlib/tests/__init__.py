"""Qlib's path for test fixtures: a test case that brings its own data.

class MyTest(TestAutoData): ...      before the first test the sample market is there and qlib is initialised
"""

from __future__ import annotations

import unittest
from typing import Any, ClassVar

import qlib
from qlib.constant import REG_CRYPTO
from qlib.crypto.sample_store import DEFAULT_TARGET
from qlib.tests.data import GetData

__all__ = ["GetData", "TestAutoData"]


class TestAutoData(unittest.TestCase):
    """Test case on the synthetic sample market, written on first use.

    Qlib's class downloads Chinese daily bars; here `enable_1d_type` and `enable_1min` are accepted for the sake of its
    signature and both mean the sample market, which holds `day` and `60min`.
    """

    _setup_kwargs: ClassVar[dict[str, Any]] = {}
    provider_uri: ClassVar[str] = DEFAULT_TARGET
    provider_uri_1day: ClassVar[str] = DEFAULT_TARGET
    provider_uri_1min: ClassVar[str] = DEFAULT_TARGET

    @classmethod
    def setUpClass(cls, enable_1d_type: str = "simple", enable_1min: bool = False) -> None:
        GetData().sample(target_dir=cls.provider_uri, exists_skip=True)
        qlib.init(provider_uri=cls.provider_uri, region=REG_CRYPTO, **cls._setup_kwargs)
