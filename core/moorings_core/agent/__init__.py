"""The node agent: what the kubelet does. It runs the pods assigned to its node and says how they are.

    main > node (registration, lease, status), pods (one worker a pod), server (logs, exec, port-forward), csi, exchange
    pods > plan, status, spec, environment, resolv (pure) and volumes, probes, images (effects)

Pods, ConfigMaps and Secrets come in by informers and gets; CRI calls and status patches go out. Nothing here knows a backend.
"""
