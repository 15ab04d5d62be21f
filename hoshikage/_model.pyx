"""Model: the weights and the vocabulary of one GGUF file."""

from libc.stdint cimport int32_t
from libc.stdio cimport FILE, fclose
from libc.stdlib cimport calloc, free

from hoshikage._board cimport Board, board_words, job_begins, job_ends
from hoshikage._csrc cimport overlay_open, overlay_part, stack_call
from hoshikage._llama cimport *
from hoshikage._log cimport forget_lines, last_lines

import os

from hoshikage import gguf
from hoshikage.errors import Cancelled, MemoryExhausted, ModelLoadError, ParameterError

SPLIT_MODES = {"none": LLAMA_SPLIT_MODE_NONE, "layer": LLAMA_SPLIT_MODE_LAYER, "row": LLAMA_SPLIT_MODE_ROW}
MAX_TEXT = 1 << 28  # bytes per call of tokenize: far beyond any context, well inside llama.cpp's int32

# Of what regular expressions may match as one: characters that any thread's stack has room for, those that are read at
# all, and the stack of each. A match holds two runs at most, and takes 420 bytes of stack a character.
SHORT_RUN, LONGEST_RUN, STACK_OF_CHARACTER = 1 << 10, 1 << 19, 1 << 10


def gpu_offload():
    """Whether this build of llama.cpp found a device that layers can be put on."""
    return bool(llama_supports_gpu_offload())


cdef struct load_watch:     # what the progress callback needs, for the length of one load
    board_words *words
    void *report            # a Python callable, or NULL
    void *failures          # a list: what that callable raised
    bint failed             # it has raised, and is not called again


cdef cbool load_progress(float fraction, void *data) noexcept nogil:
    cdef load_watch *watch = <load_watch *> data
    watch.words.progress = fraction
    if watch.report != NULL and not watch.failed:
        report_progress(watch, fraction)
    return watch.words.cancel == 0 and not watch.failed


cdef void report_progress(load_watch *watch, float fraction) noexcept with gil:
    try:
        (<object> watch.report)(fraction)
    except BaseException as failure:  # raised again by `_load`, once llama.cpp has returned
        (<list> watch.failures).append(failure)
        watch.failed = True


cdef struct tokenizing:     # the arguments and the result of one llama_tokenize
    const llama_vocab *vocab
    const char *text
    int32_t n_bytes
    llama_token *ids
    int32_t n_max
    bint add_special
    bint parse_special
    int32_t n


cdef void tokenize_now(void *data) noexcept nogil:
    cdef tokenizing *job = <tokenizing *> data
    job.n = llama_tokenize(job.vocab, job.text, job.n_bytes, job.ids, job.n_max, job.add_special, job.parse_special)


cdef int32_t longest_run(const char *text, int32_t n_bytes, bint mixed) noexcept nogil:
    """Characters of the longest part of a text that is all white space or has none, as std::regex knows it; of all of
    it where a match may have both (`mixed`)."""
    cdef int32_t i, n = 0, longest = 0
    cdef bint white = False, was_white = False
    for i in range(n_bytes):
        if (text[i] & 0xC0) == 0x80:  # inside a character
            continue
        white = text[i] == 0x20 or 0x09 <= text[i] <= 0x0D
        n = n + 1 if mixed or white == was_white else 1
        was_white = white
        longest = max(longest, n)
    return longest


cdef int check_same_file(object header, object status) except -1:
    """The header was judged; whatever replaced its file since was not."""
    if header.identity != (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns):
        raise ModelLoadError(header.path, "the file was replaced or changed while it was being opened", "load it again")
    return 0


cdef FILE *open_retagged(object header_before, object retagged) except NULL:
    """The file with its rewritten header, as one stream; nothing is written to disk."""
    cdef const unsigned char[::1] header = retagged.header_bytes
    cdef int n_parts = 1 + len(retagged.parts)
    cdef overlay_part *parts = <overlay_part *> calloc(n_parts, sizeof(overlay_part))
    cdef int fd = -1
    cdef int i = 0
    cdef FILE *stream
    if parts == NULL:
        raise MemoryError
    try:
        fd = os.open(header_before.path, os.O_RDONLY | os.O_CLOEXEC)
        check_same_file(header_before, os.fstat(fd))
        parts[0].bytes, parts[0].fd, parts[0].length = <const void *> &header[0], -1, len(header)
        for part in retagged.parts:
            i += 1
            parts[i].fd = fd if part[0] == "file" else -1
            parts[i].offset = part[1] if part[0] == "file" else 0
            parts[i].length = part[2] if part[0] == "file" else part[1]
        stream = overlay_open(parts, n_parts)
        if stream == NULL:
            raise MemoryError(f"no stream over {header_before.path}")
        return stream
    finally:
        free(parts)
        if fd >= 0:
            os.close(fd)


cdef class Model:
    """One GGUF file's weights and vocabulary.

    A diffusion file is served under the header of its causal twin, which has a KV cache (`retag=True`);
    `retag=False` loads it as llama.cpp does, without memory. `board` and `progress` follow the load, and
    `board.cancel()` ends it. `wish` says what kind of model it is, where the file does not.
    """

    def __init__(self, path, *, int n_gpu_layers=-1, int main_gpu=0, tensor_split=None, str split_mode="layer",
                 mmap=None, bint retag=True, bint check_tensors=False, Board board=None, progress=None,
                 wish=None):
        if self.path is not None:
            raise RuntimeError("a model is loaded once")
        self.path = os.fspath(path)
        self.header = gguf.inspect(self.path)
        self.architecture = self.header.origin
        self.kind = gguf.kind_of(self.header, wish)
        self.is_diffusion, self.shift = self.kind.is_diffusion, self.kind.shift
        self.block_length = self.kind.block_length
        self.splitting = gguf.splitting_of(self.header)
        retagged = gguf.retag(self.header) if retag else None
        self.native = self.header.is_diffusion and retagged is None and not self.header.is_retagged
        self.served_as = retagged.architecture if retagged is not None else self.header.architecture
        if retagged is not None and mmap:
            raise ParameterError("mmap", "a diffusion model served with a cache has no file to map",
                                 "leave mmap out, or load with retag=False")
        self._load(retagged, n_gpu_layers, main_gpu, tensor_split, split_mode, mmap, check_tensors,
                   board if board is not None else Board(), progress)
        self.vocab = llama_model_get_vocab(self.ptr)
        self.n_vocab = llama_vocab_n_tokens(self.vocab)

    cdef _load(self, retagged, int n_gpu_layers, int main_gpu, tensor_split, str split_mode, mmap, bint check_tensors,
               Board board, progress):
        cdef llama_model_params params = llama_model_default_params()
        cdef load_watch watch
        cdef float *split = NULL
        cdef FILE *stream = NULL
        cdef bytes path = os.fsencode(self.path)
        cdef const char *c_path = path
        if split_mode not in SPLIT_MODES:
            raise ParameterError("split_mode", f"{split_mode!r} is unknown", f"use one of {', '.join(SPLIT_MODES)}")
        failures = []
        watch.words, watch.failures, watch.failed = &board.words, <void *> failures, False
        watch.report = <void *> progress if progress is not None else NULL
        params.n_gpu_layers, params.main_gpu, params.split_mode = n_gpu_layers, main_gpu, SPLIT_MODES[split_mode]
        if n_gpu_layers == 0:
            # llama.cpp would still open every GPU and lend it the products of large passes; this is its word for none.
            params.main_gpu, params.split_mode = -1, SPLIT_MODES["none"]
        params.load_mode = LLAMA_LOAD_MODE_NONE if retagged is not None or mmap is False else LLAMA_LOAD_MODE_MMAP
        params.check_tensors = check_tensors
        params.progress_callback, params.progress_callback_user_data = load_progress, &watch
        forget_lines()
        try:
            if tensor_split is not None:
                split = split_of(tensor_split)
                params.tensor_split = split
            if retagged is not None:
                stream = open_retagged(self.header, retagged)
            else:
                check_same_file(self.header, os.stat(self.path))
            job_begins(board)
            try:
                with nogil:
                    self.ptr = (llama_model_load_from_file_ptr(stream, params) if stream != NULL
                                else llama_model_load_from_file(c_path, params))
            finally:
                job_ends(board)
        finally:
            free(split)
            if stream != NULL:
                fclose(stream)
        if failures:
            self.close()
            raise failures[0]
        if self.ptr == NULL:
            if board.cancelled:
                raise Cancelled(f"loading {self.path} was cancelled")
            raise ModelLoadError(self.path, last_lines() or "llama.cpp gave no reason")

    def __dealloc__(self):
        llama_model_free(self.ptr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Give the weights back. Sessions stand on them and are closed first."""
        if self._users:
            raise RuntimeError(f"{self.path} is in use by {self._users} sessions or calls; close or await them first")
        llama_model_free(self.ptr)
        self.ptr = NULL
        self.vocab = NULL

    @property
    def closed(self):
        return self.ptr == NULL

    cdef int check_open(self) except -1:
        if self.ptr == NULL:
            raise RuntimeError(f"the model {self.path} is closed")
        return 0

    cdef int check_token(self, int32_t token) except -1:
        self.check_open()
        if not 0 <= token < self.n_vocab:
            raise ParameterError("tokens", f"id {token} is outside the vocabulary of {self.n_vocab}",
                                 "use ids that tokenize returned")
        return 0

    def open_context(self, **options):
        """A llama.cpp context on these weights; `hoshikage._context.Context` lists the options."""
        from hoshikage._context import Context  # that module stands on this one
        return Context(self, **options)

    # -- facts

    @property
    def description(self):
        cdef char text[256]
        self.check_open()
        llama_model_desc(self.ptr, text, sizeof(text))
        return text.decode("utf-8", "replace")

    @property
    def n_ctx_train(self):
        self.check_open()
        return llama_model_n_ctx_train(self.ptr)

    @property
    def n_embd(self):
        self.check_open()
        return llama_model_n_embd(self.ptr)

    @property
    def n_layer(self):
        self.check_open()
        return llama_model_n_layer(self.ptr)

    @property
    def n_params(self):
        self.check_open()
        return llama_model_n_params(self.ptr)

    @property
    def size(self):
        """Bytes of all tensors."""
        self.check_open()
        return llama_model_size(self.ptr)

    @property
    def metadata(self):
        """The header's scalars as strings, as llama.cpp read them (a retagged model shows its twin's keys)."""
        cdef int32_t i
        self.check_open()
        return {meta_text(self.ptr, i, True): meta_text(self.ptr, i, False)
                for i in range(llama_model_meta_count(self.ptr))}

    @property
    def chat_template(self):
        cdef const char *text
        self.check_open()
        text = llama_model_chat_template(self.ptr, NULL)
        return None if text == NULL else text.decode("utf-8", "replace")

    # -- vocabulary

    @property
    def mask_id(self):
        self.check_open()
        return llama_vocab_mask(self.vocab) if self.kind.mask_id is None else self.kind.mask_id

    @property
    def bos_id(self):
        self.check_open()
        return llama_vocab_bos(self.vocab)

    @property
    def eos_id(self):
        self.check_open()
        return llama_vocab_eos(self.vocab)

    @property
    def eot_id(self):
        self.check_open()
        return llama_vocab_eot(self.vocab)

    @property
    def add_bos(self):
        self.check_open()
        return bool(llama_vocab_get_add_bos(self.vocab))

    @property
    def eog_ids(self):
        """Every token that ends a generation."""
        cdef int32_t token
        self.check_open()
        return frozenset(token for token in range(self.n_vocab) if llama_vocab_is_eog(self.vocab, token))

    def tokenize(self, text, *, bint add_special=False, bint parse_special=False):
        """Token ids of a text; special tokens written out in it are plain text unless `parse_special`."""
        cdef bytes raw = text.encode("utf-8") if isinstance(text, str) else bytes(memoryview(text))
        cdef tokenizing job
        cdef size_t n_stack
        cdef int error = 0
        self.check_open()
        raw.decode("utf-8")  # llama.cpp throws on what is not UTF-8, and a C++ exception would end the process
        if len(raw) > MAX_TEXT:
            raise ParameterError("text", f"{len(raw)} bytes are too many", f"tokenize at most {MAX_TEXT} at once")
        n_stack = self.stack_for(raw)
        job.vocab, job.text, job.n_bytes = self.vocab, raw, len(raw)
        job.add_special, job.parse_special, job.n = add_special, parse_special, 0
        job.n_max = job.n_bytes + 16  # never more tokens than bytes, but for the special ones at the ends
        job.ids = <llama_token *> calloc(job.n_max, sizeof(llama_token))
        if job.ids == NULL:
            raise MemoryError
        self._users += 1  # so that no other thread closes the model meanwhile
        try:
            with nogil:
                if n_stack > 0:
                    error = stack_call(n_stack, tokenize_now, &job)
                else:
                    tokenize_now(&job)
            if error:
                raise MemoryExhausted(f"a long run without a space takes a thread with {n_stack >> 20} MiB of stack, "
                                      f"and there is none: {os.strerror(error)}", "put spaces or line ends into it")
            if job.n < 0:
                raise ParameterError("text", "llama.cpp could not tokenize it", "report this text as a bug")
            return [job.ids[i] for i in range(job.n)]
        finally:
            self._users -= 1
            free(job.ids)

    cdef size_t stack_for(self, bytes raw) except? 1:
        """The stack that splitting a text into words takes; 0: any will do."""
        cdef const char *text = raw
        cdef int32_t n_bytes = len(raw), n
        cdef bint mixed = self.splitting == "whole"
        if self.splitting == "loop" or n_bytes <= SHORT_RUN:
            return 0
        with nogil:
            n = longest_run(text, n_bytes, mixed)
        if n > LONGEST_RUN:
            raise ParameterError("text", f"{n} characters in one run are more than this model's splitter can read",
                                 f"put spaces or line ends into it, so that no run is longer than {LONGEST_RUN}")
        return <size_t> n * STACK_OF_CHARACTER if n > SHORT_RUN else 0

    def detokenize(self, ids, *, bint special=False):
        """The bytes of the tokens, one after the other; control tokens are empty unless `special`."""
        return b"".join([self.piece(token, special=special) for token in ids])

    def piece(self, int32_t token, *, bint special=False):
        """The bytes of one token."""
        cdef char text[64]
        cdef char *longer
        cdef int32_t n
        self.check_token(token)
        n = llama_token_to_piece(self.vocab, token, text, sizeof(text), 0, special)
        if n >= 0:
            return text[:n]
        longer = <char *> calloc(-n, 1)
        if longer == NULL:
            raise MemoryError
        try:
            n = llama_token_to_piece(self.vocab, token, longer, -n, 0, special)
            return longer[:max(n, 0)]
        finally:
            free(longer)


cdef float *split_of(tensor_split) except NULL:
    """llama.cpp reads one share per possible device."""
    shares = [float(share) for share in tensor_split]
    n_most = <Py_ssize_t> llama_max_devices()
    if not 0 < len(shares) <= n_most or not all(0 <= share < float("inf") for share in shares):
        raise ParameterError("tensor_split", f"{tensor_split!r} does not divide the model",
                             f"give up to {llama_max_devices()} shares, none negative")
    cdef float *split = <float *> calloc(llama_max_devices(), sizeof(float))
    if split == NULL:
        raise MemoryError
    for i, share in enumerate(shares):
        split[i] = share
    return split


cdef str meta_text(llama_model *model, int32_t i, bint key):
    """A header entry's key or value; llama.cpp tells the length of a text that did not fit."""
    cdef bytearray text = bytearray(256)
    cdef int32_t n
    while True:
        n = (llama_model_meta_key_by_index(model, i, text, len(text)) if key
             else llama_model_meta_val_str_by_index(model, i, text, len(text)))
        if n < 0:
            return ""
        if n < len(text):
            return bytes(text[:n]).decode("utf-8", "replace")
        text = bytearray(n + 1)
