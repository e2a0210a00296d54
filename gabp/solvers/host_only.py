"""Methods whose messages are always sent on the CPU."""

from gabp.solvers.protocol import MethodSetup


class HostOnly(MethodSetup):
    """A method that runs on the CPU wherever the system is, most often because nodes are updated one after another."""

    @property
    def notes(self) -> str:
        return "" if self.system.device.type == "cpu" else "its messages are sent on the CPU"
