"""Two pods on two nodes that tell their names by HTTP, and the Service of both."""

PODS = "\n---\n".join(
    f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: echo}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: moorings.dev/busybox:1
    command: [sh, -c, "mkdir /www && hostname > /www/name && exec httpd -f -p 8080 -h /www"]
    readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
"""
    for name, node in (("one", "node-1"), ("two", "node-2"))
)
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{port: 80, targetPort: 8080}]}
"""
