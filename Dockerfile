# Everything needed to run `qrun config/workflow.json` in a container.
#   docker build -t qlib-crypto .          (or ./build_docker_image.sh)
#   docker run --rm -v "$PWD/out:/app/out" qlib-crypto
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements.txt pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir -r requirements.txt
COPY qlib qlib
RUN /venv/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim
# LightGBM needs OpenMP's runtime.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home researcher
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /app
COPY --chown=researcher config config
COPY --chown=researcher examples examples
COPY --chown=researcher scripts scripts
RUN mkdir -p out && chown -R researcher /app
USER researcher
CMD ["sh", "-c", "python scripts/get_data.py sample --exists_skip && qrun config/workflow.json --uri_folder out/mlruns"]
