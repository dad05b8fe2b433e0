"""Real parts the tests run against: Apache Kafka, Prometheus and the broker chosen for this run."""
