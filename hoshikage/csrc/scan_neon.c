#define VEC_NEON
#include "vec.h"
#include "scan_body.h"
