"""Which node a pod runs on: a queue, columns in numpy, plugins, and one write per decision batch."""
