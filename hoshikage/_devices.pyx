"""The devices that llama.cpp would put layers on, in its order, and the memory of each."""

cdef extern from "ggml-backend.h" nogil:
    struct ggml_backend_device:
        pass

    ctypedef ggml_backend_device *ggml_backend_dev_t

    enum ggml_backend_dev_type_t "ggml_backend_dev_type":
        GGML_BACKEND_DEVICE_TYPE_CPU
        GGML_BACKEND_DEVICE_TYPE_GPU
        GGML_BACKEND_DEVICE_TYPE_IGPU

    const char *ggml_backend_dev_name(ggml_backend_dev_t device)
    const char *ggml_backend_dev_description(ggml_backend_dev_t device)
    void ggml_backend_dev_memory(ggml_backend_dev_t device, size_t *free, size_t *total)
    ggml_backend_dev_type_t ggml_backend_dev_type(ggml_backend_dev_t device)
    size_t ggml_backend_dev_count()
    ggml_backend_dev_t ggml_backend_dev_get(size_t index)

KINDS = {GGML_BACKEND_DEVICE_TYPE_GPU: "gpu", GGML_BACKEND_DEVICE_TYPE_IGPU: "integrated"}


def gpus():
    """Name, description and bytes, free and total, of each GPU; of one in the processor where there is no other."""
    cdef size_t i
    devices = [about(ggml_backend_dev_get(i)) for i in range(ggml_backend_dev_count())]
    found = [device for device in devices if device["kind"] == "gpu"]
    return found or [device for device in devices if device["kind"] == "integrated"][:1]


cdef about(ggml_backend_dev_t device):
    cdef size_t free = 0, total = 0
    ggml_backend_dev_memory(device, &free, &total)
    return {
        "kind": KINDS.get(ggml_backend_dev_type(device), "host"),
        "name": text(ggml_backend_dev_name(device)),
        "description": text(ggml_backend_dev_description(device)),
        "free": free,
        "total": total,
    }


cdef str text(const char *said):
    return (<bytes> said).decode("utf-8", "replace") if said != NULL else ""
