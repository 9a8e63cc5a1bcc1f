# The image of one connector, built from source by people who have Docker or podman:
#
#   docker build -f Dockerfiles/connector.Dockerfile --build-arg CONNECTOR=source-postgres -t ferrybyte/source-postgres:0.1.0 .
#
# `cargo xtask image source-postgres` makes one from a binary that is built already, without any other image; a test of
# xtask's holds the two to the same settings. The same source and the same two images give the same binary each time, and with
# `podman build --timestamp 0` the same image id.

# Name both images by digest for builds that can be repeated years later.
ARG BUILDER=docker.io/library/rust:1.94-bookworm
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BUILDER} AS build
ARG CONNECTOR
WORKDIR /src
COPY . .
# The linker writes no build id and paths are those of /src, so the same source gives the same binary.
RUN test -n "${CONNECTOR}" || { echo "say which: --build-arg CONNECTOR=source-…" >&2; exit 1; }; \
    RUSTFLAGS="-C link-arg=-Wl,--build-id=none --remap-path-prefix=${CARGO_HOME:-${HOME}/.cargo}=/cargo" \
    cargo build --locked --profile dist --package "${CONNECTOR}" \
 && mkdir /out && cp "target/dist/${CONNECTOR}" /out/ && ln -s "${CONNECTOR}" /out/connector \
 && touch --no-dereference --date=@0 /out/*

FROM ${BASE}
ARG CONNECTOR
ARG VERSION=0.1.0
# Authorities and time zones come from the builder, which has both: nothing is fetched that may be newer the next time.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
# Not by useradd, which notes the day.
RUN echo "airbyte:x:1000:1000::/airbyte:/bin/sh" >> /etc/passwd && echo "airbyte:x:1000:" >> /etc/group \
 && mkdir -p /airbyte /config /custom_cache /dest /local /secrets /source /staging/files \
 && chown -R 1000:1000 /airbyte /config /custom_cache /dest /local /secrets /source /staging
COPY --from=build /out/ /airbyte/
USER 1000:1000
WORKDIR /airbyte
ENV AIRBYTE_ENTRYPOINT="/airbyte/${CONNECTOR}"
# A link to the same, since this line takes no arguments.
ENTRYPOINT ["/airbyte/connector"]
LABEL io.airbyte.name="ferrybyte/${CONNECTOR}" io.airbyte.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.title="${CONNECTOR}" \
      org.opencontainers.image.version="${VERSION}"
