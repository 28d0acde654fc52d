"""What is used of Dask, with the types of that alone: it need not be there to check ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    class Client:
        asynchronous: bool
        status: str

        def compute(self, collections: Sequence[object]) -> list[Future]: ...
        def submit(
            self, function: Callable[..., Any], *arguments: object, pure: bool, **keywords: object
        ) -> Future: ...
        def map(
            self, function: Callable[..., Any], *arguments: Sequence[object], pure: bool
        ) -> list[Future]: ...

    class Delayed:
        key: object

    class Future:
        key: object

        def result(self) -> Any: ...  # Any: of whatever task
        def release(self) -> None: ...

    class KilledWorker(Exception):
        allowed_failures: int
        last_worker: object

    config: Any  # Dask's settings

    def as_completed(futures: Sequence[Future]) -> Iterator[Future]: ...
    def delayed(function: Callable[..., Any], *, pure: bool) -> Callable[..., Delayed]: ...
    def dumps(value: object) -> bytes: ...
    def get_worker() -> Any: ...
    def is_dask_collection(value: object) -> bool: ...
    def optimize(*collections: object) -> tuple[Any, ...]: ...
else:
    try:
        from cloudpickle import dumps
        from dask import config, delayed, is_dask_collection, optimize
        from dask.delayed import Delayed
        from distributed import Client, Future, KilledWorker, as_completed, get_worker
    except ImportError as error:
        raise ImportError(
            f"cbackprop.dask needs Dask 2024.8.1 or newer ({error}): pip install "
            "'dask[distributed]>=2024.8.1', or cbackprop with its extra: 'cbackprop[dask]'"
        ) from error

__all__ = [
    "Client",
    "Delayed",
    "Future",
    "KilledWorker",
    "as_completed",
    "config",
    "delayed",
    "dumps",
    "get_worker",
    "is_dask_collection",
    "optimize",
]
