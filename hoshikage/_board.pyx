"""The board: a job's line out (progress) and in (cancel), safe from any thread."""


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
    def progress(self):
        return self.words.progress
