#!/bin/sh
# Sends three events of a case to the HTTP ingress, with nothing but curl (docs/upstream/http.md).
#   CXSTREAM_INGRESS_TOKEN=... send-events.sh [http://127.0.0.1:9110]
# To run it again is safe: the event ids are the same, so nothing is counted twice. Exit status 0: all three are on Kafka.
set -eu
ingress="${1:-http://127.0.0.1:9110}"

curl --fail-with-body --silent --show-error --max-time 60 \
    --retry 5 --retry-connrefused \
    --header "Authorization: Bearer ${CXSTREAM_INGRESS_TOKEN:-}" \
    --header "Content-Type: application/x-ndjson" \
    --data-binary @- "$ingress/v1/events" <<'EVENTS'
{"event_id": "example-1", "topic": "ticket", "type": "opened", "case_id": "C-1007", "at": "2026-03-02T09:00:00+01:00", "priority": "P2", "region": "north"}
{"event_id": "example-2", "topic": "ticket", "type": "acknowledged", "case_id": "C-1007", "at": "2026-03-02T09:12:00+01:00"}
{"event_id": "example-3", "topic": "ticket", "type": "resolved", "case_id": "C-1007", "at": "2026-03-02T11:30:00+01:00", "remote": true}
EVENTS
