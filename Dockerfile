# The service in a container: a model is mounted, nothing is written.
#   docker build -t easrec-jax .
#   docker run --read-only --tmpfs /tmp -p 8000:8000 -v "$PWD/runs/demo/model:/model:ro" -e EASREC_TOKEN=secret easrec-jax
# Other commands: docker run ... easrec-jax recommend /model --history "i1 i2". For a GPU: --build-arg EXTRA="jax[cuda12]".
FROM python:3.12-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY easrec_jax easrec_jax
COPY configs configs
RUN pip wheel --no-cache-dir --no-deps . -w /wheel

FROM python:3.12-slim
ARG EXTRA=""
COPY --from=wheel /wheel /wheel
RUN wheel=$(ls /wheel/*.whl) && pip install --no-cache-dir "$wheel[serve]" $EXTRA && rm -r /wheel \
    && useradd --no-create-home --uid 10001 easrec
USER 10001
# compiled programs are kept in memory's file system; without it they are compiled at each start
ENV XDG_CACHE_HOME=/tmp PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
    CMD python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/ready', timeout=2)"
ENTRYPOINT ["easrec"]
CMD ["serve", "/model", "--host", "0.0.0.0"]
