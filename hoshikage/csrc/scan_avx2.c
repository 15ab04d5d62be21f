#define VEC_AVX2
#include "vec.h"
#include "scan_body.h"
