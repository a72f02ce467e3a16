"""The compiled part only; everything else stands in pyproject.toml."""

import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# NaN and infinity keep their meaning, so never -ffast-math; without the two -fno-... gcc vectorises nothing here.
UNIX = ["-O3", "-std=c++17", "-fno-math-errno", "-fno-trapping-math"]

setup(
    ext_modules=cythonize(
        [
            Extension(
                "qlib.data.kernels.rolling",
                ["qlib/data/kernels/rolling.pyx"],
                depends=sorted(map(str, Path("qlib/data/kernels").glob("*.hpp"))),
                language="c++",
                extra_compile_args=["/O2", "/std:c++17"] if sys.platform == "win32" else UNIX,
            ),
            Extension(
                "qlib.data.storage.reader",
                ["qlib/data/storage/reader.pyx"],
                depends=["qlib/data/storage/reader.hpp"],
                language="c++",
                extra_compile_args=["/O2", "/std:c++17"] if sys.platform == "win32" else [*UNIX, "-pthread"],
                extra_link_args=[] if sys.platform == "win32" else ["-pthread"],
            ),
            Extension(
                "qlib.data.kernels.crosssection",
                ["qlib/data/kernels/crosssection.pyx"],
                depends=["qlib/data/kernels/crosssection.hpp"],
                language="c++",
                extra_compile_args=["/O2", "/std:c++17"] if sys.platform == "win32" else UNIX,
            ),
            Extension(
                "qlib.data.kernels.runs",
                ["qlib/data/kernels/runs.pyx"],
                language="c++",
                extra_compile_args=["/O2", "/std:c++17"] if sys.platform == "win32" else UNIX,
            ),
        ],
        compiler_directives={"language_level": 3},
    )
)
