# The package and its libraries for any machine of this kind.
#   docker build -t hoshikage .
#   docker run --rm -v /path/to/models:/models:ro hoshikage run /models/model.gguf "The capital of Japan is"
# For CUDA, give two images of one distribution and the switch:
#   --build-arg BUILD_IMAGE=nvidia/cuda:12.8.1-devel-ubuntu24.04 --build-arg RUN_IMAGE=nvidia/cuda:12.8.1-runtime-ubuntu24.04
#   --build-arg CMAKE_ARGS=-DGGML_CUDA=ON
ARG BUILD_IMAGE=debian:bookworm-slim
ARG RUN_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential cmake ninja-build python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
ARG CMAKE_ARGS=
ENV HOSHIKAGE_PORTABLE=1 CMAKE_ARGS=${CMAKE_ARGS}
RUN python3 -m venv /opt/hoshikage && /opt/hoshikage/bin/pip install --no-cache-dir .

FROM ${RUN_IMAGE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home hoshikage
COPY --from=build /opt/hoshikage /opt/hoshikage
USER hoshikage
WORKDIR /home/hoshikage
ENTRYPOINT ["/opt/hoshikage/bin/hoshikage"]
CMD ["--help"]
