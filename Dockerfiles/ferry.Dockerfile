# `ferry` and some connectors beside it, built from source by people who have Docker:
#
#   docker build -f Dockerfiles/ferry.Dockerfile --build-arg CONNECTORS="source-postgres destination-s3" -t ferrybyte/ferry:0.1.0 .
#
# `cargo xtask image ferry --with source-postgres,destination-s3` makes one from binaries that are built already.

ARG BUILDER=rust:1.94-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILDER} AS build
ARG CONNECTORS=""
WORKDIR /src
COPY . .
RUN packages="--package orchestrator"; for name in ${CONNECTORS}; do packages="${packages} --package ${name}"; done; \
    RUSTFLAGS="-C link-arg=-Wl,--build-id=none --remap-path-prefix=${CARGO_HOME}=/cargo" \
    cargo build --locked --profile dist ${packages} \
 && mkdir /out && for name in ferry ${CONNECTORS}; do cp "target/dist/${name}" /out/; done \
 && touch --date=@0 /out/*

FROM ${BASE}
ARG VERSION=0.1.0
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
RUN groupadd --gid 1000 airbyte && useradd --uid 1000 --gid 1000 --home-dir /airbyte --no-create-home airbyte \
 && mkdir -p /airbyte/.ferry && chown -R 1000:1000 /airbyte
COPY --from=build /out/ /usr/local/bin/
USER 1000:1000
WORKDIR /airbyte
ENTRYPOINT ["/usr/local/bin/ferry"]
LABEL io.airbyte.name="ferrybyte/ferry" io.airbyte.version="${VERSION}"
