# Images of a federation's processes: superlink, supernode, superexec (what runs the apps), superexec-gpu.
#
#   docker build --target superlink --tag fedsec-superlink:0.1.0 .
#   docker build --target superexec --tag fedsec-superexec:0.1.0 --build-arg TORCH_INDEX=URL .
#
# TORCH_INDEX is the index of PyTorch's CPU wheels: the packages of the common index bring three gigabytes of CUDA.
# PACKAGE_INDEX is an index to use instead of pip's own, such as a mirror of the house.

# The digest of the multi-platform index that this tag stood for when the file was written; deploy/README.md tells how
# to renew it. Without a digest, base does not build.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm@sha256:b18992999dbe963a45a8a4da40ac2b1975be1a776d939d098c647482bcad5cba

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PIP_ONLY_BINARY=:all:
WORKDIR /src
# pip stays outside: it installs into the environment and is no part of it.
RUN python -m venv --without-pip /opt/fedsec
COPY pyproject.toml constraints.txt ./
# What pyproject.toml asks for, but torch: it is gigabytes, comes from elsewhere, and changes less often than the code.
# torchvision and torch-fidelity need it, and would bring the common index's torch along.
RUN python -c "import re, tomllib; \
    wanted = tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']; \
    name = lambda wish: re.match('[A-Za-z0-9._-]+', wish)[0]; \
    write = lambda file, lines: open(file, 'w').write('\n'.join(lines) + '\n'); \
    write('flower.txt', [w for w in wanted if name(w) == 'flwr']); \
    write('others.txt', [w for w in wanted if not name(w).startswith('torch')])"

FROM build AS flower
ARG PACKAGE_INDEX=""
RUN pip --python /opt/fedsec install ${PACKAGE_INDEX:+--index-url "${PACKAGE_INDEX}"} \
    --constraint constraints.txt --requirement flower.txt

FROM flower AS others
ARG PACKAGE_INDEX=""
RUN pip --python /opt/fedsec install ${PACKAGE_INDEX:+--index-url "${PACKAGE_INDEX}"} \
    --constraint constraints.txt --requirement others.txt

FROM others AS apps-cpu
ARG PACKAGE_INDEX=""
ARG TORCH_INDEX=""
RUN if [ -z "${TORCH_INDEX}" ]; then \
        echo "TORCH_INDEX is missing: --build-arg TORCH_INDEX=URL of an index of PyTorch's CPU wheels" >&2; exit 1; \
    fi; \
    pip --python /opt/fedsec install --index-url "${TORCH_INDEX}" --no-deps --constraint constraints.txt \
        torch torchvision
COPY README.md LICENSE ./
COPY fedsec fedsec
RUN pip --python /opt/fedsec install ${PACKAGE_INDEX:+--index-url "${PACKAGE_INDEX}"} --constraint constraints.txt . \
    && pip --python /opt/fedsec check
RUN found="$(find /opt/fedsec/lib -maxdepth 3 \( -iname 'nvidia*' -o -iname 'cuda*' -o -iname 'triton*' \) -printf '%f ')"; \
    if [ -n "${found}" ]; then \
        echo "CUDA packages are in the CPU image; is TORCH_INDEX an index of CPU wheels? Found: ${found}" >&2; exit 1; \
    fi

FROM others AS apps-gpu
ARG PACKAGE_INDEX=""
RUN pip --python /opt/fedsec install ${PACKAGE_INDEX:+--index-url "${PACKAGE_INDEX}"} --constraint constraints.txt \
    torch torchvision
COPY README.md LICENSE ./
COPY fedsec fedsec
RUN pip --python /opt/fedsec install ${PACKAGE_INDEX:+--index-url "${PACKAGE_INDEX}"} --constraint constraints.txt . \
    && pip --python /opt/fedsec check

FROM ${PYTHON_IMAGE} AS base
ARG PYTHON_IMAGE
RUN case "${PYTHON_IMAGE}" in \
        *@sha256:*) ;; \
        *) echo "PYTHON_IMAGE: found '${PYTHON_IMAGE}'; expected an image with its digest, NAME@sha256:..." >&2; exit 1 ;; \
    esac
# Nothing is installed in a running container, so pip goes.
RUN groupadd --gid 10001 fedsec \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/fedsec --no-create-home --shell /usr/sbin/nologin fedsec \
    && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/fedsec \
    && install --directory --mode 0755 /srv/fedsec/data \
    && python -m pip --no-cache-dir uninstall --yes --quiet --root-user-action ignore wheel setuptools pip
COPY --chmod=0755 deploy/health.py /usr/local/bin/fedsec-health
ENV PATH=/opt/fedsec/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/fedsec \
    FLWR_HOME=/var/lib/fedsec/flower \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1 \
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
LABEL org.opencontainers.image.title="fedsec" \
      org.opencontainers.image.description="Attacks on a federation and defenses against them, on Flower" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
WORKDIR /var/lib/fedsec
STOPSIGNAL SIGTERM
USER 10001:10001

FROM base AS superlink
COPY --from=flower /opt/fedsec /opt/fedsec
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["fedsec-health", "https://127.0.0.1:8000/health"]
ENTRYPOINT ["flower-superlink"]

FROM base AS supernode
COPY --from=flower /opt/fedsec /opt/fedsec
EXPOSE 9094
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["fedsec-health", "https://127.0.0.1:9094/health"]
ENTRYPOINT ["flower-supernode"]

FROM base AS apps
ENV FEDSEC_RUNS=/var/lib/fedsec/runs \
    FEDSEC_CACHE=/var/lib/fedsec/cache \
    FEDSEC_STATE=/var/lib/fedsec/state \
    FEDSEC_DATA=/srv/fedsec/data \
    HF_HUB_OFFLINE=1
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["fedsec-health", "grpc://127.0.0.1:9099"]
ENTRYPOINT ["flower-superexec"]

FROM apps AS superexec-gpu
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=apps-gpu /opt/fedsec /opt/fedsec

# The last stage is what a build without --target makes.
FROM apps AS superexec
COPY --from=apps-cpu /opt/fedsec /opt/fedsec
