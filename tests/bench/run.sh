#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the benchmark and becomes it, so that signals reach it. Arguments are
# the benchmark's: bin/bench -help.
set -e
cd "$(dirname "$0")/../.."
CGO_ENABLED=0 go build -trimpath -o bin/bench ./tests/bench
exec bin/bench "$@"
