"""The checker of everything that readers of a fleet were told. Pure: a record in, violations out.

The store's log says what was true at each revision. When a revision was committed is known within bounds: not before
its write was begun, nor before any earlier one; not after its write was acknowledged, nor after any later one. So an
answer must be what some revision gave, out of those from

    the newest that was certainly committed max_staleness before the call began, and the token's, up to
    the newest that may have been committed when the call had returned.

    late      an ALLOW (or a DENY) that was older than max_staleness
    token     an answer older than the token that was asked with
    never     an answer that no revision up to then ever gave
    lost      an acknowledged write that is not in the log as it was acknowledged
    unhealed  after healing: no answer, or another one than the store's

UNKNOWN is no answer, and always allowed, but for the last."""

import bisect
import math
import struct
from typing import NamedTuple

RECORD = struct.Struct("<QQQQIIIHbBh6x")  # struct span of tests/e2e/reader.c
PEEK, CHECK, CHECK_AT, REVISION = range(4)
UNKNOWN, DENY, ALLOW = -1, 0, 1


class Write(NamedTuple):
    """One attempt to change something. With an acknowledgement the log's rows after `before` up to `revision` are its
    own. Without, ended_ns is None and the outcome unknown; what it knew of revisions is there all the same, or
    None."""
    begun_ns: int
    ended_ns: int
    before: int
    revision: int
    keys: tuple    # what it meant to change
    present: tuple  # whether each is to be there afterwards
    where: str


class Span(NamedTuple):
    """Equal answers to one question in a row; RECORD."""
    first_begun: int
    last_begun: int
    last_ended: int
    revision: int
    calls: int
    gap_us: int
    took_us: int
    question: int
    decision: int
    mode: int
    why: int


class Violation(NamedTuple):
    kind: str
    host: str
    question: int
    text: str


class Record(NamedTuple):
    staleness_ns: int
    begin_revision: int
    log: list       # [(revision, key)] after begin_revision, gap-free
    read_ns: int    # when the log had been read
    writes: list
    timelines: object  # model.Timelines at begin_revision; is brought to the end
    hosts: dict     # name → iterable of spans
    finals: dict    # name → a letter a question, after healing; may be empty


def spans_of(path):
    """The records of a reader's file, as tuples in the order of Span."""
    return RECORD.iter_unpack(path.read_bytes())


# ---- the log ---------------------------------------------------------------------------------------------------------

def transactions(record):
    """[(last revision, [key])]: what was committed together."""
    claimed = {}
    keys_of = dict(record.log)
    for write in record.writes:
        if write.before is None or write.revision is None or write.revision <= write.before:
            continue
        rows = [keys_of.get(revision) for revision in range(write.before + 1, write.revision + 1)]
        if sorted(rows, key=str) == sorted(write.keys, key=str):
            claimed[write.before + 1] = write.revision
    found, at, end = [], record.begin_revision + 1, record.begin_revision + len(record.log)
    while at <= end:
        last = claimed.get(at, at)
        found.append((last, [keys_of[revision] for revision in range(at, last + 1)]))
        at = last + 1
    return found


def commit_bounds(record, last_revision):
    """(earliest, latest), each indexed by revision - begin_revision, in nanoseconds."""
    count = last_revision - record.begin_revision + 1
    earliest, latest = [0] * count, [record.read_ns] * count
    for write in record.writes:
        if write.revision is None:
            continue
        index = write.revision - record.begin_revision
        if not 0 <= index < count:
            continue
        wrote = write.before is not None and write.revision > write.before
        if wrote:
            earliest[index] = max(earliest[index], write.begun_ns)
        if write.ended_ns is not None:
            latest[index] = min(latest[index], write.ended_ns)
    for index in range(1, count):
        earliest[index] = max(earliest[index], earliest[index - 1])
    for index in range(count - 2, -1, -1):
        latest[index] = min(latest[index], latest[index + 1])
    return earliest, latest


def check_log(record):
    found = []
    expected = record.begin_revision
    for revision, _ in record.log:
        expected += 1
        if revision != expected:
            return [Violation("lost", "store", -1, f"the log has no revision {expected}")]
    keys_of = dict(record.log)
    state, at = set(record.timelines.state), record.begin_revision
    acknowledged = sorted((write for write in record.writes if write.ended_ns is not None
                           and write.revision is not None),
                          key=lambda write: write.revision)
    for write in acknowledged:
        while at < write.revision and at + 1 in keys_of:
            at += 1
            state ^= {keys_of[at]}
        rows = [keys_of.get(revision) for revision in range(write.before + 1, write.revision + 1)]
        strange = [row for row in rows if row not in write.keys]
        wrong = [key for key, present in zip(write.keys, write.present) if (key in state) != present]
        if at < write.revision or strange or wrong:
            found.append(Violation("lost", write.where, -1,
                                   f"{write}: the log has {rows}, the state is wrong in {wrong}"))
    return found


# ---- answers ---------------------------------------------------------------------------------------------------------

class Runs(NamedTuple):
    """The runs of revisions that did not give one answer to one question: the first and the one after the
    last; from when on a call that begins may no more get the answer; until when one that ended may not have yet."""
    first: list
    after: list
    from_ns: list
    until_ns: list


def runs_of(first, changes, answer, begin, earliest, latest, staleness_ns):
    edges = [None] + changes + [None]
    runs = Runs([], [], [], [])
    # The answer was `first` between edges[i] and edges[i + 1], alternating.
    for index in range(len(edges) - 1):
        if (first if index % 2 == 0 else not first) == answer:
            continue
        since, after = edges[index], edges[index + 1]
        runs.first.append(-1 if since is None else since)
        runs.after.append(math.inf if after is None else after)
        runs.from_ns.append(-math.inf if since is None else latest[since - begin] + staleness_ns)
        runs.until_ns.append(math.inf if after is None else earliest[after - begin])
    return runs


def _all_runs(record, earliest, latest):
    lines = record.timelines
    return [tuple(runs_of(lines.first[question], lines.changes[question], answer, record.begin_revision, earliest,
                          latest, record.staleness_ns) for answer in (False, True))
            for question in range(len(lines.asked))]


def _kind(runs, index, by_time):
    if not by_time:
        return "token"
    return "never" if runs.first[index] < 0 else "late"


def check_spans(record, runs, host, spans):
    """Only the run that ends first after a call can condemn it: later ones begin after it."""
    found = []
    asked = record.timelines.asked
    for span in spans:
        first_begun, last_begun, last_ended, token, calls, gap_us, took_us, question, decision, mode, _ = span
        if decision < 0 or mode == REVISION:
            continue
        candidates = runs[question][decision]
        took_ns = last_ended - first_begun if calls == 1 else took_us * 1000
        index = bisect.bisect_right(candidates.until_ns, first_begun + took_ns)
        while index < len(candidates.first):
            since, until = candidates.from_ns[index], candidates.until_ns[index] - took_ns
            by_token = mode == CHECK_AT and candidates.first[index] <= token < candidates.after[index]
            by_time = since < last_begun and (
                since < first_begun < until or since < last_begun < until or
                (first_begun <= since and until <= last_begun and until - since > gap_us * 1000))
            if by_time or (by_token and first_begun < until):
                found.append(_violation(asked, host, span, candidates, index, by_time))
                break
            if since >= last_begun:
                break
            index += 1
    return found


def _violation(asked, host, span, runs, index, by_time):
    span = Span(*span)
    answer = "ALLOW" if span.decision == ALLOW else "DENY"
    kind = _kind(runs, index, by_time)
    first, after = runs.first[index], runs.after[index]
    began = "never given before" if first < 0 else f"not given since revision {first}"
    late = (span.last_begun - runs.from_ns[index]) / 1e6
    text = (f"{host}: {answer} for {asked[span.question]} in a call begun at {span.last_begun} ({span.calls} calls "
            f"from {span.first_begun}, mode {span.mode}, token {span.revision}); {began}, again from revision {after}"
            + (f"; {late:.1f} ms after the bound" if by_time and first >= 0 else ""))
    return Violation(kind, host, span.question, text)


def check_finals(record):
    truth = record.timelines.last()
    found = []
    for host, letters in record.finals.items():
        for question, (is_, ought) in enumerate(zip(letters, truth)):
            if is_ != ought:
                found.append(Violation("unhealed", host, question,
                                       f"{host}: {record.timelines.asked[question]} is {is_}, the store says {ought}"))
        if len(letters) != len(truth):
            found.append(Violation("unhealed", host, -1, f"{host}: {len(letters)} answers to {len(truth)} questions"))
    return found


def check(record):
    """All violations. Brings record.timelines to the end of the log."""
    found = check_log(record)
    if any(violation.host == "store" for violation in found):
        return found  # without a whole log nothing can be judged
    for revision, keys in transactions(record):
        record.timelines.step(revision, keys)
    last = record.begin_revision + len(record.log)
    runs = _all_runs(record, *commit_bounds(record, last))
    for host, spans in record.hosts.items():
        found += check_spans(record, runs, host, spans)
    return found + check_finals(record)


def summary(record):
    """Counts of answers by decision and mode, for the report."""
    counts = {}
    for spans in record.hosts.values():
        for span in spans:
            if span[9] != REVISION:
                key = (("peek", "check", "check_at")[span[9]], ("unknown", "deny", "allow")[span[8] + 1])
                counts[key] = counts.get(key, 0) + span[4]
    return counts
