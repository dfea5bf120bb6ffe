# The command line with training on the CPU: docker build -t crucible . && docker run --rm -v "$PWD:/work" crucible reproduce wrpo
FROM python:3.12-slim
WORKDIR /crucible
# First what changes rarely: the CPU build of torch. For GPUs, start from an image with CUDA instead.
COPY constraints.txt ./
RUN pip install --no-cache-dir "$(grep '^torch==' constraints.txt)" --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE ./
COPY harness harness
COPY methods methods
COPY leaderboards leaderboards
RUN PIP_CONSTRAINT=constraints.txt pip install --no-cache-dir '.[train,api]' && crucible doctor
# Results are in /work/.crucible, on the reader's disk if /work is a volume.
WORKDIR /work
ENTRYPOINT ["crucible"]
CMD ["--help"]
