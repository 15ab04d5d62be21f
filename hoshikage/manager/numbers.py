"""The keys of a header that sizes depend on, by the names that all architectures share; and what llama.cpp keeps of a
position and of a sequence in each layer, as `llama-hparams.cpp` and the `load_arch_hparams` of its models have it."""

from __future__ import annotations

from functools import cached_property

from hoshikage.gguf.header import Array, Header

# One layer of so many attends, unless a key says otherwise; the others keep a state, those of a draft's head nothing.
FULL_ATTENTION_INTERVALS = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4, "minimax-01": 8}
FEED_ALONE = frozenset({"nemotron_h", "nemotron_h_moe"})  # layers that feed forward neither attend nor keep a state
# Keys from which values are computed: no values are cached. Others with these keys have a cache more, an indexer's.
LATENT = frozenset({"deepseek2", "kimi-linear", "kimi-k3", "bailingmoe3"})
LIGHTNING = "minimax-01"  # its state is of the size of its heads
OWN_CACHES = {"gemma3n": 20}  # layers, from the first; those behind share theirs
TOKEN_SHIFTS = 2  # of RWKV, at most
KDA_KERNEL = 4  # where none is said


class Numbers:
    """Sizes of a model; missing ones are 0."""

    def __init__(self, header: Header, n_layer: int) -> None:
        self._header = header
        self._n_layer = n_layer
        self.n_embd = self.whole("embedding_length")
        self.heads = self.each("attention.head_count")
        self.kv_heads = self.each("attention.head_count_kv") or self.heads
        head_size = self.n_embd // max(1, *self.heads) if self.heads else 0
        self.key_length = self.whole("attention.key_length") or head_size
        self.value_length = self.whole("attention.value_length") or head_size

    @property
    def n_head(self) -> int:
        return max(self.heads, default=1)

    @property
    def n_used(self) -> int:
        """Experts at work; 0 without experts."""
        return max(self.each("expert_used_count"), default=0)

    @property
    def n_ff(self) -> int:
        """The wider of a dense layer's and of all experts' at work, for one of which it is meant then."""
        dense = max(self.each("feed_forward_length"), default=0)
        expert = max(self.each("expert_feed_forward_length"), default=0)
        return max(expert or dense, dense // self.n_used) if self.n_used else dense

    @property
    def is_lightning(self) -> bool:
        """Whether layers with a state score each pair of a pass's positions beside it."""
        return self._architecture == LIGHTNING

    @property
    def kv(self) -> tuple[tuple[int, int], ...]:
        """Elements of a cached position, keys and values, in each layer."""
        return tuple(self._kv_of(layer) if self._caches(layer) else (0, 0) for layer in range(len(self.kv_heads)))

    @property
    def states(self) -> tuple[int, ...]:
        """Bytes that each layer keeps of a sequence, where its memory is a state. All do where nothing says which."""
        keeps = self._recurrent if any(self._recurrent) else [True] * self._n_layer
        return tuple(self._state * keeps_one for keeps_one in keeps)

    @property
    def n_mixed(self) -> int:
        """Elements of a position that the widest layer with a state computes from."""
        scanned = 2 * (self.whole("ssm.inner_size") + self.whole("ssm.group_count") * self.whole("ssm.state_size"))
        head = max(self.whole("kda.head_dim"), self.key_length * self.is_lightning)
        return max(scanned, 3 * head * self.n_head)

    def _kv_of(self, layer: int) -> tuple[int, int]:
        keys, values = self.key_length, self.value_length
        if self._slides(layer):
            keys = self.whole("attention.key_length_swa") or keys
            values = self.whole("attention.value_length_swa") or values
        n = self.kv_heads[layer]
        return n * keys, 0 if self._is_latent else n * values

    def _caches(self, layer: int) -> bool:
        """Whether a layer has keys and values of its own."""
        if self._architecture in FULL_ATTENTION_INTERVALS:
            return layer < self._n_own and not self._recurrent[layer]
        return layer < self._n_caching

    def _slides(self, layer: int) -> bool:
        """Whether a layer sees a window, and has heads of another size for that."""
        pattern = self.each("attention.sliding_window_pattern") if self._architecture == "gemma4" else []
        return layer < len(pattern) and bool(pattern[layer])

    @cached_property
    def _recurrent(self) -> list[bool]:
        """Of each layer, whether its memory is a state."""
        if interval := FULL_ATTENTION_INTERVALS.get(self._architecture):
            interval = self.whole("full_attention_interval") or interval
            said = self.each("attention.recurrent_layers")
            pattern = [bool(is_one) for is_one in said] or [(i + 1) % interval != 0 for i in range(self._n_layer)]
            return [i < min(self._n_own, len(pattern)) and pattern[i] for i in range(self._n_layer)]
        feeds = self.each("feed_forward_length") if self._architecture in FEED_ALONE else []
        return [
            i < len(self.kv_heads) and not self.kv_heads[i] and not (i < len(feeds) and feeds[i])
            for i in range(self._n_layer)
        ]

    @cached_property
    def _state(self) -> int:
        """What a layer keeps of a sequence, as F32: of each of the ways of which a model has one."""
        inner, d_state, n_head = self.whole("ssm.inner_size"), self.whole("ssm.state_size"), self.n_head
        kernel, kda = self.whole("ssm.conv_kernel"), self.whole("kda.head_dim")
        conv = max(0, kernel - 1) * (inner + 2 * self.whole("ssm.group_count") * d_state)
        wkv = self.whole("wkv.head_size")
        shifts = (wkv + TOKEN_SHIFTS) * self.n_embd * bool(wkv)
        short = max(0, self.whole("shortconv.l_cache") - 1) * self.n_embd
        delta = (3 * ((kernel or KDA_KERNEL) - 1) + kda) * kda * n_head
        lightning = self.key_length**2 * n_head * self.is_lightning
        return 4 * (conv + d_state * inner + shifts + short + delta + lightning)

    @property
    def _architecture(self) -> str:
        return self._header.architecture

    @property
    def _n_own(self) -> int:
        """Layers without those of a draft's head."""
        return self._n_layer - self.whole("nextn_predict_layers")

    @property
    def _n_caching(self) -> int:
        """Layers, from the first, that have a cache of their own."""
        shared = self.whole("attention.shared_kv_layers") if self._architecture == "gemma4" else 0
        return OWN_CACHES.get(self._architecture, self._n_layer - shared)

    @property
    def _is_latent(self) -> bool:
        lengths = self.whole("attention.key_length_mla"), self.whole("attention.value_length_mla")
        return self._architecture in LATENT and all(lengths)

    def whole(self, name: str) -> int:
        return max(0, self._header.whole(f"{self._architecture}.{name}") or 0)

    def each(self, name: str) -> list[int]:
        """A number for each layer; none where the key is missing."""
        entry = self._header.fields.get(f"{self._architecture}.{name}")
        if entry is None:
            return []
        if isinstance(entry.value, Array):
            return [max(0, number) for number in entry.value.tolist(self._n_layer) if isinstance(number, int)]
        return [self.whole(name)] * self._n_layer
