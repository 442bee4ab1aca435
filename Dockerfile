# A small image of Seawall, for linux/amd64 and linux/arm64:
#
#   podman build -t seawall .
#   podman run -p 127.0.0.1:5000:5000 -p 127.0.0.1:5001:5001 -v seawall:/var/cache/seawall \
#       -e SEAWALL_ACCESS__ANONYMOUS=private seawall
#
# The last line says who may pull: seen from within, every client is on another machine.
#
# Both bases can be others, as long as they have the same C library: --build-arg BUILDER=… --build-arg RUNTIME=…

# Has cargo, a C compiler and a shell.
ARG BUILDER=docker.io/library/rust:1.95-trixie
# Has glibc, libgcc and root certificates; no shell, no package manager.
ARG RUNTIME=gcr.io/distroless/cc-debian13:nonroot

FROM ${BUILDER} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY tests tests
# An owner of the cache's directory that the last stage has no tool to make.
RUN cargo build --release --locked --bin seawall \
    && mkdir -p /out/bin /out/cache \
    && cp target/release/seawall /out/bin/seawall

FROM ${RUNTIME}
LABEL org.opencontainers.image.title="seawall" \
      org.opencontainers.image.description="A pull-through cache and rate-limit shield for container registries" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/bin/seawall /usr/local/bin/seawall
COPY --from=build --chown=65532:65532 /out/cache /var/cache/seawall
# By number, so that runAsNonRoot can be checked.
USER 65532:65532
# Inside a container, what listens on loopback is reached by nobody: publish the ports where they should be.
ENV CACHE_DIRECTORY=/var/cache/seawall \
    SEAWALL_SERVER__LISTEN=0.0.0.0:5000 \
    SEAWALL_SERVER__ADMIN=0.0.0.0:5001 \
    SEAWALL_ADMIN__REQUIRE_ROLE=false
EXPOSE 5000 5001
VOLUME /var/cache/seawall
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/seawall"]
CMD ["serve"]
