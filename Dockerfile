# flowbench and all it needs, for CPUs or for GPUs; docs/how-to/docker.md says how to run it.
#   docker build --tag flowbench .
#   docker build --tag flowbench:cuda --build-arg DEVICE=cuda .
ARG DEVICE=cpu

# Packages of the distribution are those of the base image's release, whose versions nobody keeps.
# hadolint global ignore=DL3008

FROM python:3.11-slim-bookworm AS wheel
RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
# The repository is mounted, not copied: its tags say the version, and it is in no layer.
RUN --mount=type=bind,target=/src,rw \
    pip wheel --no-cache-dir --no-deps --wheel-dir /wheel /src

FROM python:3.11-slim-bookworm AS cpu
# PyTorch without CUDA has a tenth of the size, and an index of its own.
ENV TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

# PyTorch brings the libraries of CUDA; the image says to the container runtime what driver it needs.
FROM nvidia/cuda:13.0.1-base-ubuntu24.04 AS cuda
RUN apt-get update \
    && apt-get install -y --no-install-recommends make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

# hadolint ignore=DL3006
FROM ${DEVICE}
WORKDIR /flowbench
RUN useradd --no-create-home --uid 10001 flowbench \
    && install --directory --owner=flowbench --group=flowbench results boards /data
COPY Makefile pyproject.toml constraints.txt ./
# The largest layer comes first, since it changes least.
RUN python3 -m venv .venv \
    && .venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
        -c constraints.txt torch torchvision
# What `make demo` waits for is done by this.
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    .venv/bin/pip install --no-cache-dir -c constraints.txt /wheel/*.whl \
    && touch .venv/.installed
# What is cached goes where any user of `--user` may write.
ENV PATH=/flowbench/.venv/bin:$PATH \
    FLOWBENCH_DATA=/data \
    HOME=/tmp
USER 10001
VOLUME ["/flowbench/results", "/flowbench/boards", "/data"]
CMD ["flowbench", "--help"]
