"""Claims and volumes find each other: matching, two-phase binding, release and reclaim, for volumes of any kind.

`matching` chooses a volume for a claim, `binding` says what to write; both are pure. Volumes are made and deleted by drivers (see
`agent.csi.provisioner`), never here. Source: upstream's persistent volume controller.
"""
