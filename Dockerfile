# The image is one static file. Build that first; nothing is compiled in here, so what was tested is what is shipped:
#   make build && docker build --build-arg PROGRAM=target/$(rustc -vV | sed -n 's/^host: //p')/release/bluegreen --tag localhost/bluegreen-operator:0.1.0 .
FROM scratch
LABEL org.opencontainers.image.title="bluegreen-operator" \
      org.opencontainers.image.description="Blue-green releases for Kubernetes that wait until the old pods' connections have drained" \
      org.opencontainers.image.licenses="Apache-2.0"
ARG PROGRAM=target/x86_64-unknown-linux-gnu/release/bluegreen
COPY --chmod=0555 ${PROGRAM} /bluegreen
# A number nobody else uses. The chart says it again, and gives the drain agent one of its own.
USER 64320:64320
ENTRYPOINT ["/bluegreen"]
