#!/usr/bin/env python3
"""The checker against daemons with one safety taken out (tests/e2e/broken/): each must be caught, by the violation
that the safety is there to prevent, in a scenario through which the sound daemon comes unharmed."""

import json
import os
import shutil
import signal
import time
import unittest

from harness import checker, full_only, main, model, warming
from harness.fleet import Fleet
from harness.paths import program, temporary_folder
from harness.process import wait_until
from harness.servers import Mariadb, free_port
from harness.writers import RpcWriter, statement

POLL_MS, STALENESS_MS = 50, 1000
HELD = model.assignment(1, model.SENDER)
CROWD = range(1000, 1128)  # more users than a small table has room for
QUESTION = model.questions().index((1, "server:1", model.SEND))


@full_only
class Broken(unittest.TestCase):
    maxDiff = None
    always = {}  # options of every scenario

    @classmethod
    def setUpClass(cls):
        cls.folder = temporary_folder("broken")
        cls.mariadb = Mariadb(cls.folder / "m", port=free_port()).start()

    @classmethod
    def tearDownClass(cls):
        cls.mariadb.kill()
        shutil.rmtree(cls.folder, ignore_errors=True)

    def scenario(self, name, play, binary, options):
        """Two hosts, of which the second is hurt. Returns what the checker finds. Without the auditor, who may heal
        in time what should not have happened; and with so much time for everything that a busy machine gives nothing
        up, and one connection for fills, which the proxy knows as such once all is settled."""
        folder = self.folder / name
        folder.mkdir()
        with Fleet(folder, 2, redis=self.redis, poll_ms=POLL_MS, staleness_ms=STALENESS_MS, binary=binary,
                   mariadb=self.mariadb, request_timeout="10s", redis_timeout="2s", audit_entries=0,
                   store_threads=1, **self.always, **options) as fleet:
            fleet.start()
            fleet.start_readers(sweep_us=5000, ask_us=1000)
            writer = RpcWriter(fleet, 1, 1)
            try:
                self.settle(fleet)
                play(fleet, writer)
                fleet.heal()
            finally:
                writer.close()
            fleet.stop_readers()
            record = fleet.record(writer.writes, final=binary is None).open()
            found = checker.check(record)
            counts = checker.summary(record)
            for mode in ("peek", "check"):
                self.assertGreater(counts.get((mode, "allow"), 0), 100, f"hardly anything was asked: {counts}")
            return found

    @staticmethod
    def settle(fleet):
        """Waits until everything that is asked is resident, so that what is filled later is what the
        scenario wants; and until so much has been asked that the answers are worth checking, for in a
        scenario readers may be paused."""
        for host in fleet.hosts:
            wait_until(lambda: host.reader.path.stat().st_size > 1000 * checker.RECORD.size, 60,
                       f"{host.name} was asked", 0.05)
            wait_until(lambda: "U" not in host.reader.final(), 40, f"{host.name} answers everything", 0.1)

    def caught(self, name, play, kinds, redis=False, questions=(QUESTION,), **options):
        """One of the questions, at least, was answered wrongly on h1."""
        self.redis = redis
        self.assertEqual([], self.scenario(f"{name}-sound", play, None, options), "the sound daemon")
        begun = time.monotonic()
        found = self.scenario(f"{name}-broken", play, program(f"broken-{name}"), options)
        self.assertTrue({violation.question for violation in found if violation.host == "h1"}.intersection(questions),
                        found[:10])
        self.assertEqual(set(kinds), {violation.kind for violation in found}, found[:10])
        print(f"    without the {name}: {len(found)} violations after {time.monotonic() - begun:.1f} s, such as "
              f"{found[0].kind}: {found[0].text}")

    def test_lease(self):
        """A host that cannot hear the store must not be believed for longer than the bound."""
        def play(fleet, writer):
            fleet.proxy.set("h1.store", mode="refuse")
            self.assertIsNotNone(writer.write(fleet.hosts[0], HELD, False))
            time.sleep(2.5 * STALENESS_MS / 1000)
        self.caught("lease", play, ["late"])

    def test_fence(self):
        """A fill that is read before a change and arrives after it must not be published: fills are slow, polls are
        not."""
        def play(fleet, writer):
            other, hurt = fleet.hosts

            def snapshots():
                return int(fleet.rows("SELECT COUNT(*) FROM information_schema.INNODB_TRX;")[0][0])

            def fills():
                stats = hurt.sidecar.stats()
                return stats["fills"] + stats["fills_repeated"]
            fleet.proxy.set("h1.store", "marked", delay_down=250)
            other.reader.pause()  # until then: whoever has a snapshot open fills for h1
            # The entry goes, and is being filled again from now on: with the role still held.
            fleet.wait_for(writer.write(other, model.assignment(1, model.DELETER), True))
            # The look is not more frequent: InnoDB makes this table anew only when nobody has read it for 100 ms.
            wait_until(snapshots, 30, "the fill has its snapshot", 0.15)
            other.reader.resume()
            before = fills()
            revision = writer.write(other, HELD, False)
            self.assertIsNotNone(revision)
            wait_until(lambda: hurt.sidecar.health()["revision"] >= revision, 30, "the change is applied", 0.01)
            self.assertEqual(before, fills(), "the fill was to arrive later")
            wait_until(lambda: fills() > before, 30, "the fill has arrived", 0.01)
            time.sleep(1.5 * STALENESS_MS / 1000)
        self.caught("fence", play, ["late"])

    def test_place(self):
        """A user's rows are read after a change of the place that the table does not know yet, and the place is kept
        from before: polls are slow, fills are not."""
        channel = model.CHANNELS[1]

        def play(fleet, writer):
            other, hurt = fleet.hosts
            # The channel is not plain: it is a place of its own.
            fleet.sql(statement(model.overwrite(channel, user=2), True))
            fleet.wait_for(fleet.revision())
            hurt.reader.pause()
            with hurt.sidecar.rpc(timeout=30) as rpc:
                def ask(user):
                    return rpc.call("check", user=user, scope=f"channel:{channel}", permission=model.SEND)["decision"]
                # They are to be read again, and users 17 and 19 keep their role in the table. After a start some
                # are read whole, because it did not know their roles. Then the place is kept.
                for user in (*range(3, 17), 1):
                    elsewhere = model.assignment(user, model.SENDER, (model.CHANNEL, model.CHANNELS[0]))
                    fleet.wait_for(writer.write(other, elsewhere, True))
                    if user != 1:
                        ask(user)
                fleet.proxy.set("h1.store", "unmarked", delay_down=60)
                change = statement(model.overwrite(channel, role=model.SENDER), True)
                revision = int(fleet.rows(f"{change} SELECT revision FROM permtab_counter;")[0][0])
                self.assertLess(hurt.sidecar.health()["revision"], revision, "polls were to be slow")
                ask(1)
                fleet.wait_for(revision)
            fleet.proxy.reset("h1.store")
            # The change was plain SQL: that it came before this one is how the checker knows when.
            fleet.wait_for(writer.write(other, model.assignment(20, model.DELETER), True))
            time.sleep(STALENESS_MS / 1000)
            hurt.reader.resume()
            time.sleep(STALENESS_MS / 1000)
        question = model.questions().index((1, f"channel:{channel}", model.SEND))
        self.caught("place", play, ["late"], questions=[question])

    def test_newest(self):
        """What the warm-up has read of many users at once is as old as its oldest part: some lose their role while the
        parts are being read."""
        held = range(1, 20, 2)

        def play(fleet, writer):
            other, hurt = fleet.hosts

            def job():
                return json.loads(hurt.sidecar.ctl("jobs", "--json").stdout)[0]
            hurt.reader.pause()  # nobody but the warm-up fills
            self.assertEqual(0, hurt.sidecar.ctl("invalidate", "scope:server:1").returncode)
            fleet.proxy.set("h1.store", "marked", delay_down=250)
            self.assertEqual(0, hurt.sidecar.ctl("warm", f"role:{model.SENDER}").returncode)
            wait_until(lambda: job()["state"] == "filling", 30, "who holds the role is known", 0.01)
            for user in held:
                self.assertIsNotNone(writer.write(other, model.assignment(user, model.SENDER), False))
                time.sleep(0.1)
            fleet.proxy.reset("h1.store")
            wait_until(lambda: job()["state"] == "done", 30, lambda: f"the job ends: {job()}", 0.05)
            self.assertEqual(0, job()["failed"], job())
            fleet.wait_for(fleet.revision())
            time.sleep(STALENESS_MS / 1000)
            hurt.reader.resume()
            time.sleep(0.5)
        questions = [model.questions().index((user, "server:1", model.SEND)) for user in held]
        self.caught("newest", play, ["late"], questions=questions, warm_budget="100%")

    def test_gap(self):
        """Redis comes back as it was before a change: L2 must not be believed to have followed."""
        def play(fleet, writer):
            other, hurt = fleet.hosts

            def marker(field="revision"):
                return (fleet.redis.command("HGET", "permtab:l2:1:marker", field) or b"0").decode()

            def kept():
                """Whether L2 has what the test is about; what came too late for it is read again."""
                if fleet.redis.command("HEXISTS", f"permtab:l2:1:{marker('epoch')}:{{user:1}}", "server:1"):
                    return True
                hurt.sidecar.ctl("invalidate", "user:1")
                return False
            # The channels are not plain: what is filled there later says nothing of the server.
            for channel in model.CHANNELS:
                fleet.sql(statement(model.overwrite(channel, user=2), True))
            fleet.wait_for(fleet.revision())
            # Something that stays: of whom the store has no rows, L2 is not asked. User 3 has the same two roles.
            for user in (1, 3):
                fleet.wait_for(writer.write(other, model.assignment(user, model.DELETER), True))
            wait_until(kept, 30, "L2 has the rows of user 1", 0.3)
            # Nobody but this test asks from now on: a reader that missed would put into L2 what is true.
            for host in fleet.hosts:
                host.reader.pause()
            dump = fleet.redis.save("older")
            revision = writer.write(other, HELD, False)
            changed = time.monotonic()
            fleet.wait_for(revision)
            fleet.redis.kill()
            fleet.redis.start(dump)
            wait_until(lambda: int(marker()) >= revision, 30, "somebody has brought the marker up", 0.02)
            # A host with an empty table asks L2, once it knows where that is. A value is of no use to a host that
            # does not know its roles yet: so those first.
            hurt.sidecar.kill()
            hurt.sidecar.start()
            wait_until(lambda: hurt.sidecar.stats()["l2_marker_known"], 30, "h1 knows where L2 is", 0.02)
            with hurt.sidecar.rpc() as rpc:
                self.assertEqual(1, rpc.call("check", user=3, scope="server:1", permission=model.SEND)["decision"])
                rpc.call("check", user=1, scope="server:1", permission=model.SEND)
            time.sleep(max(0, changed + 1.5 * STALENESS_MS / 1000 - time.monotonic()))
            for host in fleet.hosts:
                host.reader.resume()
            time.sleep(0.5)
        self.caught("gap", play, ["late"], redis=True)

    def test_retired(self):
        """A table that another one has taken the place of is kept true for those who still have it, or it is not
        believed any more. The reader of h1 has it until the end: it only peeks, and who peeks looks for no other.
        The sound daemon keeps it true for half a minute, and lets its lease end then."""
        held = (1, 3, 5)

        def play(fleet, writer):
            other, hurt = fleet.hosts
            hurt.reader.stop()
            hurt.reader.start(sweep_us=5000, ask_us=0)
            fleet.sql("".join(statement(model.assignment(user, model.SENDER), True) for user in CROWD))
            fleet.wait_for(fleet.revision())
            with hurt.sidecar.rpc(timeout=60) as rpc:
                def asked_by_many():
                    """Entries make room, and those of the questions do so now and then, one at a time."""
                    for number, user in enumerate(CROWD):
                        for each in (user, held[number % len(held)]):
                            rpc.call("check", user=each, scope="server:1", permission=model.SEND)
                    return hurt.sidecar.stats()["growths"] > 0
                wait_until(asked_by_many, 60, "the table has grown")
            for user in held:
                self.assertIsNotNone(writer.write(other, model.assignment(user, model.SENDER), False))
            fleet.wait_for(fleet.revision())
            time.sleep(2 * STALENESS_MS / 1000)
        questions = [model.questions().index((user, "server:1", model.SEND)) for user in held]
        self.caught("retired", play, ["late"], questions=questions, table_entries=64)

    def test_successor(self):
        """Answers die with the worker that vouched for them: nobody renews the lease of its table, and readers come to
        the next one's."""
        def play(fleet, writer):
            other, hurt = fleet.hosts
            worker = hurt.sidecar.worker_pid
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda: hurt.sidecar.worker_pid not in (worker, None), 30, "another worker begins", 0.02)
            hurt.sidecar.wait_healthy()
            self.assertIsNotNone(writer.write(other, HELD, False))
            fleet.wait_for(fleet.revision())
            time.sleep(2.5 * STALENESS_MS / 1000)
        self.caught("successor", play, ["late"])


@full_only
class WarmedUp(Broken):
    """The same while tables are warmed up all the time: that must not hide what is broken. The other scenarios depend
    on what is filled when."""
    always = warming.OPTIONS
    test_newest = test_fence = test_gap = test_place = None


if __name__ == "__main__":
    main()
