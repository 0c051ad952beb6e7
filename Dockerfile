# skirmish in a container: `docker build -t skirmish .`, then `docker run -p 7417:7417 skirmish`.
# What C rdkafka needs is built from its own sources: OpenSSL wants perl and make, which the Rust image has.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/skirmish /skirmish
RUN mkdir -p /state

# no shell, no package manager: glibc, certificate authorities, and one binary
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /skirmish /usr/local/bin/skirmish
COPY --from=build --chown=nonroot:nonroot /state /var/lib/skirmish
USER nonroot:nonroot
WORKDIR /var/lib/skirmish
VOLUME /var/lib/skirmish
# gRPC; metrics and health
EXPOSE 7417 7418
# SIGTERM: stop generating, flush, say what was delivered
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/usr/local/bin/skirmish", "ctl", "status"]
ENTRYPOINT ["/usr/local/bin/skirmish"]
CMD ["run", "--listen", "0.0.0.0:7417"]
