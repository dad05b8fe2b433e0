"""Takes events over HTTP and puts them on Kafka, in a process of its own, for upstreams that have no Kafka client."""
