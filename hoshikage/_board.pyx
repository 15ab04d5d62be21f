"""The board: a job's line out (progress) and in (cancel), safe from any thread."""

import atexit
import os
import time

from hoshikage.errors import Cancelled

PATIENCE = 10.0     # seconds that the interpreter's end waits for jobs that were told to stop

cdef list at_work = []      # the boards of the jobs that compute without the GIL now
cdef bint leaving = False


cdef class Board:
    """Where a load or a run reports how far it is and is told to stop."""

    def cancel(self):
        """Stop the job that holds this board: within one step, inside a CPU forward pass as well."""
        self.words.cancel = 1

    def attend(self):
        """Ask a running loop to return after the present step; the request is taken down when it does."""
        self.words.attend = 1

    def reset(self):
        """Take down a cancel, so that the board can serve the next job."""
        self.words.cancel = 0
        self.words.attend = 0

    @property
    def cancelled(self):
        return self.words.cancel != 0

    @property
    def steps(self):
        return self.words.n_steps

    @property
    def nodes(self):
        return self.words.n_nodes

    @property
    def progress(self):
        return self.words.progress


cdef int job_begins(Board board) except -1:
    """Every job says so before it lets the GIL go, and calls `job_ends` when it has it back."""
    if leaving:
        raise Cancelled("the interpreter is ending")
    at_work.append(board)
    return 0


cdef job_ends(Board board):
    for i, other in enumerate(at_work):
        if other is board:
            del at_work[i]
            return


def stop_all_jobs():
    """At the interpreter's end: a daemon thread must not be inside llama.cpp while that is taken down."""
    global leaving
    leaving = True
    latest = time.monotonic() + PATIENCE
    while at_work and time.monotonic() < latest:
        for board in at_work:
            (<Board> board).words.cancel = 1
        time.sleep(0.001)


atexit.register(stop_all_jobs)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=at_work.clear)   # the threads of those jobs are not in the child
