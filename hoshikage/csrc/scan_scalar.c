#define VEC_SCALAR
#include "vec.h"
#include "scan_body.h"
