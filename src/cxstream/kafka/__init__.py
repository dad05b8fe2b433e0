"""The edge to Kafka: topics, codec, tables, batches, the agent of cases."""
