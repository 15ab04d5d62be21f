# Hoshikage as a service in a container: for any machine of this kind, or for one with NVIDIA's GPUs.
#   docker build -t hoshikage .
#   docker build -t hoshikage:cuda --target cuda .
#   docker run --rm --init --read-only --tmpfs /tmp -p 127.0.0.1:3030:3030 -v /path/to/models:/models:ro hoshikage
# docs/deployment.md has the rest. Bases may be others; the two of a target are of one distribution, with Python 3.11 or
# later, and on ARM with GCC 14 or later, which the kernels for its newest instructions want.
ARG CPU_BUILD=debian:trixie-slim
ARG CPU_BASE=debian:trixie-slim
ARG CUDA_BUILD=nvidia/cuda:12.8.1-devel-ubuntu24.04
ARG CUDA_BASE=nvidia/cuda:12.8.1-base-ubuntu24.04

FROM ${CPU_BUILD} AS cpu-build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential cmake ninja-build python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
ARG CMAKE_ARGS=
ENV HOSHIKAGE_PORTABLE=1 CMAKE_ARGS=${CMAKE_ARGS}
WORKDIR /source
# The libraries are a layer of their own: a change of our code does not compile them again.
COPY llama.cpp llama.cpp
RUN python3 -m venv /opt/hoshikage && /opt/hoshikage/bin/python llama.cpp build --portable /tmp/libraries
COPY . .
RUN /opt/hoshikage/bin/pip install --no-cache-dir . && /opt/hoshikage/bin/pip uninstall --yes pip setuptools

FROM ${CPU_BASE} AS cpu
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 3030 --user-group --no-create-home --home-dir /config hoshikage \
    && install --directory --owner hoshikage --group hoshikage /config /models
COPY --from=cpu-build /opt/hoshikage /opt/hoshikage
ENV PATH=/opt/hoshikage/bin:$PATH HOST=0.0.0.0 MODEL_DIR=/models XDG_CONFIG_HOME=/config
VOLUME ["/config", "/models"]
USER 3030:3030
EXPOSE 3030
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["hoshikage", "status", "--quiet"]
ENTRYPOINT ["hoshikage"]
CMD ["serve"]

# The same with CUDA. NCCL is left out: it is as large as the rest, and serves several GPUs only. Bases with another CUDA
# than 12.8 have a libcublas of another name, which has to be said below; without it the CPU computes. Ampere to Hopper
# and RTX 50 have machine code; for others a driver compiles the nearest at first use, for minutes. A CUDA before 12.8
# does not know the last one: say others with CMAKE_ARGS.
FROM ${CUDA_BUILD} AS cuda-build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential cmake ninja-build python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
ARG CMAKE_ARGS=
ENV HOSHIKAGE_PORTABLE=1 CMAKE_ARGS="-DGGML_CUDA=ON -DGGML_CUDA_NCCL=OFF \
    -DCMAKE_CUDA_ARCHITECTURES=61-virtual;70-virtual;75-virtual;80-real;86-real;89-real;90;120a-real ${CMAKE_ARGS}"
WORKDIR /source
COPY llama.cpp llama.cpp
RUN python3 -m venv /opt/hoshikage && /opt/hoshikage/bin/python llama.cpp build --portable /tmp/libraries
COPY . .
RUN /opt/hoshikage/bin/pip install --no-cache-dir . && /opt/hoshikage/bin/pip uninstall --yes pip setuptools

FROM ${CUDA_BASE} AS cuda
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libcublas-12-8 libgomp1 python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 3030 --user-group --no-create-home --home-dir /config hoshikage \
    && install --directory --owner hoshikage --group hoshikage /config /models
COPY --from=cuda-build /opt/hoshikage /opt/hoshikage
ENV PATH=/opt/hoshikage/bin:$PATH HOST=0.0.0.0 MODEL_DIR=/models XDG_CONFIG_HOME=/config
VOLUME ["/config", "/models"]
USER 3030:3030
EXPOSE 3030
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["hoshikage", "status", "--quiet"]
ENTRYPOINT ["hoshikage"]
CMD ["serve"]

# What is built where no target is named.
FROM cpu
