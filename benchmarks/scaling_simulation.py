"""Steps on up to 1,000 workers, some of which are slow and some of which die: a simulation.

    python benchmarks/scaling_simulation.py [--steps 20] [--seed 0]

Chunks of 262,144 rows, each read by its worker before. A worker takes its own chunks first, then
what another one has not begun, and reads that; a chunk's time varies by chance, and is now and then
several times as long. A client takes the results one after the other. A worker that dies loses the
chunk that it is at, which another one takes when the death has been noticed; what was handed in
stays. Another worker comes in its place and reads its chunks. Beside it: ranks without a client,
where one death makes all begin the step again.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import statistics
from collections import deque
from typing import NamedTuple

import numpy as np
from scaling_model import Way, Work, exchange

# 784-30-10 in float32, Dask and MPI: about what scaling_model.py measures.
WORK = Work(n_bytes=95_440, seconds=0.9e-6)
DASK = Way(round=6e-3, task=1e-3, byte=1 / 1e9, is_tree=False)
MPI = Way(round=4e-5, task=0.0, byte=1 / 2e9, is_tree=True)
CHUNK = 262_144  # rows


class Chance(NamedTuple):
    """What befalls workers. The defaults are assumptions, of the order of rented machines."""

    spread: float = 0.1  # standard deviation of ln(time of a chunk)
    straggling: float = 0.01  # the share of chunks that take so many times as long:
    straggler: float = 5.0
    lifetime: float = 24 * 3600.0  # mean seconds between a worker's deaths
    notice: float = 5.0  # seconds until a death is known
    replacement: float = 60.0  # seconds until another worker is there
    reading: float = 2.5  # times as long as its computing does a chunk take to be read


CALM = Chance(spread=0.0, straggling=0.0, lifetime=math.inf)
SLOW = Chance(lifetime=math.inf)


class Step(NamedTuple):
    """One step: its seconds, and what was done more than once."""

    seconds: float
    deaths: int
    chunks_again: int
    chunks_moved: int


class Simulation:
    """k workers, each with so many chunks of so many seconds, step after step.

    ``handling`` is what a chunk's result takes of the client, who has one hand.
    """

    def __init__(
        self,
        k: int,
        chunks_each: int,
        seconds: float,
        chance: Chance,
        random: np.random.Generator,
        handling: float = 0.0,
    ) -> None:
        self.k, self.chunks_each, self.seconds = k, chunks_each, seconds
        self.chance, self.random, self.handling = chance, random, handling
        self.now = 0.0
        self.back = [0.0] * k  # when the worker in its place is there
        self.death = [self._lifetime() for _ in range(k)]

    def _lifetime(self) -> float:
        mean = self.chance.lifetime
        return mean * self.random.exponential() if math.isfinite(mean) else mean

    def _chunk(self) -> float:
        factor = math.exp(self.chance.spread * self.random.standard_normal())
        if self.random.random() < self.chance.straggling:
            factor *= self.chance.straggler
        return factor * self.seconds

    def _replaced(self, worker: int) -> float:
        """After a death: when another worker is there and has read its chunks."""
        reading = self.chance.reading * self.seconds * self.chunks_each
        back = self.death[worker] + self.chance.notice + self.chance.replacement + reading
        self.back[worker], self.death[worker] = back, back + self._lifetime()
        return max(back, self.now)

    def step(self) -> Step:
        """Every chunk once; each result is handed in when it is there."""
        start = client = self.now
        waiting = [deque([worker] * self.chunks_each) for worker in range(self.k)]
        unbegun = unfinished = self.k * self.chunks_each
        lost: deque[int] = deque()  # chunks, by their owners, of workers that died at them
        again = moved = deaths = 0
        order = itertools.count()  # of events at the same time
        # When, the worker or -1 for a death that is noticed, the chunk's owner or -1 for none.
        events = [(max(start, self.back[w]), next(order), w, -1) for w in range(self.k)]
        heapq.heapify(events)
        idle: list[int] = []
        while unfinished:
            self.now, _, worker, owner = heapq.heappop(events)
            if worker < 0:
                lost.append(owner)
                if not idle:
                    continue
                worker = idle.pop()
            elif owner >= 0:
                unfinished -= 1
                client = max(client, self.now) + self.handling
                heapq.heappush(events, (client, next(order), worker, -1))
                continue
            if self.death[worker] <= self.now:  # while it had nothing to do
                deaths += 1
                heapq.heappush(events, (self._replaced(worker), next(order), worker, -1))
                continue
            chunks = waiting[worker] or lost
            if not chunks and unbegun:
                chunks = max(waiting, key=len)
            if not chunks:
                idle.append(worker)
                continue
            owner = chunks.popleft()
            unbegun -= chunks is not lost
            seconds = self._chunk()
            if owner != worker:
                moved += 1
                seconds += self.chance.reading * self.seconds
            if self.death[worker] > self.now + seconds:
                heapq.heappush(events, (self.now + seconds, next(order), worker, owner))
                continue
            deaths, again = deaths + 1, again + 1
            noticed = self.death[worker] + self.chance.notice
            heapq.heappush(events, (noticed, next(order), -1, owner))
            heapq.heappush(events, (self._replaced(worker), next(order), worker, -1))
        self.now = max(self.now, client)
        return Step(self.now - start, deaths, again, moved)

    def step_that_begins_again(self) -> Step:
        """Each worker its own chunks; after a death all begin again, when another one is there."""
        start, deaths = self.now, 0
        while True:
            shares = (sum(self._chunk() for _ in range(self.chunks_each)) for _ in range(self.k))
            end = self.now + max(shares)
            first = int(np.argmin(self.death))
            if self.death[first] > end:
                self.now = end
                return Step(end - start, deaths, deaths * self.k * self.chunks_each, 0)
            deaths += 1
            self.now = self._replaced(first)


def simulation(n: int, k: int, chance: Chance, seed: int) -> Simulation:
    """n examples on k workers; a chunk's sum is one vector, as it has a power of two of groups."""
    chunks_each = max(1, round(n / (CHUNK * k)))
    handling = 0.0 if k == 1 else DASK.task + WORK.n_bytes * DASK.byte
    seconds = n * WORK.seconds / (k * chunks_each)
    return Simulation(k, chunks_each, seconds, chance, np.random.default_rng(seed), handling)


def steps_with_client(n: int, k: int, chance: Chance, steps: int, seed: int) -> list[Step]:
    """Whose results come as they are made; the parameters go out before."""
    before = 0.0 if k == 1 else DASK.round + k * WORK.n_bytes * DASK.byte
    simulated = simulation(n, k, chance, seed)
    made = [simulated.step() for _ in range(steps)]
    return [step._replace(seconds=step.seconds + before) for step in made]


def steps_of_ranks(n: int, k: int, chance: Chance, steps: int, seed: int) -> list[Step]:
    """Which add up in pairs after the last chunk."""
    simulated = simulation(n, k, chance, seed)
    made = [simulated.step_that_begins_again() for _ in range(steps)]
    after = exchange(WORK, MPI, k)
    return [step._replace(seconds=step.seconds + after) for step in made]


def mean(steps: list[Step]) -> float:
    return statistics.mean(step.seconds for step in steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    given = options.steps, options.seed
    print("seconds a step           ------------- with a client -------------   ---- ranks ----")
    print(f"{'n':>13}{'k':>6}{'calm':>9}{'slow ones':>11}{'deaths':>9}", end="")
    print(f"{'speed-up':>10}{'deaths':>10}{'calm':>9}{'deaths':>10}{'speed-up':>10}")
    for n in (10**6, 10**7, 10**8, 10**9):
        for k in (1, 2, 10, 30, 100, 300, 1000):
            calm, slow, died = (
                steps_with_client(n, k, chance, *given) for chance in (CALM, SLOW, Chance())
            )
            ranks = [steps_of_ranks(n, k, chance, *given) for chance in (CALM, Chance())]
            print(
                f"{n:>13,}{k:>6}{mean(calm):>9.3g}{mean(slow):>11.3g}{mean(died):>9.3g}"
                f"{n * WORK.seconds / mean(died):>10.1f}{sum(step.deaths for step in died):>10}"
                f"{mean(ranks[0]):>9.3g}{mean(ranks[1]):>10.3g}"
                f"{n * WORK.seconds / mean(ranks[1]):>10.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
