#!/usr/bin/env bash
# Sends events from a file with `cxstream emit`, which checks them first and picks key, partition and encoding.
# Brokers, login and topics are settings: CXSTREAM_KAFKA_BOOTSTRAP=localhost:9092 ./emit.sh events.ndjson
set -euo pipefail

cxstream validate "$@" # ends here, with every line, field and fix, if a worker would reject one
cxstream emit --json "$@"
