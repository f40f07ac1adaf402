"""The cluster file: read, checked and defaulted; and backends looked up by name.

Here live the schema of the file (`cluster_file`), errors that name file, line, field path and what was expected (`reader`), and
the look-up by entry point (`backends`); no backend is imported otherwise. Text comes from a file or from the ConfigMap
kube-system/moorings of a running cluster; a `ports.cluster.ClusterConfig` goes out.
"""

from .backends import UnknownBackend
from .cluster_file import load_file, load_text, with_backend, with_lab, with_store
from .reader import ConfigError

__all__ = ["ConfigError", "UnknownBackend", "load_file", "load_text", "with_backend", "with_lab", "with_store"]
