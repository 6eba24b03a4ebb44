"""What a subscription wants of a thread's events: its channels, and its places in the tree of graphs."""

from collections.abc import Iterable
from dataclasses import dataclass

Namespace = tuple[str, ...]

#: The channels of the Agent Streaming Protocol. Beside them `custom:<name>`: the custom events of one name.
CHANNELS = frozenset({"values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"})
NAMED_CUSTOM = "custom:"


def is_channel(name: str) -> bool:
    return name in CHANNELS or (name.startswith(NAMED_CUSTOM) and len(name) > len(NAMED_CUSTOM))


@dataclass(frozen=True, slots=True)
class Selection:
    """The filter of one subscription. Without `namespaces` it is about the whole tree."""

    channels: frozenset[str]
    namespaces: tuple[Namespace, ...] = ()
    #: How far below one of the namespaces; None: any.
    depth: int | None = None

    def wants(self, channel: str, namespace: Namespace) -> bool:
        """Whether an event of this channel (`custom:<name>` for one with a name) at this place belongs to it."""
        return self.takes(channel) and self.covers(namespace)

    def takes(self, channel: str) -> bool:
        return channel in self.channels or (channel.startswith(NAMED_CUSTOM) and "custom" in self.channels)

    def covers(self, namespace: Namespace) -> bool:
        return not self.namespaces or any(self._holds(prefix, namespace) for prefix in self.namespaces)

    def _holds(self, prefix: Namespace, namespace: Namespace) -> bool:
        if len(prefix) > len(namespace) or not all(map(_is_step, prefix, namespace)):
            return False
        return self.depth is None or len(namespace) - len(prefix) <= self.depth


def _is_step(wanted: str, step: str) -> bool:
    """Whether a step of a namespace, `node:task`, is the wanted one, which may name the node alone."""
    return step == wanted or (":" not in wanted and step.partition(":")[0] == wanted)


def selection(
    channels: Iterable[str], namespaces: Iterable[Iterable[str]] | None = None, depth: int | None = None
) -> Selection:
    return Selection(frozenset(channels), tuple(map(tuple, namespaces or ())), depth)
