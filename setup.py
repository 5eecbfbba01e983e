"""Build the compiled kernels where a compiler is; elsewhere warn in one line and install without them.

Three settings, read from the environment:

``HARNESS_COMPILE=0|1|auto``
    0 never compiles, 1 makes a failure an error, auto (the default) falls back to the reference.
``HARNESS_CUDA=0|1|auto``
    1 compiles the CUDA kernels and needs the toolkit; auto does so when torch is a CUDA build with nvcc.
    No GPU is needed.
``HARNESS_CUDA_ARCHITECTURES``
    the architectures to compile for, ``80;90`` if unset; PTX of the last is added.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import Extension, setup

ROOT = Path(__file__).parent
CPU_FLAGS = [
    "-O3",
    "-std=c++20",
    "-fno-math-errno",
    "-fvisibility=hidden",
    "-Wall",
    "-Wno-maybe-uninitialized",
]
CUDA_FLAGS = ["-O3", "-std=c++20", "--expt-relaxed-constexpr", "-Xcompiler", "-fPIC,-fvisibility=hidden"]
STABLE_ABI = [
    "-DTORCH_TARGET_VERSION=0x020b000000000000"
]  # torch 2.11: one binary works with every later torch
TORCH_MINIMUM = (2, 11)


class BuildError(Exception):
    """The reason why the kernels cannot be built, in one line."""


def read_setting(name: str, default: str = "auto") -> str:
    """Return one of the three-way settings."""
    value = os.environ.get(name, default)
    if value not in ("0", "1", "auto"):
        raise SystemExit(f"setup: {name}: expected 0, 1 or auto; got '{value}'")
    return value


def warn(reason: str) -> None:
    """Print in one line that the package will run on the reference."""
    sys.stderr.write(
        f"harness: WARNING: compiled kernels left out ({reason}); the reference in PyTorch will run\n"
    )


def import_torch() -> Any:
    """Return torch, new enough and with its build tools."""
    try:
        torch = importlib.import_module("torch")
        importlib.import_module("torch.utils.cpp_extension")
    except ImportError as error:
        raise BuildError(f"torch is not importable here: {error}; use --no-build-isolation") from error
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < TORCH_MINIMUM:
        raise BuildError(f"expected torch >= 2.11; got {torch.__version__}")
    return torch


def check_compiler() -> None:
    """Check that the C++ compiler named by CXX, or c++, can be started."""
    compiler = os.environ.get("CXX", "c++").split()[0]
    if shutil.which(compiler) is None:
        raise BuildError(f"no C++ compiler: '{compiler}' is not on PATH")


def find_nvcc() -> str | None:
    """Return the path of nvcc, or None."""
    home = os.environ.get("CUDA_HOME")
    return shutil.which("nvcc", path=str(Path(home) / "bin")) if home else shutil.which("nvcc")


def needs_cuda(torch: Any) -> bool:
    """Decide from HARNESS_CUDA, nvcc and torch's own build whether to compile the CUDA kernels."""
    choice = read_setting("HARNESS_CUDA")
    if choice == "1" and find_nvcc() is None:
        raise SystemExit(
            "setup: HARNESS_CUDA=1: expected the CUDA toolkit; got no nvcc on PATH or in CUDA_HOME"
        )
    return choice == "1" or (choice == "auto" and torch.version.cuda is not None and find_nvcc() is not None)


def cuda_targets() -> list[str]:
    """Return nvcc's architecture flags: machine code of each architecture, and PTX of the last."""
    names = os.environ.get("HARNESS_CUDA_ARCHITECTURES", "80;90").split(";")
    flags = [f"-gencode=arch=compute_{name},code=sm_{name}" for name in names]
    return [*flags, f"-gencode=arch=compute_{names[-1]},code=compute_{names[-1]}"]


def find_sources(suffix: str) -> list[str]:
    """Return the sources in the folders of csrc, sorted, relative to the root."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").glob(f"*/*{suffix}"))


def build_cuda(torch: Any, extension: Extension, target: Path) -> None:
    """Compile and link the .cu files with nvcc itself: torch's own tools refuse on a CPU build of torch."""
    target.parent.mkdir(parents=True, exist_ok=True)
    includes = [f"-I{path}" for path in (ROOT / "csrc", *torch.utils.cpp_extension.include_paths())]
    libraries = [f"-L{path}" for path in torch.utils.cpp_extension.library_paths()]
    command = [
        find_nvcc() or "nvcc",
        *CUDA_FLAGS,
        *STABLE_ABI,
        "-DUSE_CUDA",
        *cuda_targets(),
        "--threads",
        "0",
        *includes,
        "-shared",
        *extension.sources,
        *libraries,
        "-ltorch_cpu",
        "-lc10",
        "-o",
        str(target),
    ]
    subprocess.run(command, check=True)


def build_class(torch: Any) -> type:
    """Return torch's build command, extended by the fallback and by nvcc."""
    base: Any = torch.utils.cpp_extension.BuildExtension

    class Build(base):  # type: ignore[misc]
        extensions: list[Extension]

        def build_extensions(self) -> None:
            everything = list(self.extensions)
            try:
                self.extensions = [ext for ext in everything if not ext.name.endswith("_cuda")]
                super().build_extensions()
                for extension in everything:
                    if extension not in self.extensions:
                        build_cuda(torch, extension, Path(self.get_ext_fullpath(extension.name)))
                self.extensions = everything
            except (Exception, SystemExit) as error:
                if "1" in (read_setting("HARNESS_COMPILE"), read_setting("HARNESS_CUDA")):
                    raise
                self.extensions = []
                warn(f"the compiler failed: {(str(error) or type(error).__name__).splitlines()[0]}")

    return Build


def setup_arguments() -> dict[str, Any]:
    """Return what setup() needs to build the kernels; nothing when they cannot be built."""
    if read_setting("HARNESS_COMPILE") == "0":
        return {}
    try:
        torch = import_torch()
        check_compiler()
    except BuildError as error:
        if "1" in (read_setting("HARNESS_COMPILE"), read_setting("HARNESS_CUDA")):
            raise SystemExit(f"setup: {error}") from error
        warn(str(error))
        return {}
    common = {"include_dirs": [str(ROOT / "csrc")], "py_limited_api": True, "optional": True}
    extensions = [
        torch.utils.cpp_extension.CppExtension(
            "harness.ops._kernels",
            find_sources(".cpp"),
            extra_compile_args={"cxx": [*CPU_FLAGS, *STABLE_ABI]},
            **common,
        )
    ]
    if sys.platform == "linux":  # the memory pool, whose sources need torch's C++ headers
        extensions.append(
            torch.utils.cpp_extension.CppExtension(
                "harness.ops._kernels_memory",
                find_sources(".cc"),
                extra_compile_args={"cxx": CPU_FLAGS},
                **common,
            )
        )
    if needs_cuda(torch):
        extensions.append(Extension("harness.ops._kernels_cuda", find_sources(".cu"), **common))
    return {
        "ext_modules": extensions,
        "cmdclass": {"build_ext": build_class(torch)},
        "options": {"bdist_wheel": {"py_limited_api": "cp311"}},  # one wheel for every later Python
    }


setup(**setup_arguments())
