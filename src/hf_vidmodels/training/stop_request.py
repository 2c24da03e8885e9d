"""What SIGINT (Ctrl-C) and SIGTERM mean while a run trains: all processes stop together at the next optimiser step."""

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType, TracebackType

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Notes inside a `with` block that the run shall stop, instead of letting the signal end the process.

    Only the main thread can receive signals: in another one nothing changes. A second Ctrl-C stops at once; a second
    SIGTERM does not, because batch systems send it to a launcher, which passes it on, and to its processes as well. A
    signal that nobody has answered by the end of the block is raised again.

    Attributes:
        signal_number: the signal that this process got, 0 for none.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._earlier: dict[int, Callable[[int, FrameType | None], None] | int | None] = {}
        # Asked on the host at every step: the devices' own group would wait for the device.
        self._group = dist.new_group(backend="gloo") if dist.is_available() and dist.is_initialized() else None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        if kind is None and self.signal_number:
            signal.raise_signal(self.signal_number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal_number == number:
            raise KeyboardInterrupt
        if number == signal.SIGINT and os.environ.get("RANK", "0") == "0":
            # print is not safe here: the signal may have come in the middle of another one.
            os.write(2, b"\nStopping at the next step; Ctrl-C again stops at once and saves nothing.\n")
        self.signal_number = self.signal_number or number

    def agreed(self) -> int:
        """Return the signal that any process got, the same on all of them, or 0; every process must ask."""
        if self._group is None:
            return self.signal_number
        number = torch.tensor([self.signal_number])
        dist.all_reduce(number, op=dist.ReduceOp.MAX, group=self._group)
        return int(number)


def shield_workers(loader: DataLoader) -> None:
    """Let the loader's worker processes, not started yet, go on when a signal reaches the whole process group.

    They still end when the process that they load for ends them.
    """
    loader.worker_init_fn = partial(_ignore_signals_and, loader.worker_init_fn)


def _ignore_signals_and(initialize: Callable[[int], None] | None, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Only here the sender can be told (macOS lacks it, where a SIGTERM to the whole group still ends workers).
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_when_the_parent_says_so, daemon=True).start()
    if initialize is not None:
        initialize(worker)


def _end_when_the_parent_says_so() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
