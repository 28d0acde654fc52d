"""What the parts share that test the package in a Debian system of their own: another processor's,
which QEMU runs, or a newer one of this processor.

A system is made once, by debootstrap, and kept for a month. Each run copies the working tree into
it, builds the package there from source, and lets pytest run: in a mount namespace, whose mounts
end with it, and a process namespace, none of whose processes outlives it. Nothing but Debian's
mirror and PyPI is asked for anything.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builds import HANG_LIMIT, ROOT, tell

MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
KEPT_FOR = 30 * 24 * 3600  # seconds
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
COMPILER = ("gcc", "libc6-dev", "ca-certificates", "python3-dev", "python3-venv")

# Of a working tree: what git, builds, environments and tools leave there.
NOT_COPIED = shutil.ignore_patterns(
    ".git", "build", "dist", "*.egg-info", "*.so", ".venv", "venv", "__pycache__", ".*_cache"
)

WARNINGS_ARE_ERRORS = {"CBACKPROP_REQUIRE_EXT": "1", "CBACKPROP_WARNINGS": "1"}

# Not under QEMU; on a machine of that kind, all.
NOT_UNDER_QEMU = (
    # The same on every processor: what the sources say.
    "tests/promises/test_architecture.py",
    "tests/promises/test_project.py",
    # A browser.
    "tests/pictures/test_stepper_page.py",
    # Whole programs and long trainings: an hour.
    "tests/promises/test_examples.py",
    "tests/training/test_published_runs.py",
    # /proc/self/task has a thread of QEMU's own.
    "tests/engine/test_threads.py::test_a_forked_child_starts_its_own_workers",
    # QEMU keeps limits of memory from what it runs.
    "tests/promises/test_process.py::"
    "test_without_memory_a_call_is_a_memory_error_and_changes_nothing",
    "tests/engine/test_threads.py::test_no_thread_can_be_started",
)

ABOUT = """\
import json, platform, numpy, cbackprop
print(json.dumps([platform.python_version(), numpy.__version__, platform.python_compiler(),
                  cbackprop.info()["simd_level"]]))
"""


@dataclass(frozen=True)
class System:
    """A Debian system: where it comes from, and how the package is built and tested in it."""

    part: str
    suite: str
    machine: str = platform.machine()  # as uname -m says
    architecture: str | None = None  # as Debian says; None is this machine's own
    qemu_cpu: str | None = None
    packages: tuple[str, ...] = COMPILER
    debian_numpy: bool = False  # and Debian's Cython, for want of NumPy's wheels
    quick: tuple[str, ...] = ()  # what pytest is told with --quick
    collect: bool = False  # with --quick, see that pytest finds every test, too

    @property
    def is_native(self) -> bool:
        return self.architecture is not None and platform.machine() == self.machine


def check(system: System, description: str) -> None:
    """Make, build, test, tell."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("tests", nargs="*", help="files or folders of tests in place of all")
    parser.add_argument("--quick", action="store_true", help="a short form: does the check work?")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(cache).expanduser() / "cbackprop-deep"
    parser.add_argument("--systems", type=Path, default=folder, help="where they are kept")
    options = parser.parse_args()
    # So that an end by `kill` cleans up as one by Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    missing = None if system.is_native else why_not(system)
    if missing is not None:
        tell(system.part, "", f"skipped: {missing}", None)
    try:
        root = None if system.is_native else made(system, options.systems.resolve())
        inside = root and root / "root"  # the home of its user
        with tempfile.TemporaryDirectory(prefix="cbackprop-", dir=inside) as work:
            test(system, options, Path(work), [] if root is None else entry(system, root))
    except subprocess.CalledProcessError as failure:
        command = next(word for word in failure.cmd if "debootstrap" in word or "python" in word)
        figure = f"{command} ended with status {failure.returncode}: see above"
        # Without its system nothing was tested: a mirror that lacks packages is no fault of ours.
        tell(system.part, "", figure, None if command == "debootstrap" else False)


def why_not(system: System) -> str | None:
    """What this machine lacks."""
    if sys.platform != "linux":
        return "chroots are of Linux"
    if os.geteuid() != 0:
        return "only root may make a chroot"
    for tool in ("debootstrap", "unshare"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if subprocess.run([*namespaces(), "true"], capture_output=True, check=False).returncode != 0:
        return "root may make no namespaces, as in most containers"
    if not KEYRING.is_file():
        return "Debian's keys, the package debian-archive-keyring, are not installed"
    if system.architecture is None:
        return None
    name = {"arm64": "aarch64"}.get(system.architecture, system.architecture)
    registered = Path(f"/proc/sys/fs/binfmt_misc/qemu-{name}")
    if not registered.is_file():
        return f"no QEMU for {name}: the package qemu-user-static, with binfmt_misc, brings it"
    # F: the interpreter is opened when it is registered, not looked for in the chroot.
    state = registered.read_text()
    if not state.startswith("enabled") or re.search(r"^flags: \w*F", state, re.M) is None:
        return f"{registered} is not enabled with the flag F"
    return None


def made(system: System, folder: Path) -> Path:
    """Where the system lies, made if there is none or it is old."""
    root = folder / f"{system.suite}-{system.architecture or system.machine}"
    if root.is_dir() and time.time() - root.stat().st_mtime < KEPT_FOR:
        return root
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{root.name}-", dir=folder) as unfinished:
        command = ["debootstrap", "--variant=minbase", "--force-check-gpg"]
        command += [f"--keyring={KEYRING}", f"--include={','.join(system.packages)}"]
        if system.architecture is not None:
            command.append(f"--arch={system.architecture}")
        new = Path(unfinished) / "root"
        # Its own mounts, too, end with a namespace.
        followed([*namespaces(), *command, system.suite, str(new), MIRROR])
        shutil.rmtree(new / "var" / "cache" / "apt", ignore_errors=True)
        new.touch()  # its age
        if root.exists():
            shutil.rmtree(root)
        new.rename(root)
    return root


def namespaces() -> list[str]:
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child"]


def entry(system: System, root: Path) -> list[str]:
    """The command before one that shall run in the system."""
    at = shlex.quote(str(root))
    mounts = [f"mount -t proc proc {at}/proc", f"mount --rbind /sys {at}/sys"]
    mounts.append(f"mount -t tmpfs -o mode=1777 shm {at}/dev/shm")  # for multiprocessing
    mounts.append(f"mount -t devpts -o newinstance,ptmxmode=0666 devpts {at}/dev/pts")
    mounts.append(f"mount --bind {at}/dev/pts/ptmx {at}/dev/ptmx")  # for terminals of tests
    for file in (Path("/etc/resolv.conf"), CERTIFICATES):  # a proxy's own may be among these
        if file.is_file() and (root / file.relative_to("/")).is_file():
            mounts.append(f"mount --bind {file} {at}{file}")
    digits = ROOT / os.environ.get("CBACKPROP_MNIST", "../shared/data/mnist")
    variables = {
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PIP_CERT": str(CERTIFICATES),
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    if digits.is_dir():
        mounts.append(f"mount --bind {shlex.quote(str(digits.resolve()))} {at}/mnt")
        variables["CBACKPROP_MNIST"] = "/mnt"
    if system.qemu_cpu is not None:
        variables["QEMU_CPU"] = system.qemu_cpu
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        if name in os.environ:
            variables[name] = os.environ[name]
    # The shell stays, as the namespace's first process: what tests leave behind is its own.
    script = f'{" && ".join(mounts)} && chroot {at} env -i "$@"; exit $?'
    settings = [f"{name}={value}" for name, value in variables.items()]
    return [*namespaces(), "sh", "-c", script, "sh", *settings]


def test(system: System, options: argparse.Namespace, work: Path, enter: list[str]) -> None:
    """Build the package in this folder and run its tests, in the system or on this machine."""
    shutil.copytree(ROOT, work, symlinks=True, ignore=NOT_COPIED, dirs_exist_ok=True)
    inside = f"/root/{work.name}" if enter else str(work)
    python = f"{inside}/venv/bin/python"

    def run(*command: str) -> str:
        settings = [f"{name}={value}" for name, value in WARNINGS_ARE_ERRORS.items()]
        before = [*enter, *settings] if enter else ["env", *settings]
        return followed([*before, "sh", "-c", 'cd "$0" && "$@"', inside, *command])

    began = time.perf_counter()
    own = ["--system-site-packages"] if system.debian_numpy else []
    run("python3" if enter else sys.executable, "-m", "venv", *own, f"{inside}/venv")
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    isolation = ["--no-build-isolation"] if system.debian_numpy else []
    run(python, *install, *isolation, ".[test]")
    built = time.perf_counter() - began

    chosen = options.tests or (list(system.quick) if options.quick else [])
    n_workers = min(4, len(os.sched_getaffinity(0)))
    pytest = ["timeout", "--foreground", str(HANG_LIMIT), python, "-m", "pytest", "-q"]
    pytest += ["-p", "no:cacheprovider", "-n", str(n_workers)]
    for name in NOT_UNDER_QEMU if enter and system.architecture is not None else ():
        file, _, test_name = name.partition("::")
        assert f"def {test_name}" in (ROOT / file).read_text(encoding="utf-8"), f"no test {name}"
        pytest.append(f"--deselect={name}" if test_name else f"--ignore={name}")
    about = json.loads(run(python, "-c", ABOUT).splitlines()[-1])
    problem = ""
    try:
        if options.quick and system.collect:
            run(python, "-m", "pytest", "-q", "-q", "-p", "no:cacheprovider", "--collect-only")
        said = run(*pytest, *chosen)
    except subprocess.CalledProcessError as failure:
        said, problem = failure.output, f", exit status {failure.returncode}"
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?)\b", said.splitlines()[-1])
    tests = [name for name in chosen if not name.startswith("-")]
    minutes = (time.perf_counter() - began) / 60
    tell(
        system.part,
        f"{system.suite}, {system.machine}: Python {about[0]}, NumPy {about[1]}, {about[2]}, "
        f"level {about[3]}; {', '.join(tests) or 'all tests'}",
        f"{', '.join(counts)}{problem}; built in {built:.0f} s, {minutes:.0f} min in all",
        not problem and bool(counts),
    )


def followed(command: list[str]) -> str:
    """Run a command, its output passed on as it comes, and return that; it ends with us."""
    lines = []
    with ended(
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, "".join(lines))
    return "".join(lines)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    except BaseException:
        process.kill()  # and, as unshare is told, all in its namespace
        raise
    finally:
        process.wait()
