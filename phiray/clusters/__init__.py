"""Cluster files: checked offline, before a cloud or a Kubernetes is asked for anything."""
