# `ferry` and some connectors beside it, built from source by people who have Docker or podman:
#
#   docker build -f Dockerfiles/ferry.Dockerfile --build-arg CONNECTORS="source-postgres destination-s3" -t ferrybyte/ferry:0.1.0 .
#
# `cargo xtask image ferry --with source-postgres,destination-s3` makes one from binaries that are built already.

ARG BUILDER=docker.io/library/rust:1.94-bookworm
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BUILDER} AS build
ARG CONNECTORS=""
WORKDIR /src
COPY . .
RUN packages="--package orchestrator"; for name in ${CONNECTORS}; do packages="${packages} --package ${name}"; done; \
    RUSTFLAGS="-C link-arg=-Wl,--build-id=none --remap-path-prefix=${CARGO_HOME:-${HOME}/.cargo}=/cargo" \
    cargo build --locked --profile dist ${packages} \
 && mkdir /out && for name in ferry ${CONNECTORS}; do cp "target/dist/${name}" /out/ || exit 1; done \
 && touch --date=@0 /out/*

FROM ${BASE}
ARG VERSION=0.1.0
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
RUN echo "airbyte:x:1000:1000::/airbyte:/bin/sh" >> /etc/passwd && echo "airbyte:x:1000:" >> /etc/group \
 && mkdir -p /airbyte/.ferry && chown -R 1000:1000 /airbyte
COPY --from=build /out/ /usr/local/bin/
USER 1000:1000
WORKDIR /airbyte
ENTRYPOINT ["/usr/local/bin/ferry"]
LABEL io.airbyte.name="ferrybyte/ferry" io.airbyte.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.title="ferry" \
      org.opencontainers.image.version="${VERSION}"
