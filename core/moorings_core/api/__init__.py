"""The Kubernetes API, over HTTPS and in process, on one pipeline.

    http/ (transport) > handler (paths, media types, answers) > reads, writes, watches, subresources > cache > ports.store

Every write goes authenticate > authorize > decode > default > admit > validate > commit; each step is a function on dicts.
Nothing here schedules, reconciles or runs pods. Requests come in from clients; commits go to the store, events to watchers.
"""
