"""The cluster file: read, checked and defaulted; and backends looked up by name.

Here live the schema of the file and errors that name file, line, field path and what was expected. No backend is imported
but by entry point. Text comes from a file or the cluster's own ConfigMap; `ports.cluster.ClusterConfig` goes out.
"""
