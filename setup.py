"""The extension modules and their switches; everything else is in pyproject.toml.

CBACKPROP_CHECKED=1      guards behind allocations and the padding's zeros are looked at after each
                         call; the 512-bit level is lowered to AVX2, so that it is tested anywhere
CBACKPROP_SANITIZE=LIST  -fsanitize=LIST (address,undefined for one), with debug information
CBACKPROP_LEVELS=LIST    these SIMD levels alone (v3,v4 for one): for a check, soon thrown away
CBACKPROP_WARNINGS=1     what -Wall and -Wextra find in kernels and headers fails the build
CBACKPROP_DEBUG=1        with debug information, nothing stripped: for valgrind and debuggers
CBACKPROP_COVERAGE=1     gcov counts which lines of the kernels run (tests/deep/coverage.py)
CBACKPROP_PURE=1         no extension modules: a py3-none-any wheel on the reference alone
CBACKPROP_REQUIRE_EXT=1  a module that does not compile fails the build; without it, the package
                         installs and falls back to the reference with a warning
"""

import os
import platform
import sys

from setuptools import Extension, setup

KERNELS = "src/cbackprop/kernels"
CHECKED = os.environ.get("CBACKPROP_CHECKED", "") not in ("", "0")
SANITIZE = os.environ.get("CBACKPROP_SANITIZE", "")
WARNINGS = os.environ.get("CBACKPROP_WARNINGS", "") not in ("", "0")
DEBUG = os.environ.get("CBACKPROP_DEBUG", "") not in ("", "0")
COVERAGE = os.environ.get("CBACKPROP_COVERAGE", "") not in ("", "0")
LEVELS = os.environ.get("CBACKPROP_LEVELS", "")
PURE = os.environ.get("CBACKPROP_PURE", "") not in ("", "0")
REQUIRE_EXT = os.environ.get("CBACKPROP_REQUIRE_EXT", "") not in ("", "0")

# Generated C and objects of one set of switches do not serve another.
BUILD = "build/" + "-".join(
    [
        "pure" if PURE else "checked" if CHECKED else "plain",
        *(["warnings"] if WARNINGS else []),
        *(["debug"] if DEBUG else []),
        *(["coverage"] if COVERAGE else []),
        *filter(None, SANITIZE.split(",")),
    ]
)
MSVC = sys.platform == "win32"  # where setuptools takes no other compiler from CC


def simd_levels():
    """(level, compiler flags) of the modules to build for this machine's architecture."""
    if platform.machine().lower() not in ("x86_64", "amd64") or MSVC:
        return [("generic", [])]
    # The very features that _cpu.pyx asks for; -march=x86-64-v3 would allow a few more.
    v2 = ["-mssse3", "-msse4.1", "-msse4.2", "-mpopcnt"]
    v3 = [*v2, "-mavx2", "-mfma", "-mbmi", "-mbmi2"]
    # 512-bit vectors must be asked for: GCC and clang prefer 256 bits on their own.
    v4 = [*v3, *(f"-mavx512{part}" for part in ("f", "bw", "vl", "dq", "cd"))]
    v4 += ["-mprefer-vector-width=512"]
    if CHECKED:
        # In halves every operation is two: -O2 keeps that from growing further.
        v4 = [*v3, "-DCBACKPROP_VECTOR_BYTES=64", "-Wno-psabi", "-O2"]
    return [("v2", v2), ("v3", v3), ("v4", v4)]


def compiler_flags():
    """(compile, link, libraries) of every module.

    No fast-math of any kind, and fused multiply-adds only where a kernel asks for one.
    """
    if MSVC:
        return ["/O2", "/fp:precise"], [], []
    flags = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-pthread"]
    link_flags = ["-pthread"]
    if SANITIZE:
        # CPython's own -fwrapv would hide overflows from the sanitizer.
        flags = [
            "-O1",
            "-g",
            "-fno-omit-frame-pointer",
            "-fno-wrapv",
            "-ffp-contract=off",
            "-pthread",
            f"-fsanitize={SANITIZE}",
        ]
        link_flags += [f"-fsanitize={SANITIZE}"]
    elif DEBUG:
        flags += ["-g", "-fno-omit-frame-pointer"]
    elif COVERAGE:
        # Lines stay apart, and functions that nothing calls stay in. Counts get lost between
        # threads, but none falls back to 0.
        flags += ["-O1", "-fno-inline", "-fkeep-static-functions"]
        flags += ["--coverage", "-fprofile-update=single"]
        link_flags += ["--coverage"]
    else:
        # No debug information and no tables for unwinding: a tenth of the installed size.
        flags += ["-g0", "-fno-asynchronous-unwind-tables"]
        # Nor what -O3 makes beyond vectors, twins of functions and loops: another tenth of the
        # size, and none of the speed (docs/speed.md).
        flags += ["-fno-inline-functions", "-fno-unswitch-loops", "-fno-split-loops"]
        flags += ["-fno-predictive-commoning", "-fno-ipa-cp-clone", "-fno-tree-loop-distribution"]
        if sys.platform == "linux":
            # Code and data in one segment: no padding to whole pages between them.
            link_flags += ["-Wl,--strip-all", "-Wl,-z,noseparate-code"]
    if WARNINGS:
        flags += ["-Wall", "-Wextra", "-Werror"]
    return flags, link_flags, ["m"]


def extension_modules():
    import numpy
    from Cython.Build import cythonize

    flags, link_flags, libraries = compiler_flags()
    checked = [("CBACKPROP_CHECKED", "1")] if CHECKED else []
    modules = [
        Extension(
            "cbackprop.kernels._cpu",
            [f"{KERNELS}/_cpu.pyx"],
            extra_compile_args=flags,
            extra_link_args=link_flags,
            define_macros=checked,
        )
    ]
    # Whatever a module of a level may include or cimport: the folder without the modules.
    parts = sorted(
        f"{KERNELS}/{name}"
        for name in os.listdir(KERNELS)
        if name.endswith((".h", ".pxd", ".pxi", ".pyx")) and not name.startswith("_")
    )
    for level, level_flags in simd_levels():
        if LEVELS and level not in LEVELS.split(","):
            continue
        for suffix, macros in (("f32", [("CBACKPROP_FLOAT32", "1")]), ("f64", [])):
            modules.append(
                Extension(
                    f"cbackprop.kernels._{level}_{suffix}",
                    [f"{KERNELS}/_{level}_{suffix}.pyx"],
                    depends=parts,
                    include_dirs=[KERNELS, numpy.get_include()],
                    define_macros=[
                        ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
                        *macros,
                        *checked,
                    ],
                    extra_compile_args=flags + level_flags,
                    extra_link_args=link_flags,
                    libraries=libraries,
                )
            )
    modules = cythonize(
        modules,
        nthreads=0 if sys.platform == "win32" else os.cpu_count() or 1,
        include_path=["src"],
        build_dir=BUILD,
        compiler_directives={
            "language_level": 3,
            "cdivision": True,
            "boundscheck": CHECKED,
            "wraparound": False,
            "initializedcheck": CHECKED,
            # Free-threaded Python keeps the GIL off: see kernels/lock.h.
            "freethreading_compatible": True,
            # Plain built-in methods: smaller, and quicker to call, than Cython's own functions.
            "binding": False,
            "embedsignature": True,
            "embedsignature.format": "clinic",
        },
    )
    for module in modules:
        # After cythonize(), which drops it.
        module.optional = not REQUIRE_EXT
    return modules


# Cython translates in several processes, which import this file where they are not forked: on
# Linux from Python 3.14 on, too.
if __name__ == "__main__":
    setup(
        ext_modules=[] if PURE else extension_modules(),
        options={"build": {"build_base": BUILD}, "build_ext": {"parallel": os.cpu_count() or 1}},
    )
