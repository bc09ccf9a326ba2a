# The product in a container: what `make setup` does, in a stage of its own. Built by deploy/compose.yaml.
FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/chat
RUN python -m venv .venv
COPY requirements.lock ./
RUN .venv/bin/python -m pip install -q --require-hashes -r requirements.lock
COPY . .
# Fetches static/vendor as well, against the sums in package-lock.json.
RUN .venv/bin/python -m pip install -q --no-deps -e .

FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8000
RUN useradd --system --uid 10001 --no-create-home --home-dir /srv/chat chat
# Owned by root: the product cannot change itself. Only its data is its own.
COPY --from=build /srv/chat /srv/chat
RUN install -d -o chat -g chat -m 700 /srv/chat/instance /srv/chat/attachments
WORKDIR /srv/chat
USER chat
VOLUME /srv/chat/instance
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD [".venv/bin/python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=2)"]
# gunicorn's sign of life is a file; on a disk it could be held up.
CMD [".venv/bin/gunicorn", "--worker-tmp-dir", "/dev/shm"]
