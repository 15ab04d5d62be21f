#define VEC_AVX512
#include "vec.h"
#include "scan_body.h"
