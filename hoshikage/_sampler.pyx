# distutils: language = c++
# cython: auto_pickle=False
"""Sampler: llama.cpp's own samplers in its usual order, checked before they are made and caught when they throw.

    logit bias, penalties, DRY, top-k, typical, top-p, min-p, XTC, temperature, draw
    logit bias, penalties, DRY, temperature, mirostat

A grammar stands outside the chain, as in llama.cpp's tools: the token that the chain chose is shown to it, and only
when it refuses are all candidates put to it and the chain runs again on those that are left.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free

from hoshikage._grammar cimport Grammar
from hoshikage._llama cimport *
from hoshikage._model cimport Model

from hoshikage import gbnf
from hoshikage.checks import Number, Text, Texts, TokenBias, Whole, nearest
from hoshikage.errors import ParameterError

cdef extern from "csrc/samplers.h" nogil:
    cbool sampler_accept(llama_sampler *sampler, llama_token token) noexcept
    cbool sampler_apply(llama_sampler *sampler, llama_token_data_array *candidates) noexcept
    cbool sampler_add(llama_sampler *chain, llama_sampler *part) noexcept
    llama_sampler *sampler_dry(const llama_vocab *vocab, float multiplier, float base, int32_t allowed_length,
                               int32_t last_n, const char **breakers, size_t n_breakers) noexcept

# name: (check, default)
SETTINGS = {
    "temperature": (Number(0, 100), 0.0),
    "top_k": (Whole(0, 2**31 - 1), 0),
    "top_p": (Number(0, 1), 1.0),
    "min_p": (Number(0, 1), 0.0),
    "typical_p": (Number(0, 1), 1.0),
    "seed": (Whole(-(2**63), 2**64 - 1), 0),
    "logit_bias": (TokenBias(2**16), ()),
    "repetition_penalty": (Number(0.001, 1000), 1.0),  # float32 logits divided by it must stay finite
    "frequency_penalty": (Number(-1000, 1000), 0.0),
    "presence_penalty": (Number(-1000, 1000), 0.0),
    "repeat_last_n": (Whole(-1, 2**24), 64),
    "dry_multiplier": (Number(0, 100), 0.0),
    "dry_base": (Number(1, 100), 1.75),
    "dry_allowed_length": (Whole(0, 2**24), 2),
    "dry_penalty_last_n": (Whole(-1, 2**24), -1),
    "dry_sequence_breakers": (Texts(most=64, most_characters=64), ("\n", ":", '"', "*")),
    "xtc_probability": (Number(0, 1), 0.0),
    "xtc_threshold": (Number(0, 1), 0.1),
    "mirostat": (Whole(0, 2), 0),
    "mirostat_tau": (Number(0, 100, open_least=True), 5.0),
    "mirostat_eta": (Number(0, 1, open_least=True), 0.1),
    "grammar": (Text(2**20), None),
}
COLDEST = 1e-9          # below, float32 logits that differ at all are certain, and the division overflows
XTC_MOST = 0.5          # of two tokens, one at most is likelier than this, and XTC keeps the last
MIROSTAT_TOKENS = 100   # llama.cpp's: the likeliest, from which mirostat 1 estimates the slope

cdef enum:
    RANDOM_SEED = 0xFFFFFFFF        # llama.cpp takes the time instead of this one
cdef uint64_t GOLDEN = 0x9E3779B97F4A7C15   # 2^64 over the golden ratio: spreads neighbours apart


cdef class Sampler:
    """How the next token is chosen. Settings have the names and meanings of `CausalRequest`'s options.

    At temperature 0 the best token is taken, and what cannot move it is left out. `repeat_last_n` and
    `dry_penalty_last_n` count the prompt too; -1 is the whole context.
    """

    def __init__(self, **settings):
        for name in settings:
            if name not in SETTINGS:
                raise ParameterError(name, f"there is no such setting{nearest(name, SETTINGS)}", "see the signature")
        self._settings = {
            name: default if settings.get(name, default) is default else check.check(name, settings[name])
            for name, (check, default) in SETTINGS.items()
        }
        if self._settings["grammar"] is not None:
            gbnf.check(self._settings["grammar"])
        if any("\0" in text for text in self._settings["dry_sequence_breakers"]):
            raise ParameterError("dry_sequence_breakers", "one holds a zero byte", "leave it out")

    cdef Chain open(self, Model model, int32_t n_ctx):
        """A new stream's chain. Settings that only a model can judge are refused here."""
        cdef Chain chain = Chain()
        cdef dict settings = self._settings
        chain._take_bias(model, settings["logit_bias"])
        chain._add_penalties(model, settings, n_ctx)
        chain._add_dry(model, settings, n_ctx)
        chain._add_choice(model, settings)
        if settings["grammar"] is not None:
            chain.grammar = Grammar(model, settings["grammar"], checked=True)
        chain.draws = chain.bias != NULL or chain.chain != NULL or chain.grammar is not None
        return chain

    @property
    def settings(self):
        """All settings, judged; a copy, for what is made of them relies on their bounds."""
        return dict(self._settings)


cdef class Chain:
    """One stream's samplers, and what they remember of it."""

    def __dealloc__(self):
        llama_sampler_free(self.bias)
        llama_sampler_free(self.chain)

    # -- making it

    cdef _add(self, llama_sampler *part):
        """Put a sampler at the end; it is the chain's from here on."""
        cdef llama_sampler_chain_params params = llama_sampler_chain_default_params()
        params.no_perf = True
        if self.chain == NULL:
            self.chain = llama_sampler_chain_init(params)
        if not sampler_add(self.chain, part):
            llama_sampler_free(part)
            raise MemoryError

    cdef _take_bias(self, Model model, bias):
        cdef int32_t i, n_suppressed = 0
        cdef const llama_token *suppressed = llama_vocab_get_suppress_tokens(model.vocab, &n_suppressed)
        cdef llama_logit_bias *table
        if not len(bias) + n_suppressed:
            return
        for token, _ in bias:
            if token >= model.n_vocab:
                raise ParameterError("logit_bias", f"id {token} is outside the vocabulary of {model.n_vocab}",
                                     "use ids that tokenize returned")
        table = <llama_logit_bias *> calloc(len(bias) + n_suppressed, sizeof(llama_logit_bias))
        if table == NULL:
            raise MemoryError
        try:
            for i in range(n_suppressed):
                table[i].token, table[i].bias = suppressed[i], -INFINITY
            for i, (token, added) in enumerate(bias, n_suppressed):
                table[i].token, table[i].bias = token, added
            self.bias = llama_sampler_init_logit_bias(model.n_vocab, len(bias) + n_suppressed, table)
        finally:
            free(table)

    cdef _add_penalties(self, Model model, dict settings, int32_t n_ctx):
        cdef int32_t last_n = looking_back(settings["repeat_last_n"], n_ctx)
        cdef float repeat = settings["repetition_penalty"]
        cdef float frequency = settings["frequency_penalty"]
        cdef float presence = settings["presence_penalty"]
        if last_n and (repeat != 1.0 or frequency != 0.0 or presence != 0.0):
            self._add(llama_sampler_init_penalties(model.n_vocab, last_n, repeat, frequency, presence))
            self.remembers = True

    cdef _add_dry(self, Model model, dict settings, int32_t n_ctx):
        cdef int32_t i, last_n = looking_back(settings["dry_penalty_last_n"], n_ctx)
        cdef const char *breakers[64]
        if not (last_n and settings["dry_multiplier"] > 0):
            return
        texts = [text.encode() for text in settings["dry_sequence_breakers"]]
        for i, text in enumerate(texts):
            breakers[i] = text
        self._add(sampler_dry(model.vocab, settings["dry_multiplier"], settings["dry_base"],
                              settings["dry_allowed_length"], last_n, breakers, len(texts)))
        self.remembers = True

    cdef _add_choice(self, Model model, dict settings):
        """The end of the chain: what makes one token of what the samplers before leave."""
        cdef bint greedy = settings["temperature"] < COLDEST
        cdef uint32_t seed = short_seed(settings["seed"])
        cdef float tau = settings["mirostat_tau"]
        cdef float eta = settings["mirostat_eta"]
        if greedy:
            if settings["typical_p"] < 1 or xtc_acts(settings):  # the others cannot take the best token away
                self._add_cuts(settings)
            if self.chain != NULL:
                self._add(llama_sampler_init_greedy())
            return
        if settings["mirostat"]:
            self._add(llama_sampler_init_temp(settings["temperature"]))
        if settings["mirostat"] == 1:
            self._add(llama_sampler_init_mirostat(model.n_vocab, seed, tau, eta, MIROSTAT_TOKENS))
        elif settings["mirostat"] == 2:
            self._add(llama_sampler_init_mirostat_v2(seed, tau, eta))
        else:
            self._add_cuts(settings)
            self._add(llama_sampler_init_temp(settings["temperature"]))
            self._add(llama_sampler_init_dist(seed))

    cdef _add_cuts(self, dict settings):
        if settings["top_k"] > 0:
            self._add(llama_sampler_init_top_k(settings["top_k"]))
        if settings["typical_p"] < 1:
            self._add(llama_sampler_init_typical(settings["typical_p"], 1))
        if settings["top_p"] < 1:
            self._add(llama_sampler_init_top_p(settings["top_p"], 1))
        if settings["min_p"] > 0:
            self._add(llama_sampler_init_min_p(settings["min_p"], 1))
        if xtc_acts(settings):
            self._add(llama_sampler_init_xtc(settings["xtc_probability"], settings["xtc_threshold"], 1,
                                             short_seed(settings["seed"])))

    # -- using it

    cdef int32_t pick(self, const float *row, int32_t n_vocab, int32_t best, llama_token_data *room) noexcept nogil:
        """The next token of a row whose best is `best`, or a PICK_ code. `room` holds [n_vocab] where `draws`."""
        cdef int32_t token = best
        if self.bias != NULL or self.chain != NULL:
            token = self.draw(row, n_vocab, room, False)
        if self.grammar is None or (token >= 0 and self.grammar.allows(token)):
            return token
        return self.draw(row, n_vocab, room, True)

    cdef int32_t draw(self, const float *row, int32_t n_vocab, llama_token_data *room, bint constrained) noexcept nogil:
        cdef llama_token_data_array left
        cdef int32_t token
        for token in range(n_vocab):
            room[token].id, room[token].logit, room[token].p = token, row[token], 0.0
        left.data, left.size, left.selected, left.sorted = room, n_vocab, -1, False
        if self.bias != NULL and not sampler_apply(self.bias, &left):
            return PICK_FAILED
        if constrained and not self.grammar.narrow(&left):
            return PICK_FAILED
        if self.bias != NULL or constrained:
            left.size = keep_possible(room, n_vocab)
            if left.size == 0:
                return PICK_NONE
        if self.chain == NULL:
            return best_of(room, left.size)
        if not sampler_apply(self.chain, &left):
            return PICK_FAILED
        if not 0 <= left.selected < <int64_t> left.size or not left.data[left.selected].logit > -INFINITY:
            return PICK_NONE
        return left.data[left.selected].id

    cdef bint accept(self, int32_t token) noexcept nogil:
        """The token stands. False: llama.cpp's grammar let a token pass that it cannot follow; the chain is spent."""
        if self.remembers and not sampler_accept(self.chain, token):
            return False
        return self.grammar is None or self.grammar.accept(token)

    cdef bint recall(self, const int32_t *tokens, int32_t n_tokens) noexcept nogil:
        """The prompt counts for the penalties, and not for the grammar."""
        cdef int32_t i
        for i in range(n_tokens if self.remembers else 0):
            if not sampler_accept(self.chain, tokens[i]):
                return False
        return True


cdef int32_t keep_possible(llama_token_data *room, int32_t n) noexcept nogil:
    """Close the gaps that bias and grammar left: some samplers take the logarithm of every probability."""
    cdef int32_t i, n_kept = 0
    for i in range(n):
        if room[i].logit > -INFINITY:
            room[n_kept] = room[i]
            n_kept += 1
    return n_kept


cdef int32_t best_of(const llama_token_data *room, int32_t n) noexcept nogil:
    cdef int32_t i, best = 0
    for i in range(1, n):
        if room[i].logit > room[best].logit:
            best = i
    return room[best].id


cdef int32_t looking_back(int32_t last_n, int32_t n_ctx):
    """llama.cpp reserves memory for all of them."""
    return n_ctx if last_n < 0 else min(last_n, n_ctx)


cdef bint xtc_acts(dict settings):
    return settings["xtc_probability"] > 0 and settings["xtc_threshold"] <= XTC_MOST


cdef uint32_t short_seed(seed):
    """llama.cpp's seeds have 32 bits. Those that fit are the same there and here; the others are mixed down."""
    cdef uint64_t whole = seed & 0xFFFFFFFFFFFFFFFF
    cdef uint32_t mixed = <uint32_t> ((whole * GOLDEN) >> 32)
    if whole < RANDOM_SEED:
        return <uint32_t> whole
    return mixed if mixed != RANDOM_SEED else 0
