"""Who may do what: RBAC (`rbac`, `rules`), nodes (`node`, `node_restriction`), escalation, the roles a cluster is born with (`born`)."""
