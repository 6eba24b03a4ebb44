"""Records and chunks: what is packed comes out as it went in."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from runs.records import Chunk, Record, compress, decompress, heads_and_data, pack, record, unpack

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json = st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | text, st.lists, max_leaves=5)
records = st.builds(
    Record,
    method=st.sampled_from(["values", "updates", "messages/partial", "end"]),
    data=json.map(orjson.dumps),
    namespace=st.lists(text, max_size=3).map(tuple),
    timestamp=st.integers(0, 2**50),
    kept=st.none(),
)


def chunk(packed: list[Record], first_seq: int = 1) -> Chunk:
    return Chunk("thread", "run", first_seq, first_seq + len(packed) - 1, pack(packed))


@given(st.lists(records, min_size=1, max_size=8), st.integers(1, 2**40))
def test_records_survive_packing_with_their_numbers(packed: list[Record], first_seq: int) -> None:
    numbers, unpacked = zip(*unpack(chunk(packed, first_seq)), strict=True)
    assert list(unpacked) == packed
    assert list(numbers) == list(range(first_seq, first_seq + len(packed)))


@given(st.lists(records, min_size=1, max_size=8))
def test_heads_can_be_read_without_parsing_the_data(packed: list[Record]) -> None:
    found = list(heads_and_data(chunk(packed)))
    assert [(method.decode(), data) for method, _, data in found] == [(one.method, one.data) for one in packed]
    assert [where == b"[]" for _, where, _ in found] == [not one.namespace for one in packed]


@given(st.binary(max_size=50).map(lambda start: b"m" + start) | st.integers(0, 4000).map(lambda size: b"x" * size))
def test_payloads_survive_storage(payload: bytes) -> None:
    assert decompress(compress(payload)) == payload


def test_long_payloads_are_stored_shorter() -> None:
    payload = pack([record("values", {"number": number}) for number in range(200)])
    assert len(compress(payload)) < len(payload) / 2
