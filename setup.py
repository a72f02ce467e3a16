"""The compiled part only; everything else stands in pyproject.toml."""

import platform
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

# NaN and infinity keep their meaning, so never -ffast-math; without the two -fno-... gcc vectorises nothing here.
UNIX = ["-O3", "-std=c++17", "-fno-math-errno", "-fno-trapping-math"]
# Without fused multiply-add every instruction set gives the same bits; the two warnings are about gcc's own headers.
LANES = [*UNIX, "-g0", "-ffp-contract=off", "-Wno-psabi", "-Wno-maybe-uninitialized", "-Wno-ignored-attributes"]
X86 = sys.platform != "win32" and platform.machine() in ("x86_64", "AMD64")
# The same code for two instruction sets; the machine is asked which it has when a program is made.
SETS = {"baseline": [], "v3": ["-march=x86-64-v3"]} if X86 else {"baseline": []}


class Build(build_ext):
    """Compile each `machine_*.cpp` for its own instruction set, and files of one extension side by side.

    An editable install takes what lies in the tree, where that is newer than all it is made from: a second environment
    beside the first compiles nothing.
    """

    def build_extension(self, ext: Extension) -> None:
        there = self.get_ext_filename(ext.name)
        written = [pyx if Path(pyx := str(Path(name).with_suffix(".pyx"))).exists() else name for name in ext.sources]
        if self.editable_mode and not newer_group([*written, *ext.depends, __file__], there, "newer"):
            Path(self.get_ext_fullpath(ext.name)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(there, self.get_ext_fullpath(ext.name))
            return
        compiler = self.compiler
        plain = compiler.compile

        def compile_each(sources: list[str], *args: Any, extra_postargs: Any = None, **named: Any) -> list[str]:
            def one(source: str) -> list[str]:
                own = SETS.get(Path(source).stem.removeprefix("machine_"), [])
                return plain([source], *args, extra_postargs=[*(extra_postargs or []), *own], **named)

            with ThreadPoolExecutor(2) as threads:
                return [made for part in threads.map(one, sources) for made in part]

        compiler.compile = compile_each
        try:
            super().build_extension(ext)
        finally:
            compiler.compile = plain


setup(
    cmdclass={"build_ext": Build},
    ext_modules=cythonize(
        [
            Extension(
                "qlib.data.kernels.program",
                [
                    "qlib/data/kernels/program.pyx",
                    "qlib/data/kernels/sorted.cpp",
                    *(f"qlib/data/kernels/machine_{name}.cpp" for name in SETS),
                ],
                depends=sorted(map(str, Path("qlib/data/kernels").glob("*.hpp"))),
                language="c++",
                extra_compile_args=LANES,
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
                "qlib.data.storage.rows",
                ["qlib/data/storage/rows.pyx"],
                depends=["qlib/data/storage/rows.hpp"],
                language="c++",
                extra_compile_args=["/O2", "/std:c++17"] if sys.platform == "win32" else UNIX,
            ),
            Extension(
                "qlib.backtest.holdings",
                ["qlib/backtest/holdings.pyx"],
                extra_compile_args=["/O2"] if sys.platform == "win32" else ["-O2", "-ffp-contract=off"],
            ),
            Extension(
                "qlib.contrib.strategy.ranking",
                ["qlib/contrib/strategy/ranking.pyx"],
                language="c++",
                extra_compile_args=["/O2", "/std:c++17"] if sys.platform == "win32" else UNIX,
            ),
            Extension(
                "qlib.collect.native.lines",
                [
                    "qlib/collect/native/lines.pyx",
                    *(f"qlib/collect/native/machine_{name}.cpp" for name in SETS),
                ],
                depends=["qlib/collect/native/lines.hpp", "qlib/collect/native/read.hpp"],
                language="c++",
                extra_compile_args=["/O2", "/std:c++17"] if sys.platform == "win32" else UNIX,
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
            Extension(
                "qlib.data.dataset.kernels.dates",
                ["qlib/data/dataset/kernels/dates.pyx"],
                depends=["qlib/data/dataset/kernels/dates.hpp"],
                language="c++",
                extra_compile_args=["/O2", "/std:c++17"] if sys.platform == "win32" else [*UNIX, "-ffp-contract=off"],
            ),
            Extension(
                "qlib.data.dataset.kernels.windows",
                ["qlib/data/dataset/kernels/windows.pyx"],
                depends=["qlib/data/dataset/kernels/windows.hpp"],
                language="c++",
                extra_compile_args=["/O2", "/std:c++17"] if sys.platform == "win32" else UNIX,
            ),
        ],
        compiler_directives={"language_level": 3},
    ),
)
