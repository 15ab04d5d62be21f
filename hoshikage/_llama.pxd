# The part of llama.h (and ggml.h) that we call, in header order. Names only, never enum values:
# the C compiler takes those from the header of the build that is linked.

from libc.stdint cimport int8_t, int32_t, int64_t, uint32_t, uint64_t
from libc.stdio cimport FILE

cdef extern from "stdbool.h" nogil:
    ctypedef bint cbool "bool"


cdef extern from "ggml.h" nogil:
    enum ggml_type:
        GGML_TYPE_F32
        GGML_TYPE_F16
        GGML_TYPE_BF16
        GGML_TYPE_Q8_0
        GGML_TYPE_Q5_1
        GGML_TYPE_Q5_0
        GGML_TYPE_Q4_1
        GGML_TYPE_Q4_0
        GGML_TYPE_IQ4_NL

    enum ggml_log_level:
        GGML_LOG_LEVEL_WARN
        GGML_LOG_LEVEL_CONT

    ctypedef void (*ggml_log_callback)(ggml_log_level level, const char *text, void *user_data) noexcept nogil
    ctypedef cbool (*ggml_abort_callback)(void *data) noexcept nogil


cdef extern from "llama.h" nogil:
    struct llama_vocab:
        pass
    struct llama_model:
        pass
    struct llama_context:
        pass
    struct llama_sampler:
        pass
    struct llama_memory_i:
        pass
    struct llama_batch_ext:
        pass

    ctypedef llama_memory_i *llama_memory_t
    ctypedef int32_t llama_pos
    ctypedef int32_t llama_token
    ctypedef int32_t llama_seq_id

    enum llama_attention_type:
        LLAMA_ATTENTION_TYPE_NON_CAUSAL

    enum llama_flash_attn_type:
        LLAMA_FLASH_ATTN_TYPE_AUTO
        LLAMA_FLASH_ATTN_TYPE_DISABLED
        LLAMA_FLASH_ATTN_TYPE_ENABLED

    enum llama_split_mode:
        LLAMA_SPLIT_MODE_NONE
        LLAMA_SPLIT_MODE_LAYER
        LLAMA_SPLIT_MODE_ROW

    enum llama_load_mode:
        LLAMA_LOAD_MODE_NONE
        LLAMA_LOAD_MODE_MMAP

    enum llama_process_type:
        LLAMA_PROCESS_TYPE_DECODE

    ctypedef struct llama_token_data:
        llama_token id
        float logit
        float p

    ctypedef struct llama_token_data_array:
        llama_token_data *data
        size_t size
        int64_t selected
        cbool sorted

    ctypedef cbool (*llama_progress_callback)(float progress, void *user_data) noexcept nogil

    ctypedef struct llama_batch:
        int32_t n_tokens
        llama_token *token
        float *embd
        llama_pos *pos
        int32_t *n_seq_id
        llama_seq_id **seq_id
        int8_t *logits

    struct llama_model_params:
        int32_t n_gpu_layers
        llama_split_mode split_mode
        llama_load_mode load_mode
        int32_t main_gpu
        const float *tensor_split
        llama_progress_callback progress_callback
        void *progress_callback_user_data
        cbool check_tensors

    struct llama_context_params:
        uint32_t n_ctx
        uint32_t n_batch
        uint32_t n_ubatch
        uint32_t n_seq_max
        uint32_t n_outputs_max
        int32_t n_threads
        int32_t n_threads_batch
        llama_attention_type attention_type
        llama_flash_attn_type flash_attn_type
        ggml_type type_k
        ggml_type type_v
        ggml_abort_callback abort_callback
        void *abort_callback_data
        cbool no_perf
        cbool swa_full
        cbool kv_unified

    ctypedef struct llama_logit_bias:
        llama_token token
        float bias

    struct llama_sampler_chain_params:
        cbool no_perf

    llama_model_params llama_model_default_params()
    llama_context_params llama_context_default_params()
    llama_sampler_chain_params llama_sampler_chain_default_params()

    void llama_backend_init()

    llama_model *llama_model_load_from_file(const char *path, llama_model_params params)
    llama_model *llama_model_load_from_file_ptr(FILE *file, llama_model_params params)
    void llama_model_free(llama_model *model)
    llama_context *llama_init_from_model(llama_model *model, llama_context_params params)
    void llama_free(llama_context *ctx)

    size_t llama_max_devices()
    size_t llama_max_parallel_sequences()
    cbool llama_supports_gpu_offload()

    uint32_t llama_n_batch(const llama_context *ctx)
    uint32_t llama_n_ubatch(const llama_context *ctx)
    llama_memory_t llama_get_memory(const llama_context *ctx)
    const llama_vocab *llama_model_get_vocab(const llama_model *model)

    int32_t llama_model_n_ctx_train(const llama_model *model)
    int32_t llama_model_n_embd(const llama_model *model)
    int32_t llama_model_n_layer(const llama_model *model)
    int32_t llama_vocab_n_tokens(const llama_vocab *vocab)
    int32_t llama_model_meta_count(const llama_model *model)
    int32_t llama_model_meta_key_by_index(const llama_model *model, int32_t i, char *buf, size_t size)
    int32_t llama_model_meta_val_str_by_index(const llama_model *model, int32_t i, char *buf, size_t size)
    int32_t llama_model_desc(const llama_model *model, char *buf, size_t size)
    uint64_t llama_model_size(const llama_model *model)
    const char *llama_model_chat_template(const llama_model *model, const char *name)
    uint64_t llama_model_n_params(const llama_model *model)
    cbool llama_model_has_encoder(const llama_model *model)
    cbool llama_model_has_decoder(const llama_model *model)
    cbool llama_model_is_recurrent(const llama_model *model)
    cbool llama_model_is_hybrid(const llama_model *model)

    void llama_memory_clear(llama_memory_t mem, cbool data)
    cbool llama_memory_seq_rm(llama_memory_t mem, llama_seq_id seq, llama_pos p0, llama_pos p1)
    void llama_memory_seq_cp(llama_memory_t mem, llama_seq_id src, llama_seq_id dst, llama_pos p0, llama_pos p1)
    llama_pos llama_memory_seq_pos_max(llama_memory_t mem, llama_seq_id seq)

    llama_batch llama_batch_init(int32_t n_tokens, int32_t embd, int32_t n_seq_max)
    void llama_batch_free(llama_batch batch)
    int32_t llama_decode(llama_context *ctx, llama_batch batch)

    llama_batch_ext *llama_batch_ext_init(llama_context *ctx)
    void llama_batch_ext_free(llama_batch_ext *batch)
    void llama_batch_ext_clear(llama_batch_ext *batch)
    int32_t llama_batch_ext_add_token(llama_batch_ext *batch, llama_seq_id seq_id, llama_token id)
    cbool llama_batch_ext_set_output_logits(llama_batch_ext *batch, int32_t idx, cbool value)
    cbool llama_batch_ext_set_pos(llama_batch_ext *batch, int32_t idx, const llama_pos *pos)
    int32_t llama_process(llama_context *ctx, llama_process_type type, llama_batch_ext *batch)

    void llama_set_causal_attn(llama_context *ctx, cbool causal_attn)
    float *llama_get_logits_ith(llama_context *ctx, int32_t i)

    cbool llama_vocab_is_eog(const llama_vocab *vocab, llama_token token)
    llama_token llama_vocab_bos(const llama_vocab *vocab)
    llama_token llama_vocab_eos(const llama_vocab *vocab)
    llama_token llama_vocab_eot(const llama_vocab *vocab)
    llama_token llama_vocab_mask(const llama_vocab *vocab)
    cbool llama_vocab_get_add_bos(const llama_vocab *vocab)
    const llama_token *llama_vocab_get_suppress_tokens(const llama_vocab *vocab, int32_t *n_suppress_tokens)

    int32_t llama_tokenize(const llama_vocab *vocab, const char *text, int32_t text_len, llama_token *tokens,
                           int32_t n_tokens_max, cbool add_special, cbool parse_special)
    int32_t llama_token_to_piece(const llama_vocab *vocab, llama_token token, char *buf, int32_t length,
                                 int32_t lstrip, cbool special)

    llama_sampler *llama_sampler_chain_init(llama_sampler_chain_params params)
    void llama_sampler_free(llama_sampler *smpl)
    llama_sampler *llama_sampler_init_greedy()
    llama_sampler *llama_sampler_init_dist(uint32_t seed)
    llama_sampler *llama_sampler_init_top_k(int32_t k)
    llama_sampler *llama_sampler_init_top_p(float p, size_t min_keep)
    llama_sampler *llama_sampler_init_min_p(float p, size_t min_keep)
    llama_sampler *llama_sampler_init_typical(float p, size_t min_keep)
    llama_sampler *llama_sampler_init_temp(float t)
    llama_sampler *llama_sampler_init_xtc(float p, float t, size_t min_keep, uint32_t seed)
    llama_sampler *llama_sampler_init_mirostat(int32_t n_vocab, uint32_t seed, float tau, float eta, int32_t m)
    llama_sampler *llama_sampler_init_mirostat_v2(uint32_t seed, float tau, float eta)
    llama_sampler *llama_sampler_init_penalties(int32_t n_vocab, int32_t last_n, float repeat, float freq,
                                                float present)
    llama_sampler *llama_sampler_init_logit_bias(int32_t n_vocab, int32_t n_logit_bias, const llama_logit_bias *bias)

    void llama_log_set(ggml_log_callback callback, void *user_data)
