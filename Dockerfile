# Full TensorRT, from NVIDIA's PyTorch containers. Written against the tags below and never built: where this project
# was developed there is no Docker engine and no GPU. hadolint (make lint) and tests/unit/docs/test_container.py read it.
#
#   nvcr.io/nvidia/pytorch:25.04-py3   Python 3.12, TensorRT 10.9   (default)
#   nvcr.io/nvidia/pytorch:23.12-py3   Python 3.10, TensorRT 8.6
#
#   docker build -t pidnet-int8 .
#   docker run --rm --gpus all --ipc=host -v /my/camvid:/data:ro -v pidnet-int8-runs:/app/runs pidnet-int8 \
#       make bench CONFIG=configs/pidnet_s_camvid.yaml DATA=/data
#
# Without a GPU, any Debian-based Python image that has make will do:
#
#   docker build -t pidnet-int8:cpu --build-arg BASE=python:3.12-bookworm \
#       --build-arg PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" .
#
# compose.yaml names both. For a build that never changes, replace the tag with the digest that
# `docker buildx imagetools inspect TAG` prints.
ARG BASE=nvcr.io/nvidia/pytorch:25.04-py3
# hadolint ignore=DL3006
FROM ${BASE}

# Not root: an engine is native code, and nothing here needs more than a GPU and some folders. Give your own ids
# (--build-arg UID=$(id -u) --build-arg GID=$(id -g)) to write to folders of yours; NGC images use 1000 already.
ARG UID=10001
ARG GID=10001
RUN groupadd --non-unique --gid "${GID}" app \
    && useradd --no-log-init --non-unique --create-home --uid "${UID}" --gid "${GID}" app \
    && install --directory --owner=app --group=app /app /app/runs /app/engines /app/benchmarks/results
USER ${UID}:${GID}
WORKDIR /app

# NGC images set PIP_CONSTRAINT, which stays in force: pip replaces neither torch and TensorRT nor what they were
# tested with. Requirements come first, so that a change of code does not install everything again.
ARG PIP_ARGS=""
COPY --chown=app:app Makefile pyproject.toml ./
COPY --chown=app:app requirements requirements
RUN make setup PIP_ARGS="--no-cache-dir ${PIP_ARGS}"
COPY --chown=app:app . .
RUN .venv/bin/python -m pip install --no-cache-dir --no-deps --editable .

# Docker knows 0 and 1 only; make answers 2.
HEALTHCHECK --interval=10m --timeout=2m --start-period=30s \
    CMD ["sh", "-c", "make --silent doctor || exit 1"]
CMD ["make", "bench"]
