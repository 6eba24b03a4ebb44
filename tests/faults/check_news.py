"""Invariants of webhooks: each yields what violates it."""

from collections import Counter

from tests.faults.evidence import TERMINAL, Evidence, Found
from tests.faults.history import News


def ends_are_told(evidence: Evidence) -> Found:
    """The receiver has taken the news of every run that ended and was to be told of, from one delivery."""
    taken = {news.run_id for news in evidence.news if news.answer == "accept"}
    deliveries = Counter(delivery.run_id for delivery in evidence.dump.deliveries)
    for run in evidence.dump.runs.values():
        if run.has_webhook and run.status in TERMINAL:
            if run.run_id not in taken:
                yield f"nobody was told that run {run.run_id} ended {run.status}"
            if deliveries[run.run_id] != 1:
                yield f"run {run.run_id} has {deliveries[run.run_id]} deliveries"


def news_of_a_run_are_one_message(evidence: Evidence) -> Found:
    """Whenever news are sent again, they have the same id and the same bytes."""
    first: dict[str, News] = {}
    owner: dict[str, str] = {}
    for news in evidence.news:
        one = first.setdefault(news.run_id, news)
        if (news.message_id, news.body) != (one.message_id, one.body):
            yield f"run {news.run_id} was told of as {one.message_id} and as {news.message_id}, or in other words"
        if owner.setdefault(news.message_id, news.run_id) != news.run_id:
            yield f"the id {news.message_id} came with the runs {owner[news.message_id]} and {news.run_id}"


def news_are_signed(evidence: Evidence) -> Found:
    for news in evidence.news:
        if not news.signed:
            yield f"message {news.message_id} of run {news.run_id} has no signature that is good"


def news_are_true(evidence: Evidence) -> Found:
    """They come when the run has ended, and say how it did."""
    for news in evidence.news:
        run = evidence.dump.runs.get(news.run_id)
        if news.status not in TERMINAL:
            yield f"run {news.run_id} was told of as {news.status}"
        elif run is None:
            if news.thread_id not in evidence.deleted:
                yield f"run {news.run_id} was told of and is not there"
        elif run.status != news.status or not run.ended_at or news.time < run.ended_at:
            yield f"run {run.run_id} was told of as {news.status} at {news.time:.3f}; {run.status}, {run.ended_at:.3f}"


def nobody_is_told_unasked(evidence: Evidence) -> Found:
    """Of a run without a webhook, and of one that has not ended, there is neither news nor a delivery."""
    told = {news.run_id for news in evidence.news} | {delivery.run_id for delivery in evidence.dump.deliveries}
    for run in evidence.dump.runs.values():
        if run.run_id in told and not (run.has_webhook and run.status in TERMINAL):
            yield f"run {run.run_id} was told of; {run.status}, with a webhook: {run.has_webhook}"
