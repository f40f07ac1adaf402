"""The distributed store: an etcd that several API servers share. Clients' versions map to etcd's own revisions (`numbers`).

`connection` finds and opens an etcd, `sender` gathers commits into transactions, `follower` is a watch that survives etcd's
restarts, `store` is the port. Messages and stubs come from aetcd; nothing here keeps state that another server could not have.
"""
