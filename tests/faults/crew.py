"""Who uses the system, and how often they do what."""

import random
from collections.abc import Mapping

from tests.faults.clients import Client
from tests.faults.load import Act, Common, User

#: A bit of everything.
EVERYTHING: dict[Act, int] = {
    User.start_in_background: 4,
    User.queue_several: 3,
    User.interrupt_with_another: 1,
    User.stream: 6,
    User.watch: 4,
    User.wait: 3,
    User.join: 4,
    User.cancel: 3,
    User.cancel_near_the_end: 2,
    User.crowd: 5,
    User.send_twice: 3,
    User.batch: 1,
    User.answer_a_question: 2,
    User.take_an_answer_back: 2,
    User.look: 3,
    User.delete_a_thread: 1,
}


#: Only what ends, undoes and repeats.
CONTEST: dict[Act, int] = {
    User.watch: 2,
    User.join: 2,
    User.cancel_near_the_end: 3,
    User.crowd: 4,
    User.send_twice: 4,
    User.batch: 2,
    User.take_an_answer_back: 4,
}


def users(
    url: str, key: str, common: Common, chance: random.Random, count: int, weights: Mapping[Act, int]
) -> list[tuple[Client, User]]:
    """So many users, each with random numbers of its own that follow from `chance`."""
    found = []
    for number in range(count):
        client = Client(f"client {number}", url, key, common.history, random.Random(chance.getrandbits(64)))
        found.append((client, User(client, common, weights)))
    return found
