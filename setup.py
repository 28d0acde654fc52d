"""The extension modules, their compiler and their switches; everything else is in pyproject.toml.

CBACKPROP_PURE=1         no extension modules: a py3-none-any wheel on the reference alone
CBACKPROP_LEVELS=LIST    these SIMD levels alone: generic for an x86-64 processor without SSE4.2,
                         v3,v4 for a check that is soon thrown away
CBACKPROP_CHECKED=1      guards behind allocations and the padding's zeros are looked at after each
                         call; the 512-bit level is lowered to AVX2, so that it is tested anywhere
CBACKPROP_SANITIZE=LIST  -fsanitize=LIST (address,undefined for one), with debug information
CBACKPROP_WARNINGS=1     what -Wall and -Wextra find in kernels and headers fails the build
CBACKPROP_DEBUG=1        with debug information, nothing stripped: for valgrind and debuggers
CBACKPROP_COVERAGE=1     gcov counts which lines of the kernels run (tests/deep/coverage.py)
"""

import functools
import gzip
import hashlib
import importlib.util
import itertools
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.errors import CompileError, LinkError, PlatformError

KERNELS = "src/cbackprop/kernels"
CHECKED = os.environ.get("CBACKPROP_CHECKED", "") not in ("", "0")
SANITIZE = os.environ.get("CBACKPROP_SANITIZE", "")
WARNINGS = os.environ.get("CBACKPROP_WARNINGS", "") not in ("", "0")
DEBUG = os.environ.get("CBACKPROP_DEBUG", "") not in ("", "0")
COVERAGE = os.environ.get("CBACKPROP_COVERAGE", "") not in ("", "0")
ASKED_LEVELS = os.environ.get("CBACKPROP_LEVELS", "")
PURE = os.environ.get("CBACKPROP_PURE", "") not in ("", "0")

# What setuptools has from the environment besides.
OTHERS = {
    name: os.environ[name]
    for name in ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED")
    if name in os.environ
}

# ---- which compiler ------------------------------------------------------------------------------


@functools.cache
def clang_cl():
    """The path of clang-cl: by CC, on PATH, of LLVM's or of Visual Studio's installer; or None."""
    asked = OTHERS.get("CC", "")
    stem = Path(asked).stem.lower()
    if stem == "cl":
        return None  # MSVC
    if stem.startswith("clang-cl"):
        if not shutil.which(asked):
            raise SystemExit(f"CC is {asked!r}, which is not found; expected a path of clang-cl")
        return shutil.which(asked)
    programs = os.environ.get("ProgramW6432", os.environ.get("ProgramFiles", ""))
    found = shutil.which("clang-cl") or shutil.which("clang-cl", path=f"{programs}/LLVM/bin")
    installer = f"{os.environ.get('ProgramFiles(x86)', programs)}/Microsoft Visual Studio/Installer"
    vswhere = shutil.which("vswhere", path=installer)
    if not found and vswhere:
        where = r"VC\Tools\Llvm\x64\bin\clang-cl.exe"
        command = [vswhere, "-sort", "-products", "*", "-utf8", "-find", where]
        run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        found = run.stdout.partition("\n")[0].strip()
    return found or None


def toolchain():
    """Whose flags the compiler takes: "gcc" (clang's, too), "clang-cl" or "msvc".

    The last two are what a Python that MSVC has compiled takes modules of; MSYS2's is GCC's, and
    gets the level generic, as GCC does not align wider vectors on a stack of Windows.
    """
    if not sysconfig.get_platform().startswith("win"):
        return "gcc"
    return "clang-cl" if clang_cl() else "msvc"


MADE_BY = OTHERS if toolchain() == "gcc" else {**OTHERS, "compiler": clang_cl() or "msvc"}

# Generated C and objects of one set of switches, or of one compiler, do not serve another.
BUILD = "build/" + "-".join(
    [
        "pure" if PURE else "checked" if CHECKED else "plain",
        *(["warnings"] if WARNINGS else []),
        *(["debug"] if DEBUG else []),
        *(["coverage"] if COVERAGE else []),
        *filter(None, SANITIZE.split(",")),
        *filter(None, ASKED_LEVELS.split(",")),
        *([hashlib.sha256(f"{MADE_BY}".encode()).hexdigest()[:8]] if MADE_BY else []),
    ]
)

# ---- what is compiled ----------------------------------------------------------------------------

# The very features that _cpu.pyx asks for; -march=x86-64-v3 would allow a few more, and what
# CFLAGS or the compiler's own defaults have in its place is more than v2 promises.
V2 = ["-march=x86-64", "-mssse3", "-msse4.1", "-msse4.2", "-mpopcnt"]
V3 = [*V2, "-mavx2", "-mfma", "-mbmi", "-mbmi2"]
# 512-bit vectors must be asked for: GCC and clang prefer 256 bits on their own.
V4 = [*V3, *(f"-mavx512{part}" for part in ("f", "bw", "vl", "dq", "cd"))]
V4 += ["-mprefer-vector-width=512"]
if CHECKED:
    # In halves every operation is two: -O2 keeps that from growing further.
    V4 = [*V3, "-DCBACKPROP_VECTOR_BYTES=64", "-Wno-psabi", "-O2"]

# The compiler flags of each level, and its bytes of a vector.
SIMD_LEVELS = {
    "v4": (V4, 64),
    "v3": (V3, 32),
    "v2": (V2, 16),
    # GCC would load a tile's numbers long before it multiplies by them, and spill accumulators.
    "neon": (["-fno-schedule-insns"], 16),
    "generic": ([], 16),
}


def architectures():
    """What is built for: two of them in a universal2 build of macOS."""
    target = sysconfig.get_platform()
    chosen = []
    if target.startswith("macosx"):
        chosen = re.findall(r"-arch (\S+)", os.environ.get("ARCHFLAGS", ""))
    if target.endswith("universal2") and not chosen:
        chosen = ["x86_64", "arm64"]
    return chosen or [target.rpartition("-")[2]]


def levels():
    """(name, compiler flags, bytes of a vector) of each SIMD level to build."""
    targets = architectures()
    names = []
    # A Python of 32 bits calls the platform after the system's 64. MSVC makes no vectors.
    if sys.maxsize > 2**32 and toolchain() != "msvc":
        if not {"x86_64", "amd64"}.isdisjoint(targets):
            names += ["v2", "v3", "v4"]
        if not {"aarch64", "arm64"}.isdisjoint(targets):
            names += ["neon"]
    possible = ["generic", *names]
    if ASKED_LEVELS:
        names = ASKED_LEVELS.split(",")
        if not set(names) <= set(possible):
            raise SystemExit(
                f"CBACKPROP_LEVELS is {ASKED_LEVELS!r}; expected some of {', '.join(possible)}, "
                "with commas between them"
            )
    # clang hands what follows -Xarch_x86_64 to that half of a universal2 build alone.
    half = ["-Xarch_x86_64"] if len(targets) > 1 else []
    chosen = []
    for name in names or ["generic"]:
        flags, vector_bytes = SIMD_LEVELS[name]
        if name == "generic" and "v2" in possible:
            flags = V2[:1]  # whatever the compiler's own default is
        if name.startswith("v"):
            flags = [part for flag in flags for part in (*half, flag)]
        chosen.append((name, flags, vector_bytes))
    return chosen


def compiler_flags():
    """(compile, link, libraries) of every module.

    No fast-math of any kind, and fused multiply-adds only where a kernel asks for one.
    """
    if toolchain() == "msvc":
        return ["/O2", "/fp:precise"], [], []
    # Against what -ffast-math in CFLAGS would bring, whole or in parts; for it GCC links a piece
    # that turns off subnormal numbers in the whole process.
    exact = ["-fno-fast-math", "-fno-unsafe-math-optimizations", "-fno-finite-math-only"]
    exact += ["-fno-reciprocal-math", "-fno-associative-math", "-fsigned-zeros"]
    flags = [
        *exact,
        "-O3",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-ffp-contract=off",
        "-pthread",
    ]
    link_flags = ["-pthread", "-O3", "-fno-fast-math", "-fno-unsafe-math-optimizations"]
    if SANITIZE:
        # CPython's own -fwrapv would hide overflows from the sanitizer.
        flags = [
            *exact,
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
        # No debug information and no tables for unwinding, which Windows alone needs: a tenth of
        # the installed size.
        flags += ["-g0", *(["-fno-asynchronous-unwind-tables"] if toolchain() == "gcc" else [])]
        # Nor what -O3 makes beyond vectors, twins of functions and loops: another tenth of the
        # size, and none of the speed (docs/speed.md).
        flags += ["-fno-inline-functions", "-fno-unswitch-loops", "-fno-split-loops"]
        # In clang the first of them keeps even functions out of line that ask to be inline. Here it
        # means what it does in GCC, without which a gradient takes 1.3 to 1.6 times as long.
        flags += ["-finline-hint-functions"]
        flags += ["-fno-predictive-commoning", "-fno-ipa-cp-clone", "-fno-tree-loop-distribution"]
        # Nor empty bytes before functions and jumps; loops are aligned as ever.
        flags += ["-fno-align-functions", "-fno-align-jumps", "-fno-align-labels"]
        if sys.platform == "linux":
            # Code and data in one segment: no padding to whole pages between them.
            link_flags += ["-Wl,--strip-all", "-Wl,-z,noseparate-code"]
    if WARNINGS:
        flags += ["-Wall", "-Wextra", "-Werror"]
    if toolchain() == "clang-cl":
        return flags, [], []
    return flags, link_flags, ["m"]


def spelt(flags):
    """As the compiler takes them: clang-cl has most of clang's flags behind a prefix alone."""
    return [f"/clang:{flag}" for flag in flags] if toolchain() == "clang-cl" else flags


def extension_modules():
    flags, link_flags, libraries = compiler_flags()
    checked = [("CBACKPROP_CHECKED", "1")] if CHECKED else []
    modules = [
        Extension(
            "cbackprop.kernels._cpu",
            [f"{KERNELS}/_cpu.pyx"],
            depends=[f"{KERNELS}/processor.h"],
            include_dirs=[KERNELS],
            define_macros=checked,
            # Asked once, at import.
            extra_compile_args=flags if toolchain() == "msvc" else spelt([*flags, "-Os"]),
            extra_link_args=link_flags,
        )
    ]
    # Whatever a module of a level may include or cimport: the folder without the modules.
    parts = sorted(
        f"{KERNELS}/{name}"
        for name in os.listdir(KERNELS)
        if name.endswith((".h", ".pxd", ".pxi", ".pyx")) and not name.startswith("_")
    )
    for level, level_flags, _ in levels():
        for suffix, macros in (("f32", [("CBACKPROP_FLOAT32", "1")]), ("f64", [])):
            modules.append(
                Extension(
                    f"cbackprop.kernels._{level}_{suffix}",
                    [f"{KERNELS}/_{level}_{suffix}.pyx"],
                    depends=parts,
                    include_dirs=[KERNELS],
                    define_macros=[
                        ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
                        *macros,
                        *checked,
                    ],
                    extra_compile_args=spelt(flags + level_flags),
                    extra_link_args=link_flags,
                    libraries=libraries,
                )
            )
    return modules


# ---- what compiles it ----------------------------------------------------------------------------

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
HOW_TO_INSTALL = {  # a compiler, and Python's headers; by the program that does it
    "apt-get": ("apt-get install gcc libc6-dev", f" python{VERSION}-dev"),
    "dnf": ("dnf install gcc", f" python{VERSION}-devel"),
    "apk": ("apk add gcc musl-dev", " python3-dev"),
    "pacman": ("pacman -S gcc", ""),
    "zypper": ("zypper install gcc", f" python{VERSION.replace('.', '')}-devel"),
    "xcode-select": ("xcode-select --install", ""),
}
INSTEAD = """\
Or install the NumPy reference without it, right but tens of times slower: the same
command with CBACKPROP_PURE=1 in its environment."""


def cannot_be_built(reason, advice=""):
    """The end of the installation, with what to do about it as the last lines of pip's report."""
    if not advice:
        here = [program for program in HOW_TO_INSTALL if shutil.which(program)]
        has_headers = os.path.exists(f"{sysconfig.get_path('include')}/Python.h")
        commands = [
            compiler if has_headers else compiler + headers
            for compiler, headers in map(HOW_TO_INSTALL.get, here or HOW_TO_INSTALL)
        ]
        if toolchain() != "gcc":
            tools = "https://visualstudio.microsoft.com/visual-cpp-build-tools/"
            commands = [f"{tools}, with C++ and its Clang tools"]
        advice = "Install what is missing, then give the same command again:\n"
        advice += "\n".join(f"    {command}" for command in commands)
    if OTHERS:
        names = ", ".join(f"{name}={value!r}" for name, value in OTHERS.items())
        advice = f"The environment says {names}: without, or with others, it may do.\n\n{advice}"
    return SystemExit(
        f"\nThe compiled core of cbackprop cannot be built:\n{reason}\n\n{advice}\n\n{INSTEAD}\n"
    )


class Compiler:
    """The C compiler that setuptools has chosen, asked about small programs.

    Without a word on the screen: what it refuses may be a flag of another compiler's.
    """

    def __init__(self, command):
        self.command = command
        # As CC has it, which may begin with another program, as "ccache gcc".
        self.name = " ".join(itertools.takewhile(lambda part: not part.startswith("-"), command))

    def refuses(self, program, *flags):
        """What it says against a program; nothing where it compiles."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "program.c")
            source.write_text(program, encoding="utf-8")
            command = [*self.command, *flags, "-c", str(source), "-o", f"{source}.o"]
            try:
                run = subprocess.run(
                    command, capture_output=True, encoding="utf-8", errors="replace", check=False
                )
            except OSError as error:
                return f"{error}"
            if run.returncode == 0 and not os.path.exists(f"{source}.o"):
                return "it makes no object"
        said = run.stderr.replace(str(source), "program.c").strip()
        return (said or f"it ended with status {run.returncode}") if run.returncode else ""

    def unknown(self, flags):
        """Those of the flags that it refuses, or warns of."""
        program = "int main(void) { return 0; }\n"
        # Flags of the user's own may make it warn of every program.
        strict = [] if self.refuses(program, "-Werror") else ["-Werror"]
        return {flag for flag in flags if self.refuses(program, *strict, flag)}


def look_at(compiler, modules):
    """Whether the compiler can make these modules, before anything is made for it to compile.

    Flags of an optimisation that it does not know are taken out of the modules: clang has not all
    of GCC's, and takes one that it does not know for an error.
    """
    if not shutil.which(compiler.command[0]):
        raise cannot_be_built(f"there is no C compiler, {compiler.command[0]!r} is not found")
    threads = "#include <pthread.h>" if toolchain() == "gcc" else "#include <windows.h>"
    said = compiler.refuses(f"#include <math.h>\n{threads}\nint main(void) {{ return 0; }}\n")
    if said:
        raise cannot_be_built(f"the C compiler {compiler.name!r} compiles no program:\n{said}")
    folders = {sysconfig.get_path(name) for name in ("include", "platinclude")}
    python = [f"-I{folder}" for folder in sorted(folders)]
    said = compiler.refuses("#include <Python.h>\nint main(void) { return 0; }\n", *python)
    if said:
        raise cannot_be_built(f"the headers of this Python are not found:\n{said}")
    optional = {
        flag
        for module in modules
        for flag in module.extra_compile_args
        if flag.removeprefix("/clang:").startswith(("-fno-", "-finline-", "-fsigned-", "-Wno-"))
    }
    unknown = compiler.unknown(optional)
    for module in modules:
        module.extra_compile_args = [f for f in module.extra_compile_args if f not in unknown]
    for level, _, vector_bytes in levels():
        # The headers say what else the kernels need of a compiler. In a universal2 build the half
        # for arm64 has the levels of x86-64, too, with its own vectors.
        program = f"""
            #include <Python.h>
            #include "simd.h"
            #include "threads.h"
            #include "lock.h"
            #ifdef __cplusplus
            #error "this is a compiler of C++"
            #endif
            #if {vector_bytes} == 16 && (defined(__AVX__) || defined(__FMA__))
            #error "CFLAGS ask for more than this level has"
            #endif
            #if CBACKPROP_VECTOR_BYTES != {vector_bytes} && !defined(__aarch64__)
            #error "expected vectors of {vector_bytes} bytes"
            #endif
        """
        module = next(module for module in modules if f"_{level}_" in module.name)
        flags = [*module.extra_compile_args, "-w", f"-I{KERNELS}", *python]
        said = compiler.refuses(program, *flags)
        if said:
            raise cannot_be_built(
                f"the C compiler {compiler.name!r} does not compile the level {level}:\n{said}",
                "Take another one, GCC 11 or clang 14 or newer, by CC=gcc or CC=clang in the "
                "environment\nof the same command."
                if toolchain() == "gcc"
                else "Take a newer one, by CC=PATH in the environment of the same command; or "
                "MSVC, whose core\nis slow, by CC=cl.",
            )


class BuildExtensions(build_ext):
    """Cython and NumPy are asked for once there is a compiler to give their files to."""

    def build_extensions(self):
        if toolchain() == "gcc":
            look_at(Compiler(self.compiler.compiler_so), self.extensions)
        else:
            self.take_visual_studio()
        from Cython.Build import cythonize

        # numpy.get_include(), without an import: the newest NumPy, with which pip builds, may not
        # run on the very processor that a core of the level generic is built for.
        numpy = importlib.util.find_spec("numpy").submodule_search_locations[0]
        for module in self.extensions:
            if module.include_dirs:
                module.include_dirs.append(os.path.join(numpy, "_core", "include"))
        translated = cythonize(
            self.extensions,
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
        sources = {module.name: module.sources for module in translated}
        for module in self.extensions:
            module.sources = sources[module.name]
        try:
            super().build_extensions()
        except (CompileError, LinkError) as error:
            raise cannot_be_built(
                f"{error}",
                "What the compiler has against it stands further up. It may be cbackprop's fault:\n"
                "please report it with these lines.",
            ) from error

    def take_visual_studio(self):
        """MSVC, or clang-cl in its place: with its headers, libraries and linker."""
        if self.compiler.compiler_type != "msvc":
            raise cannot_be_built(
                f"setuptools is told to take the compiler {self.compiler.compiler_type!r}",
                "This Python takes modules of MSVC and of clang-cl: let setuptools choose.",
            )
        try:
            if not self.compiler.initialized:
                self.compiler.initialize()
        except PlatformError as error:  # setuptools' own way of saying that it is missing
            raise cannot_be_built(f"{error}") from error
        if toolchain() == "msvc":
            self.warn(
                "MSVC makes no vectors: this core will be right, but several times slower than "
                "that of clang-cl, which LLVM's installer and Visual Studio's have"
                + (f" (CC={OTHERS['CC']} asks for MSVC)" if "CC" in OTHERS else "")
            )
            return
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(architectures()[0], "i686")
        options = [f"--target={machine}-pc-windows-msvc"]
        # /GL leaves compiling to MSVC's linker.
        options += [option for option in self.compiler.compile_options if option != "/GL"]
        # Visual Studio's headers after clang's own, whose vectors are not MSVC's. setuptools keeps
        # them in the class, and would have them come first.
        visual_studio = type(self.compiler)
        options += [f"/imsvc{folder}" for folder in visual_studio.include_dirs]
        visual_studio.include_dirs = []
        self.compiler.cc, self.compiler.compile_options = clang_cl(), options
        look_at(Compiler([clang_cl(), *options]), self.extensions)


# ---- what is published ---------------------------------------------------------------------------


def long_description():
    """README.md for a page elsewhere: its links lead to this version's files in the repository."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = runpy.run_path("src/cbackprop/_version.py")["__version__"]
    files = f"{project['urls']['Repository']}/blob/v{version}"
    readme = Path("README.md").read_text(encoding="utf-8")
    return re.sub(r"\]\((?!https?:|#)", f"]({files}/", readme)


def plain_mode(mode):
    """What a file may, of whatever a umask has left."""
    return 0o755 if mode & 0o100 else 0o644


class SourceDistribution(sdist):
    """The same files make the same bytes, whoever packs them, when, and under which umask."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, **owner):
        if format != "gztar":
            return super().make_archive(base_name, format, root_dir, base_dir, **owner)
        epoch = int(os.environ["SOURCE_DATE_EPOCH"])

        def anonymous(member):
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = epoch
            member.mode = plain_mode(member.mode)
            return member

        name = f"{base_name}.tar.gz"
        with (
            open(name, "wb") as file,
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=epoch) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            archive.add(base_dir, filter=anonymous)
        return name


class Wheel(bdist_wheel):
    """Likewise. setuptools itself sorts the files and takes their time from SOURCE_DATE_EPOCH."""

    def write_wheelfile(self, *names):  # the last file before they are packed
        super().write_wheelfile(*names)
        for path in Path(self.bdist_dir).rglob("*"):
            path.chmod(plain_mode(path.stat().st_mode))


# Cython translates in several processes, which import this file where they are not forked: on
# Linux from Python 3.14 on, too.
if __name__ == "__main__":
    # The time of every file in what is packed, unless somebody asks for another.
    os.environ.setdefault("SOURCE_DATE_EPOCH", "1577836800")  # 1 January 2020
    setup(
        long_description=long_description(),
        long_description_content_type="text/markdown",
        ext_modules=[] if PURE else extension_modules(),
        cmdclass={
            "bdist_wheel": Wheel,
            "build_ext": BuildExtensions,
            "sdist": SourceDistribution,
        },
        options={"build": {"build_base": BUILD}, "build_ext": {"parallel": os.cpu_count() or 1}},
    )
