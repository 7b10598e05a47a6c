# Full TensorRT, from NVIDIA's PyTorch containers. Written against the two tags below and never built: where this
# project was developed there is no Docker engine and no GPU.
#
#   nvcr.io/nvidia/pytorch:25.04-py3   Python 3.12, TensorRT 10.9   (default)
#   nvcr.io/nvidia/pytorch:23.12-py3   Python 3.10, TensorRT 8.6
#
#   docker build -t pidnet-int8 .
#   docker run --rm --gpus all --ipc=host -v /my/camvid:/data:ro -v pidnet-int8-runs:/app/runs pidnet-int8 \
#       make bench CONFIG=configs/pidnet_s_camvid.yaml DATA=/data
#
# For a build that never changes, replace the tag with the digest that `docker buildx imagetools inspect TAG` prints.
ARG BASE=nvcr.io/nvidia/pytorch:25.04-py3
FROM ${BASE}

# Not root: an engine is native code, and nothing here needs more than a GPU and one folder.
RUN useradd --create-home --uid 10001 app && install -d -o app -g app /app /app/runs
USER app
WORKDIR /app

# The image's PIP_CONSTRAINT stays in force: pip replaces neither torch and TensorRT nor what they were tested with.
COPY --chown=app:app . .
RUN make setup PIP_ARGS=--no-cache-dir

HEALTHCHECK --interval=10m --timeout=2m CMD make --silent doctor
CMD ["make", "bench"]
