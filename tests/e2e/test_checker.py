#!/usr/bin/env python3
"""The checker of the fleet's tests, on records made by hand: what is good passes, and each kind of wrong is seen.
And how workers died, by logs made by hand."""

import random
import unittest

from harness import checker, deaths, full_only, main, model
from harness.checker import ALLOW, CHECK, CHECK_AT, DENY, PEEK, UNKNOWN, Record, Span, Write
from harness.process import Stopwatch

MS = 1000000
STALENESS = 1000 * MS
BEGIN = 10  # the revision of the policy
ASKED = [(1, "server:1", model.SEND), (1, "channel:10", model.SEND), (model.PAIRED_USER, "server:1", model.KICK)]
HELD = model.assignment(1, model.SENDER)  # who holds it may send; there at the beginning


def call(begun_ms, decision, ended_ms=None, question=0, token=0, mode=CHECK):
    """One call and its answer."""
    ended_ms = begun_ms + 0.01 if ended_ms is None else ended_ms
    return Span(int(begun_ms * MS), int(begun_ms * MS), int(ended_ms * MS), token, 1, 0, 10, question, decision,
                CHECK_AT if token else mode, 0)


def calls(first_ms, last_ms, decision, gap_ms=10, took_ms=0.01, question=0):
    """Many peeks with the same answer."""
    return Span(int(first_ms * MS), int(last_ms * MS), int((last_ms + took_ms) * MS), 0, 100, gap_ms * 1000,
                int(took_ms * 1000), question, decision, PEEK, 0)


def write(begun_ms, ended_ms, revision, keys, present, before=None):
    """An acknowledged write, of as many rows as it has keys; ended_ms None: its outcome was never heard."""
    before = revision - len(keys) if before is None and revision is not None else before
    return Write(begun_ms * MS, None if ended_ms is None else ended_ms * MS, before, revision, tuple(keys),
                 tuple(present), "h0")


class Checker(unittest.TestCase):
    """The role is taken away at 5000 ms (revision 11) and given back at 9000 ms (revision 12)."""

    taken = write(5000, 5010, 11, [HELD], [False])
    given = write(9000, 9010, 12, [HELD], [True])

    def check(self, spans, writes=None, log=None, finals=None):
        writes = [self.taken, self.given] if writes is None else writes
        log = [(revision, HELD) for revision in (11, 12)] if log is None else log
        record = Record(STALENESS, BEGIN, log, 20000 * MS, writes, model.Timelines(ASKED, model.begin()), {"h0": spans},
                        finals or {})
        return [violation.kind for violation in checker.check(record)]

    # ---- good records ------------------------------------------------------------------------------------------------

    def test_answers_of_their_time(self):
        self.assertEqual([], self.check([call(100, ALLOW), call(5100, DENY), call(8000, DENY), call(9100, ALLOW)]))

    def test_old_answers_within_the_bound(self):
        self.assertEqual([], self.check([call(6009, ALLOW), calls(100, 6009, ALLOW), call(10009, DENY)]))

    def test_while_the_write_was_under_way_both_are_true(self):
        self.assertEqual([], self.check([call(4900, DENY, 5005), call(5005, ALLOW), call(5006, DENY),
                                         call(9005, ALLOW)]))

    def test_unknown_is_no_answer(self):
        self.assertEqual([], self.check([call(7000, UNKNOWN), call(7000, UNKNOWN, token=11),
                                         calls(100, 15000, UNKNOWN)]))

    def test_a_slow_call_may_know_what_came_meanwhile(self):
        self.assertEqual([], self.check([call(7000, ALLOW, 9001)]))

    def test_many_calls_between_two_changes(self):
        self.assertEqual([], self.check([calls(5020, 9020, DENY), calls(9020, 15000, ALLOW)]))

    def test_a_hole_between_two_calls_condemns_nobody(self):
        """Nobody is known to have asked in between."""
        self.assertEqual([], self.check([calls(100, 9020, ALLOW, gap_ms=8900)]))

    # ---- late --------------------------------------------------------------------------------------------------------

    def test_late_allow(self):
        self.assertEqual(["late"], self.check([call(6011, ALLOW)]))
        self.assertEqual(["late"], self.check([call(8900, ALLOW, 8999)]))

    def test_late_deny(self):
        self.assertEqual(["late"], self.check([call(10011, DENY)]))

    def test_late_among_many(self):
        for span in (calls(100, 6011, ALLOW), calls(6011, 9500, ALLOW), calls(100, 15000, ALLOW),
                     calls(100, 15000, ALLOW, gap_ms=2900)):
            with self.subTest(span):
                self.assertEqual(["late"], self.check([span]))

    def test_late_in_the_second_run(self):
        """Nobody can say what was answered in the first: the calls are too far apart."""
        again = write(12000, 12010, 13, [HELD], [False])
        self.assertEqual(["late"], self.check([calls(100, 14000, ALLOW, gap_ms=8900)], [self.taken, self.given, again],
                                              [(revision, HELD) for revision in (11, 12, 13)]))

    def test_each_host_is_looked_at(self):
        self.assertEqual(["late", "late"],
                         self.check([call(100, ALLOW), call(6011, ALLOW), call(7000, DENY), call(6012, ALLOW)]))

    # ---- token -------------------------------------------------------------------------------------------------------

    def test_older_than_its_token(self):
        self.assertEqual(["token"], self.check([call(5100, ALLOW, token=11)]))
        self.assertEqual(["token"], self.check([call(9100, DENY, token=12)]))

    def test_as_new_as_its_token(self):
        self.assertEqual([], self.check([call(5100, DENY, token=11), call(5100, ALLOW, token=10),
                                         call(9100, ALLOW, token=12),
                                         call(9050, ALLOW, token=11), call(9050, DENY, token=11)]))

    # ---- never -------------------------------------------------------------------------------------------------------

    def test_never_given(self):
        """Answers before the write was begun, and about somebody who is never allowed."""
        self.assertEqual(["never"], self.check([call(100, DENY)]))
        self.assertEqual(["never"], self.check([call(4990, DENY, 4999)]))
        self.assertEqual(["never"], self.check([call(100, ALLOW, question=2)]))
        self.assertEqual(["never"], self.check([calls(100, 4000, DENY)]))

    def test_halves_of_a_transaction(self):
        """Either half of the pair alone would allow: with the transaction as one, nobody ever is."""
        pair, log = write(5000, 5010, 12, model.PAIR, [True, False]), [(11, model.PAIR[0]), (12, model.PAIR[1])]
        self.assertEqual([], self.check([call(5100, DENY, question=2)], [pair], log))
        self.assertEqual(["never"], self.check([call(5100, ALLOW, question=2)], [pair], log))
        unheard = pair._replace(ended_ns=None)
        self.assertEqual(["never"], self.check([call(5100, ALLOW, question=2)], [unheard], log))

    # ---- lost --------------------------------------------------------------------------------------------------------

    def test_an_acknowledged_write_is_not_in_the_log(self):
        self.assertEqual(["lost"], self.check([], log=[(11, HELD)]))

    def test_an_acknowledged_write_did_something_else(self):
        other = model.assignment(3, model.SENDER)
        self.assertIn("lost", self.check([], log=[(11, HELD), (12, other)]))
        self.assertEqual(["lost"], self.check([], [write(5000, 5010, 11, [HELD], [True])], [(11, HELD)]))

    def test_an_acknowledged_write_shares_its_revisions(self):
        other = model.assignment(3, model.SENDER)
        both = write(5000, 5010, 12, [HELD], [False], before=10)
        self.assertEqual(["lost"], self.check([], [both], [(11, other), (12, HELD)]))

    def test_a_write_that_changed_nothing_beyond_the_log(self):
        self.assertEqual(["lost"], self.check([], [write(6000, 6010, 12, [HELD], [True], before=12)], []))

    def test_a_log_with_a_hole(self):
        self.assertEqual(["lost"], self.check([], [], [(12, HELD)]))

    def test_a_write_that_changed_nothing(self):
        """It is acknowledged at a revision where things are as it wanted them."""
        nothing = write(6000, 6010, 11, [HELD], [False], before=11)
        self.assertEqual([], self.check([], [self.taken, nothing, self.given]))
        self.assertEqual(["lost"], self.check([], [self.taken, nothing._replace(present=(True,)), self.given]))

    # ---- outcomes nobody heard ---------------------------------------------------------------------------------------

    def test_unheard_writes_are_found_in_the_log(self):
        """It was committed at some time between its beginning and the next acknowledged one."""
        unheard = write(5000, None, None, [HELD], [False])
        writes = [unheard, self.given]
        self.assertEqual([], self.check([call(5100, ALLOW), call(5100, DENY), call(8900, ALLOW)], writes))
        self.assertEqual(["late"], self.check([call(10011, DENY)], writes))
        self.assertEqual([], self.check([call(5100, ALLOW)], [unheard], []), "it never happened")
        self.assertEqual(["never"], self.check([call(5100, DENY)], [unheard], []))

    def test_neighbours_tell_when_an_unheard_write_was_committed(self):
        """Revisions are in the order of commits: not before an earlier one was begun, not after a later one was heard
        of."""
        other, unheard = model.assignment(3, model.SENDER), write(3000, None, None, [HELD], [False])
        later = write(7000, 7010, 12, [other], [False])
        log = [(11, HELD), (12, other)]
        self.assertEqual([], self.check([call(8009, ALLOW)], [unheard, later], log))
        self.assertEqual(["late"], self.check([call(8011, ALLOW)], [unheard, later], log))
        earlier = later._replace(before=10, revision=11)
        log = [(11, other), (12, HELD)]
        self.assertEqual([], self.check([call(6900, DENY, 7001)], [unheard, earlier], log))
        self.assertEqual(["never"], self.check([call(6900, DENY, 6999)], [unheard, earlier], log))

    # ---- healing -----------------------------------------------------------------------------------------------------

    def test_after_healing_all_agree(self):
        self.assertEqual([], self.check([], finals={"h0": "AAD", "h1": "AAD"}))

    def test_after_healing_one_differs_or_does_not_know(self):
        self.assertEqual(["unhealed"], self.check([], finals={"h0": "AAD", "h1": "DAD"}))
        self.assertEqual(["unhealed"], self.check([], finals={"h0": "AAU"}))
        self.assertIn("unhealed", self.check([], finals={"h0": ""}))

    # ---- at large ----------------------------------------------------------------------------------------------------

    @full_only
    def test_a_million_answers(self):
        """The checker agrees with a slow and simple one on a part of them, and checks all of them within seconds."""
        dice = random.Random(1)
        writes, log, at = [], [], 1000
        for revision in range(BEGIN + 1, BEGIN + 2001):
            at += dice.randrange(20, 3000)
            writes.append(write(at, at + dice.randrange(1, 15), revision, [HELD], [revision % 2 == 0]))
            log.append((revision, HELD))
        spans = [call(begun, dice.choice((ALLOW, DENY)), begun + dice.choice((0.01, 1, 40)),
                      token=dice.choice((0, 0, 11)))
                 for begun in (dice.uniform(1000, at) for _ in range(1000000))]
        record = Record(STALENESS, BEGIN, log, (at + 5000) * MS, writes, model.Timelines(ASKED, model.begin()),
                        {"h0": spans}, {})
        watch = Stopwatch()
        found = checker.check(record)
        took = watch.seconds()
        self.assertLess(took, 60)  # a run of the nemesis has many times as many
        print(f"    1,000,000 answers, {len(found)} of them wrong, in {took:.1f} s")
        part = spans[:2000]
        expected = [self.is_wrong(span, writes) for span in part]
        alone = [bool(checker.check(record._replace(hosts={"h0": [span]},
                                                    timelines=model.Timelines(ASKED, model.begin()))))
                 for span in part[:200]]
        self.assertEqual(expected[:200], alone)
        part_found = checker.check(record._replace(hosts={"h0": part}, timelines=model.Timelines(ASKED, model.begin())))
        self.assertEqual(sum(expected), len(part_found))
        self.assertGreater(sum(expected), 100)

    @staticmethod
    def is_wrong(span, writes):
        """Judges a span by looking at every revision."""
        low = max([BEGIN, span.revision] + [w.revision for w in writes if w.ended_ns + STALENESS < span.first_begun])
        high = max([BEGIN] + [w.revision for w in writes if w.begun_ns <= span.last_ended])
        # Revisions alternate: even ones have the role.
        return not any((revision % 2 == 0) == (span.decision == ALLOW) for revision in range(low, max(low, high) + 1))


class Deaths(unittest.TestCase):
    """What masters say of their workers, next to what was done to them."""
    LOG = """\
error permtabd: worker 41 died: signal 9, Killed after 2.500 s; another one begins
error permtabd: worker 42 died: signal 9, Killed of its master after 9.000 s; another one begins
info table: it has room for 32 entries now, after 20 ms; 7 were brought along; tables take 0 MB
error permtabd: worker died: signal 11, Segmentation fault after 0.010 s, before it served; another begins after a pause
error permtabd: worker died: code 1 after 1.000 s, before it served: the store is away; another begins after a pause
error permtabd: worker 45 died while it was to stop: code 1 after 7.000 s
"""
    SENT = [(41, 9), (43, 11)]

    def test_explained(self):
        self.assertEqual([], deaths.unexplained(self.LOG, self.SENT))
        self.assertEqual((3, 1), deaths.deaths(self.LOG))
        self.assertEqual(1, deaths.growths(self.LOG))

    def test_unexplained(self):
        for sent in ([(43, 11)], [(40, 9), (43, 11)], [(41, 11), (43, 11)], [(41, 9)], [(41, 9), (43, 9)]):
            with self.subTest(sent=sent):
                self.assertEqual(1, len(deaths.unexplained(self.LOG, sent)))
        for line in ("error permtabd: worker 46 died: code 1 after 5.000 s: the loop broke off; another one begins",
                     "error permtabd: worker 46 died while it was to leave: signal 6, Aborted after 5.000 s"):
            with self.subTest(line=line):
                self.assertEqual(1, len(deaths.unexplained(self.LOG + line + "\n", self.SENT)))


if __name__ == "__main__":
    main()
