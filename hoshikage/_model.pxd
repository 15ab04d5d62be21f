from libc.stdint cimport int32_t

from hoshikage._board cimport Board
from hoshikage._llama cimport llama_model, llama_vocab


cdef class Model:
    cdef llama_model *ptr           # NULL when closed
    cdef const llama_vocab *vocab   # owned by the model
    cdef int _users                 # contexts that still stand on the weights
    cdef readonly int32_t n_vocab
    cdef readonly str path, architecture, served_as
    cdef readonly bint native, is_diffusion, shift
    cdef readonly int32_t block_length  # of a block model; 0: another kind
    cdef readonly object header, kind
    cdef str splitting              # of its texts, as `gguf.splitting` has it

    cdef _load(self, retagged, int n_gpu_layers, int main_gpu, tensor_split, str split_mode, mmap, bint check_tensors,
               Board board, progress)
    cdef size_t stack_for(self, bytes raw) except? 1
    cdef int check_open(self) except -1
    cdef int check_token(self, int32_t token) except -1
