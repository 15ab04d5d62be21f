"""What all sessions do: steps without the GIL, for one thread at a time, until somebody wants attention."""

from libc.stdint cimport int32_t

from hoshikage._board cimport Board, board_words, job_begins, job_ends

from hoshikage.errors import Cancelled

__all__ = ["Running"]


cdef class _Turn:
    """A session is one thread's as long as this lasts. In C, where no Ctrl-C comes between the end of the work and
    the end of the turn: a session would stay taken."""

    def __init__(self, Running session):
        self._session = session

    def __enter__(self):
        self._session._check_made()
        if self._session._busy:
            raise RuntimeError("another thread is using this session; give each thread its own, or take turns")
        self._session._busy = True

    def __exit__(self, *_):
        self._session._busy = False


cdef class Running:
    """The base of sessions, which say who is in work, what a step is and who has finished."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    cdef _Turn _alone(self):
        return _Turn(self)

    def step(self, Board board=None):
        """One step of all that are in work; returns those that it finished."""
        return self.run(board, max_steps=1)

    def run(self, Board board=None, int32_t max_steps=0):
        """Steps until one is finished or paused, the board asks for attention, or `max_steps` are done (0: no limit).

        Returns these, which have left the session. Raises Cancelled when the board says so; the others go on
        from where they were with the next call.
        """
        cdef Board watched = board if board is not None else Board()
        with self._alone():
            if not self._has_work():
                return []
            job_begins(watched)
            self._watch(&watched.words)
            try:
                with nogil:
                    self._many_steps(&watched.words, max_steps)
            finally:
                self._watch(NULL)
                job_ends(watched)
            return self._let_go()

    cdef int _many_steps(self, board_words *board, int32_t max_steps) except -1 nogil:
        cdef int32_t n = 0
        cdef bint finished
        while max_steps == 0 or n < max_steps:
            if board.cancel:
                with gil:
                    raise Cancelled("the run was cancelled")
            finished = self._one_step()
            n += 1
            board.n_steps += 1
            if finished:
                return 0
            if board.attend:
                board.attend = 0
                return 0
        return 0

    # -- a session's own

    cdef int _check_made(self) except -1:
        """Raises where it cannot be used."""
        return 0

    cdef bint _has_work(self) except -1:
        raise NotImplementedError

    cdef void _watch(self, board_words *board) noexcept:
        """A forward pass stops when this board says so; NULL: no board."""

    cdef int _one_step(self) except -1 nogil:
        """1 when somebody is finished by it."""
        with gil:
            raise NotImplementedError

    cdef list _let_go(self):
        """Those that are finished, which leave."""
        raise NotImplementedError
