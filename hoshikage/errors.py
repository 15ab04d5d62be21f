"""Every exception that Hoshikage raises on purpose: what went wrong, and what to do about it.

Each keeps `cause` and `remedy`; its text is "cause; remedy". A class may bring a remedy of its own for callers
that have none. They pickle: their arguments are those of their constructors.
"""

from __future__ import annotations

from os import PathLike, fspath
from typing import Self, TypeAlias

AnyPath: TypeAlias = str | PathLike[str]


class HoshikageError(Exception):
    """The root of all of them."""

    default_remedy = ""

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy or self.default_remedy

    def anew(self) -> Self:
        """The same for another to raise: what is raised keeps the frames that it went through, and all they hold."""
        return type(self)(*self.args)

    @property
    def subject(self) -> str:
        """What the sentence is about, where that is not part of the cause: a path, a parameter."""
        return ""

    @property
    def sentence(self) -> str:
        """What is said of it where the subject is known, or must not be shown."""
        return f"{self.cause}; {self.remedy}" if self.remedy else self.cause

    def __str__(self) -> str:
        return f"{self.subject}: {self.sentence}" if self.subject else self.sentence


class FileError(HoshikageError):
    """An error about one file; a server that must not show paths prints `cause` and `remedy` only."""

    def __init__(self, path: AnyPath, cause: str, remedy: str = "") -> None:
        super().__init__(cause, remedy)
        self.args = (path, cause, remedy)
        self.path = path

    @property
    def subject(self) -> str:
        return fspath(self.path)


class ModelFileError(FileError):
    """The file cannot be a model: missing, not a GGUF, damaged, or something that would end the process."""

    default_remedy = "download or convert it again"


class UnsupportedModelError(ModelFileError):
    """A sound file of a model that this build does not run."""

    default_remedy = "use a model of a supported architecture"


class AmbiguousKindError(ModelFileError):
    """A model that could be run in two ways, of which one is wrong: somebody has to say."""


class ModelLoadError(FileError):
    """llama.cpp refused a file that our own inspection had passed."""

    default_remedy = "download or convert it again, or try a newer llama.cpp"


class LibraryError(HoshikageError):
    """libllama is missing, or is not the one that this extension was built for."""

    default_remedy = "install again, or unset HOSHIKAGE_LIB_PATH"


class RegistryError(FileError):
    """The file of registered models cannot be read or written, or an entry of it describes no model."""

    default_remedy = "correct it there"


class BrokenMapError(RegistryError):
    """That file cannot be understood; it stays as it is until somebody decides."""

    default_remedy = "correct it there, or let `hoshikage add --set-aside` keep it under another name and begin anew"


class UnknownModelError(HoshikageError):
    """No model has this name."""

    default_remedy = "`hoshikage list` names them all"


class ParameterError(HoshikageError, ValueError):
    """A value that a person or a program gave us is not usable."""

    def __init__(self, name: str, cause: str, remedy: str = "") -> None:
        super().__init__(cause, remedy)
        self.args = (name, cause, remedy)
        self.name = name

    @property
    def subject(self) -> str:
        return self.name


class LabelTaken(ParameterError):  # noqa: N818 -- a state, not a mistake
    """A model has this label already."""

    def __init__(self, label: str) -> None:
        super().__init__("LABEL", f"{label!r} is taken", "choose another label, or say --replace")
        self.args = (label,)


class ContextOverflowError(HoshikageError):
    """More tokens than the context has positions."""

    default_remedy = "use a shorter prompt, or load the model with a larger n_ctx"

    def __init__(self, n_prompt: int, n_ctx: int, is_halved: bool = False) -> None:
        # Clients that make a conversation shorter by themselves look for "exceeds the available context size".
        sized = f"the prompt has {n_prompt} tokens"
        guided = ", in which guidance needs two canvases" if is_halved else ""
        remedy = "leave cfg_scale out, or load the model with DIFFUSION_CFG_SCALE above 0: that makes room for both"
        super().__init__(
            f"{sized}, and with an answer it exceeds the available context size of {n_ctx}{guided}",
            remedy if is_halved else "",
        )
        self.args = (n_prompt, n_ctx, is_halved)
        self.n_prompt = n_prompt
        self.n_ctx = n_ctx


class TemplateError(HoshikageError):
    """The model's chat template is missing, broken or out of bounds."""

    default_remedy = "give the prompt as plain text"


class TemplateRefusal(TemplateError):  # noqa: N818 -- a kind of TemplateError
    """The template ran, and raised an error: it may take the same conversation told otherwise."""


class DecodeError(HoshikageError):
    """A forward pass failed."""

    default_remedy = "load the model again"


class NoTokenLeft(DecodeError):  # noqa: N818 -- a state, not a mistake
    """What a request allows and forbids leaves it no token to go on with: asking again ends the same way."""


FAULTS = {  # why a text cannot go on: what is wrong at a place, and the remedy
    "unreadable": (
        DecodeError,
        "the model's logits {} are not numbers",
        "the file may be damaged, or its quantisation unsuited to this device; try another",
    ),
    "forbidden": (
        NoTokenLeft,
        "every token is forbidden {}",
        "loosen the bias or the grammar; the vocabulary may lack what a grammar asks for",
    ),
    "dead end": (
        NoTokenLeft,
        "the grammar and the bias forbid every token {}",
        "loosen them; the vocabulary may lack what the grammar asks for",
    ),
    "given up": (
        NoTokenLeft,
        "llama.cpp's grammar gave up {}",
        "make it less ambiguous; avoid token elements such as <id> behind text",
    ),
}


def fault_named(name: str, where: str) -> DecodeError:
    """The exception for one of the faults."""
    kind, cause, remedy = FAULTS[name]
    return kind(cause.format(where), remedy)


class MemoryExhausted(HoshikageError):  # noqa: N818 -- a state, not a mistake
    """Not enough memory on the host or on a device."""

    default_remedy = "use a smaller context, fewer GPU layers or a smaller model"


class NeverFitsError(MemoryExhausted):
    """A model that is larger than this machine. Sizes are bytes."""

    default_remedy = "use a smaller model or quantisation, or raise MEMORY_BUDGET where that is the bound"

    def __init__(self, least: int, host: int, gpus: int) -> None:
        there_is = f"{host / 1e9:.1f} GB for it" + (f" and {gpus / 1e9:.1f} GB on its GPUs" if gpus else "")
        super().__init__(f"the model takes {least / 1e9:.1f} GB at least, and this machine has {there_is}")
        self.args = (least, host, gpus)
        self.least = least


class Cancelled(HoshikageError):  # noqa: N818 -- a wish granted
    """Somebody asked for the end, and got it."""

    def __init__(self, cause: str = "the work was cancelled", remedy: str = "") -> None:
        super().__init__(cause, remedy)


class QueueFullError(HoshikageError):
    """As many wait as may wait."""

    default_remedy = "try again later"

    def __init__(self, n_waiting: int, retry_after: int) -> None:
        super().__init__(f"{n_waiting} requests wait already", f"try again in {retry_after} s")
        self.args = (n_waiting, retry_after)
        self.n_waiting = n_waiting
        self.retry_after = retry_after  # seconds


class WaitedTooLong(HoshikageError):  # noqa: N818 -- what happened to it, not what it did
    """A request's turn did not come in time."""

    default_remedy = "try again later, or allow a longer wait"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"its turn did not come within {seconds:g} s")
        self.args = (seconds,)


class TookTooLong(HoshikageError):  # noqa: N818 -- likewise
    """A request's time was over before its work was."""

    default_remedy = "ask for fewer tokens, or allow more time"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it was not done within {seconds:g} s")
        self.args = (seconds,)


class NoRoomError(HoshikageError):
    """Models that must stay leave no room for this one."""

    default_remedy = "unload or unpin one of them, or raise MAX_RESIDENT"


class Stopping(HoshikageError):  # noqa: N818 -- a state, not a mistake
    """Nothing new begins: the program is about to end."""

    def __init__(self, cause: str = "Hoshikage is stopping", remedy: str = "ask again when it has started") -> None:
        super().__init__(cause, remedy)


class WorkerDied(HoshikageError):  # noqa: N818 -- a state, not a mistake
    """The process that held the model has ended, and what it was asked with it."""

    default_remedy = "ask again: the model is loaded anew"


class DiedLoading(WorkerDied):
    """It ended before its model was there."""

    default_remedy = "use a smaller context, fewer GPU layers or a smaller model"


class LoadStuck(HoshikageError):  # noqa: N818 -- likewise
    """A load showed no sign of life for so long that it was given up."""

    default_remedy = "see whether its disk and the GPUs answer, or raise HOSHIKAGE_WATCHDOG"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing of its load has moved for {seconds:g} s, so it was given up")
        self.args = (seconds,)


class NoServerError(HoshikageError):
    """Nothing of ours answers at an address."""

    default_remedy = "start one with `hoshikage serve`, or say where it is with --url"


class RefusedError(HoshikageError):
    """A running server was asked and said no; `status` is that of HTTP."""

    def __init__(self, cause: str, remedy: str = "", status: int = 0) -> None:
        super().__init__(cause, remedy)
        self.args = (cause, remedy, status)
        self.status = status


class InternalError(HoshikageError):
    """Something happened that should not."""

    default_remedy = "the log has the details; please report it"
