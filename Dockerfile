# syntax=docker/dockerfile:1
# Pellucid as one static binary in an image that holds nothing else: no shell, no package, no root.
#   docker build -t pellucid:local .
#   docker run --read-only -v ./pellucid.yaml:/etc/pellucid/pellucid.yaml:ro -p 127.0.0.1:8080:8080 pellucid:local
FROM rust:1.95.0-bookworm AS build
WORKDIR /build

# glibc, linked statically: the same code that is tested and measured outside of containers. Its resolver reads files and DNS without
# loading anything. RUSTFLAGS takes the place of the flags in .cargo/config.toml, so those that profiles need stand here too. With --target,
# what runs during the build (build scripts, macros) is linked as usual.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY build.rs build.rs
COPY src src
# Cargo.toml names it. It is not built.
COPY tests/it/main.rs tests/it/main.rs
RUN --mount=type=cache,id=pellucid-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=pellucid-target,target=/build/target,sharing=locked \
    set -eu; \
    target="$(rustc -vV | sed -n 's/^host: //p')"; \
    # Kernels for 64-bit ARM come with pages of 4, 16 or 64 KiB; jemalloc is to work on all of them.
    case "$target" in aarch64-*) export JEMALLOC_SYS_WITH_LG_PAGE=16 ;; esac; \
    RUSTFLAGS="-C target-feature=+crt-static -C force-frame-pointers=yes" \
      cargo build --locked --profile dist --bin pellucid --target "$target"; \
    install -D -m 0755 "target/$target/dist/pellucid" /image/pellucid; \
    # Fails here rather than at the first start, should anything be linked dynamically after all.
    if ldd /image/pellucid 2>/dev/null | grep -q '=>'; then echo "pellucid is not static" >&2; exit 1; fi; \
    /image/pellucid --version

# Without this file glibc would ask DNS before /etc/hosts.
RUN install -d /image/etc/ssl/certs /image/etc/pellucid \
 && printf 'hosts: files dns\n' > /image/etc/nsswitch.conf \
 && printf 'pellucid:x:65532:65532::/:/pellucid\n' > /image/etc/passwd \
 && printf 'pellucid:x:65532:\n' > /image/etc/group \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && install -d -o 65532 -g 65532 -m 0755 /logs

FROM scratch
LABEL org.opencontainers.image.title="pellucid" \
      org.opencontainers.image.description="An observability-first HTTP gateway: one record a request, every signal derived from it" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
# For an access log in a file: a volume that is mounted here gets this owner.
COPY --from=build --chown=65532:65532 /logs /var/log/pellucid
USER 65532:65532
EXPOSE 8080 9901
# For a configuration whose admin plane has its usual port; it asks /readyz.
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s --retries=3 CMD ["/pellucid", "health"]
ENTRYPOINT ["/pellucid"]
CMD ["run", "--config", "/etc/pellucid/pellucid.yaml"]
