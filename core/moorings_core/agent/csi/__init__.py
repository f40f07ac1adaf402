"""The node agent's side of CSI: it finds drivers by their registration sockets, mounts their volumes into pods, makes new ones.

`plugins` (who is there) > `client` (one driver's RPCs) > `volumes` (stage, publish) and `provisioner` (claims to volumes).
Any CSI driver will do; nothing here knows moorings' own. Pods, claims and volumes come from the API; RPCs go to unix sockets.
"""
