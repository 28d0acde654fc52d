"""Threads on a build with ThreadSanitizer: the pool's, many Python threads' and both together.

It sees two threads use the same memory without anything that orders them, one of them writing. The
interpreter, NumPy and its BLAS are not compiled with it: their locks are seen, the GIL among them,
their reads and writes are not. The tests of threads run, and a stress of its own: a network for
each thread, one network that all of them want, one that all of them read, and forks beside busy
threads.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from builds import built_copy, compiler_library, environment, levels, run_tests, tell, test_file

PART = "thread_sanitizer"
HANG_LIMIT = 3600

# Tests by file, and which of them; the stress is called for by this script.
TESTS = (
    ("threads", ""),
    ("ownership", "another_thread or inside_a_call or own_network or different_networks"),
    ("process", "ctrl_c"),
)

LEFT_OUT = (
    # The sanitizer has a thread of its own, which these count.
    "threads::test_threads_start_when_needed_and_no_more_than_asked_for",
    "threads::test_a_forked_child_starts_its_own_workers",
    # Each fork copies the sanitizer's memory, too: twenty take longer than the test waits.
    "threads::test_a_child_forked_while_the_workers_are_busy",
)


# ---- the stress, in a process of its own under the sanitizer -------------------------------------


def calls(net, X, Y):
    """Every kind of work there is, as functions without arguments."""
    import cbackprop as package

    v = np.linspace(-1, 1, net.n_parameters)
    return {
        "predict": lambda: net.predict(X),
        "predict one": lambda: net.predict(X[0]),
        "forward": lambda: net.forward(X),
        "backward": lambda: net.backward(X, Y),
        "cost": lambda: net.cost(X, Y),
        "gradient": lambda: net.gradient(X, Y),
        "per example": lambda: net.gradient(X[:20], Y[:20], per_example=True),
        "norms": lambda: net.gradient_norms(X, Y),
        "clipped": lambda: net.clipped_gradient(X, Y, 0.1),
        "gram": lambda: net.gradient_gram(X[:40], Y[:40]),
        "moments": lambda: net.gradient_moments(X, Y),
        "jacobian": lambda: net.jacobian(X[:5]),
        "input gradient": lambda: net.input_gradient(X, Y),
        "input jacobian": lambda: net.input_jacobian(X[:20]),
        "vjp": lambda: net.vjp(X, Y),
        "jvp": lambda: net.jvp(X, v),
        "hessian": lambda: net.hessian_vector_product(X, Y, v),
        "gauss newton": lambda: net.gauss_newton_vector_product(X, Y, v),
        "step": lambda: net.partial_fit(X[0], Y[0]),
        "steps": lambda: net.partial_fit(X, Y, batch_size=32),
        "adam": lambda: net.fit(X, Y, epochs=1, batch_size=100, optimizer="adam"),
        "options": lambda: net.fit(
            X, Y, epochs=1, batch_size=100, l2=1e-3, dropout=0.1, max_norm=3.0
        ),
        "private": lambda: net.fit(
            X, Y, epochs=1, batch_size=100, clip_norm=0.1, noise_multiplier=0.1, learning_rate=0.01
        ),
        "lbfgs": lambda: net.fit(X, Y, epochs=2, optimizer=package.LBFGS()),
        "copy": lambda: net.copy(),
        "parameters": lambda: net.parameters,
    }


CHANGES = ("step", "steps", "adam", "options", "private", "lbfgs")


def work(net, X, Y, end, seed, names, refused, done, errors):
    """Calls in a random order until the time is up; refusals are counted, all else is kept."""
    random = np.random.default_rng(seed)
    work = [(name, call) for name, call in calls(net, X, Y).items() if name in names]
    try:
        while time.monotonic() < end:
            for place in random.permutation(len(work)):
                name, call = work[place]
                try:
                    call()
                    done[name] = done.get(name, 0) + 1
                except RuntimeError as error:
                    if not any(text in str(error) for text in ("in use", "is running")):
                        raise
                    refused[name] = refused.get(name, 0) + 1
    except BaseException as error:
        errors.append(error)


def stress(seconds: float) -> None:
    """Networks of their own in four threads, then one network in four threads, then readers."""
    from cbackprop import Network

    random = np.random.default_rng(0)
    # So wide that two threads share each product; and one so small that it takes the quick ways.
    for sizes, dtype in (((130, 129, 65, 3), "float64"), ((3, 5, 3), "float32")):
        X = random.normal(size=(300, sizes[0])).astype(dtype)
        Y = random.uniform(size=(300, sizes[-1])).astype(dtype)
        names = list(calls(Network(sizes, dtype=dtype), X, Y))
        for kind in ("networks of their own", "one network", "one network that is read"):
            shared, reading = kind != "networks of their own", kind.endswith("read")
            if reading:
                names = [name for name in names if name not in CHANGES]
            nets = [Network(sizes, "tanh", dtype=dtype, seed=i, threads=2) for i in range(4)]
            end = time.monotonic() + seconds / 6
            done, refused, errors = {}, {}, []
            threads = [
                threading.Thread(
                    target=work,
                    args=(nets[0 if shared else i], X, Y, end, i, names, refused, done, errors),
                    daemon=True,
                )
                for i in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(seconds + HANG_LIMIT / 10)
            if errors:
                raise errors[0]
            if any(thread.is_alive() for thread in threads):
                raise TimeoutError("a thread does not end")
            if refused and (reading or not shared):
                raise AssertionError(f"refused, with {kind}: {refused}")
            missing = set(names) - done.keys()
            if missing and (reading or not shared):
                raise AssertionError(f"never came to their end: {sorted(missing)}")
            n_done, n_refused = sum(done.values()), sum(refused.values())
            print(f"{kind}, {sizes}: {n_done} calls, {n_refused} refused", flush=True)
    forks(5)


def forks(count: int) -> None:
    """Children of a process whose threads, and whose network's threads, are busy."""
    from cbackprop import Network

    X = np.random.default_rng(0).normal(size=(256, 200))
    nets = [Network((200, 200, 3), "tanh", seed=0, threads=2) for _ in range(2)]
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            nets[0].gradient(X, X[:, :3])

    thread = threading.Thread(target=keep_busy, daemon=True)
    thread.start()
    expected = nets[1].gradient(X, X[:, :3]).vector.tobytes()
    for _ in range(count):
        child = os.fork()
        if child == 0:
            signal.alarm(300)
            same = nets[1].gradient(X, X[:, :3]).vector.tobytes() == expected
            os._exit(0 if same else 1)
        if os.waitpid(child, 0)[1] != 0:
            raise AssertionError("a forked child failed or hung")
    stop.set()
    thread.join()
    print(f"{count} forks beside a busy thread", flush=True)


# ---- around it -----------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short form: does the check work?")
    parser.add_argument("--stress", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stress is not None:
        stress(options.stress)
        return
    library = compiler_library("libtsan.so")
    if library is None:
        tell(PART, "", "skipped: GCC with libtsan is not installed", None)
    level = levels()[0]
    copy = built_copy("thread", level, CBACKPROP_SANITIZE="thread")
    n_passed, problems = 0, []
    with tempfile.TemporaryDirectory() as folder:
        # The forked children of the tests start threads again, which it forbids by default.
        told = f"exitcode=66:die_after_fork=0:atexit_sleep_ms=0:log_path={folder}/report"
        variables = environment(copy, level, LD_PRELOAD=library, TSAN_OPTIONS=told)
        started = subprocess.run(
            [sys.executable, "-c", "import cbackprop"],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        if started.returncode != 0:
            tell(PART, "", f"it does not start here: {started.stderr[-200:]}", False)
        seconds = 20 if options.quick else 240
        command = [sys.executable, __file__, "--stress", str(seconds)]
        stressed = subprocess.run(command, env=variables, timeout=HANG_LIMIT, check=False)
        if stressed.returncode != 0:
            problems.append(f"the stress ended with exit status {stressed.returncode}")
        for what, chosen in () if options.quick else TESTS:
            passed, problem = run_tests(
                copy, test_file(what), variables, LEFT_OUT, *["-k", chosen][: 2 * bool(chosen)]
            )
            print(f"{what}: {passed} passed {problem}", flush=True)
            n_passed += passed
            problems += [problem] if problem else []
        reports = [file.read_text(errors="replace") for file in sorted(Path(folder).iterdir())]
    for report in reports:
        print(report)
    races = sum(report.count("WARNING: ThreadSanitizer") for report in reports)
    tell(
        PART,
        f"{seconds} s of stress" + ("" if options.quick else ", the tests of threads"),
        f"{races} reports, {n_passed} tests passed, {len(problems)} failures",
        not races and not problems,
    )


if __name__ == "__main__":
    main()
