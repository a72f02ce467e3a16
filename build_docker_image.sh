#!/usr/bin/env bash
# Build the image: ./build_docker_image.sh [tag]
set -euo pipefail
cd "$(dirname "$0")"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
docker build --tag "${1:-qlib-crypto:$version}" .
