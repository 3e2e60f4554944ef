"""The application; its signals are connected once its models are there."""

from importlib import import_module

from django.apps import AppConfig


class PeersConfig(AppConfig):
    name = "bench.peers"
    label = "peers"

    def ready(self) -> None:
        import_module("bench.peers.signals")
