# The image of one connector, built from source by people who have Docker:
#
#   docker build -f Dockerfiles/connector.Dockerfile --build-arg CONNECTOR=source-postgres -t ferrybyte/source-postgres:0.1.0 .
#
# `cargo xtask image source-postgres` makes one from a binary that is built already, without any other image.

# Name both images by digest for builds that can be repeated years later.
ARG BUILDER=rust:1.94-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILDER} AS build
ARG CONNECTOR
WORKDIR /src
COPY . .
# The linker writes no build id and paths are those of /src, so the same source gives the same binary.
RUN test -n "${CONNECTOR}" || { echo "say which: --build-arg CONNECTOR=source-…" >&2; exit 1; }; \
    RUSTFLAGS="-C link-arg=-Wl,--build-id=none --remap-path-prefix=${CARGO_HOME}=/cargo" \
    cargo build --locked --profile dist --package "${CONNECTOR}" \
 && cp "target/dist/${CONNECTOR}" /connector \
 && touch --date=@0 /connector

FROM ${BASE}
ARG CONNECTOR
ARG VERSION=0.1.0
# Authorities and time zones come from the builder, which has both: nothing is fetched that may be newer the next time.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
RUN groupadd --gid 1000 airbyte && useradd --uid 1000 --gid 1000 --home-dir /airbyte --no-create-home airbyte \
 && mkdir -p /airbyte /config /custom_cache /dest /local /secrets /source /staging/files \
 && chown -R 1000:1000 /airbyte /config /custom_cache /dest /local /secrets /source /staging
COPY --from=build /connector /airbyte/connector
RUN ln -s connector "/airbyte/${CONNECTOR}"
USER 1000:1000
WORKDIR /airbyte
ENV AIRBYTE_ENTRYPOINT="/airbyte/connector"
ENTRYPOINT ["/airbyte/connector"]
LABEL io.airbyte.name="ferrybyte/${CONNECTOR}" io.airbyte.version="${VERSION}"
