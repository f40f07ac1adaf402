"""One async client of the Kubernetes API with two bodies: in process (`local`) and over HTTPS (`http`).

Here too: the resources by name (`resources`), caches that follow a collection (`informer`), leader election, event recording.
No policy of a component may live here. Data comes from the API; informers hand it on as shared, read-only objects.
"""
