# syntax=docker/dockerfile:1
# docker build -t amrikyy-agent-phase2 .
# Name the base image by its digest for builds that can be repeated to the byte: --build-arg PYTHON_IMAGE=python@sha256:...
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The dependencies first: a change of the sources leaves this layer in the cache. Every file's hash is in the lock.
COPY requirements/run.txt requirements/run.txt
RUN python -m venv --without-pip /opt/amrikyy \
 && python -m pip --python /opt/amrikyy/bin/python install --require-hashes --only-binary :all: -r requirements/run.txt

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m pip --python /opt/amrikyy/bin/python install --no-deps --no-build-isolation . \
 && python -m pip --python /opt/amrikyy/bin/python uninstall --yes \
      hatchling editables packaging pathspec pluggy tomlkit trove-classifiers

# An empty folder that a volume takes its owner from.
RUN mkdir /data


FROM ${PYTHON_IMAGE}
# Nothing installs anything in here.
RUN python -m pip uninstall --yes --root-user-action=ignore pip && rm -rf /usr/local/lib/python3*/ensurepip

COPY --from=build /opt/amrikyy /opt/amrikyy
COPY --from=build --chown=10001:10001 /data /data

# The root file system may be read-only: what is written goes to DATA_DIR.
ENV PATH=/opt/amrikyy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    APP_ENV=production \
    HOST=0.0.0.0 \
    DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 3001

# Healthy and degraded are both 0: a server that lost its Redis still serves.
HEALTHCHECK --interval=15s --timeout=6s --start-period=30s --retries=3 CMD ["amrikyy", "health-check"]

ENTRYPOINT ["amrikyy"]
CMD ["serve"]
