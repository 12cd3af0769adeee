# The compendium in a container, as Binder has it: JupyterLab on port 8888, as a user without rights.
#   docker build -t rtms-compendium . && docker run --rm -p 8888:8888 rtms-compendium
FROM python:3.12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 reader
USER reader
WORKDIR /home/reader/compendium
ENV PATH=/home/reader/.local/bin:$PATH
COPY --chown=reader requirements.lock .
RUN pip install --user --no-cache-dir --no-compile --require-hashes -r requirements.lock
COPY --chown=reader . .
RUN ./postBuild
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]
