"""The invariants: pure functions from evidence to violations. Each yields nothing when its invariant holds."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults import check_keys, check_news, check_rollbacks, check_runs, check_service, check_streams, check_turns
from tests.faults.evidence import Evidence, Found

Check = Callable[[Evidence], Found]

CHECKS: tuple[Check, ...] = (
    check_runs.accepted_runs_exist,
    check_runs.runs_end,
    check_runs.runs_end_as_planned,
    check_runs.terminal_status_is_final,
    check_runs.one_run_at_a_time,
    check_runs.accepted_cancels_count,
    check_runs.threads_agree_with_their_runs,
    check_runs.finished_steps_are_not_repeated,
    check_runs.attempts_do_not_overlap,
    check_runs.successful_runs_did_every_step,
    check_runs.checkpoints_are_one_line,
    check_turns.active_runs_do_not_overlap,
    check_turns.graphs_take_turns,
    check_turns.ended_runs_begin_nothing,
    check_turns.turns_follow_requests,
    check_turns.strategies_are_kept,
    check_turns.cancels_were_asked_for,
    check_rollbacks.rolled_back_runs_say_so,
    check_rollbacks.rolled_back_runs_leave_nothing,
    check_rollbacks.checkpoints_build_on_others,
    check_rollbacks.threads_are_as_their_runs_left_them,
    check_rollbacks.messages_are_those_of_the_state,
    check_rollbacks.answers_are_those_that_stayed,
    check_keys.keys_make_their_runs_once,
    check_keys.answers_to_a_key_agree,
    check_keys.keys_stand_for_one_request,
    check_keys.batches_are_whole,
    check_news.ends_are_told,
    check_news.news_of_a_run_are_one_message,
    check_news.news_are_signed,
    check_news.news_are_true,
    check_news.nobody_is_told_unasked,
    check_streams.event_numbers_are_dense,
    check_streams.runs_have_one_end,
    check_streams.ends_tell_the_status,
    check_streams.attempts_are_told_in_order,
    check_streams.replaced_attempts_are_silent,
    check_streams.runs_take_turns,
    check_streams.streams_are_read_again_the_same,
    check_streams.streams_end_with_their_run,
    check_streams.watchers_miss_nothing,
    check_streams.messages_end,
    check_streams.breaks_look_like_breaks,
    check_streams.readers_do_not_fail,
    check_service.failures_are_honest,
    check_service.operations_end,
    check_service.lost_runs_recover_in_time,
    check_service.nothing_is_left_running,
    check_service.processes_end_as_asked,
    check_service.connections_are_bounded,
)


@dataclass(frozen=True)
class Violation:
    check: str
    #: Where it is and what was seen.
    what: str

    def __str__(self) -> str:
        return f"{self.check}: {self.what}"


def check(evidence: Evidence) -> list[Violation]:
    """All violations of all invariants."""
    return [Violation(one.__name__, what) for one in CHECKS for what in one(evidence)]
