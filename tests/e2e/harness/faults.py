"""The faults that the nemesis does to a fleet. A fault is begun, lasts for a while, and is ended by what its beginning
returned. Two faults at a time never want the same thing."""

import os
import signal
import subprocess

from .paths import program
from .process import children, kill, spawn
from .warming import hot_keys_named


def _some(dice, things, most=None):
    """A random part of them, at least one."""
    most = len(things) if most is None else max(1, min(most, len(things)))
    return dice.sample(things, dice.randint(1, most))


# ---- servers ---------------------------------------------------------------------------------------------------------

def redis_killed(fleet, dice, _):
    """It comes back empty."""
    fleet.redis.kill()
    return fleet.redis.start


def redis_paused(fleet, dice, _):
    fleet.redis.pause()
    return fleet.redis.resume


def redis_emptied(fleet, dice, _):
    """Killed and back at once, with nothing."""
    fleet.redis.kill()
    fleet.redis.start()
    return None


def redis_restored(fleet, dice, _):
    """Back at once with an older dump, if one was kept."""
    fleet.redis.kill()
    fleet.redis.start(dump=getattr(fleet, "dump", None))
    return None


def redis_dumped(fleet, dice, _):
    """Keeps a dump, to be restored later."""
    fleet.dump = fleet.redis.save("older")
    return None


def redis_flushed(fleet, dice, _):
    fleet.redis.command("FLUSHALL")
    return None


def redis_clients_killed(fleet, dice, _):
    for kind in dice.choice((("normal",), ("pubsub",), ("normal", "pubsub"))):
        fleet.redis.command("CLIENT", "KILL", "TYPE", kind)
    return None


def mariadb_killed(fleet, dice, _):
    fleet.mariadb.kill()
    return fleet.mariadb.start


def mariadb_paused(fleet, dice, _):
    fleet.mariadb.pause()
    return fleet.mariadb.resume


def mariadb_restarted(fleet, dice, _):
    fleet.mariadb.kill()
    fleet.mariadb.start()
    return None


# ---- links -----------------------------------------------------------------------------------------------------------

def _on_links(fleet, links, **rules):
    for link, part in links:
        fleet.proxy.set(link, part, **rules)

    def mend():
        for link, _ in links:
            fleet.proxy.reset(link)
    return mend


def link_cut(fleet, dice, links):
    part = dice.choice(("all", "all", "marked", "unmarked"))
    return _on_links(fleet, [(link, part) for link in links], mode="refuse")


def link_reset(fleet, dice, links):
    """Connections break, and new ones succeed."""
    for link in links:
        fleet.proxy.cut(link, dice.choice(("all", "marked", "unmarked")))
    return None


def link_stalled(fleet, dice, links):
    part = dice.choice(("all", "marked", "unmarked"))
    return _on_links(fleet, [(link, part) for link in links], mode="stall")


def link_slow(fleet, dice, links):
    part, delay = dice.choice(("all", "marked", "unmarked")), dice.choice((2, 20, 100, 400))
    return _on_links(fleet, [(link, part) for link in links], delay_up=dice.choice((0, delay)), delay_down=delay,
                     jitter_down=dice.choice((0, delay)))


def link_throttled(fleet, dice, links):
    return _on_links(fleet, [(link, "all") for link in links], rate_down=dice.choice((2000, 20000)), rate_up=20000)


def messages_mangled(fleet, dice, links):
    """Messages that subscriptions bring are lost, late, doubled, out of order, garbled; singly or all of them."""
    kinds = {"drop": 0.5, "duplicate": 0.5, "reorder": 0.5, "hold": 0.5, "garble": 0.5, "corrupt": 0.2}
    chosen = kinds if dice.random() < 0.3 else {kind: kinds[kind] for kind in _some(dice, sorted(kinds), 2)}
    if dice.random() < 0.2:
        chosen = {"drop": 1}
    return _on_links(fleet, [(link, "marked") for link in links], hold_ms=dice.choice((30, 300, 1500)), **chosen)


# ---- sidecars --------------------------------------------------------------------------------------------------------

def sidecar_stopped(fleet, dice, hosts):
    for host in hosts:
        if host.sidecar.process and host.sidecar.process.poll() is None:
            host.sidecar.pause()

    def go_on():
        for host in hosts:
            if host.sidecar.process and host.sidecar.process.poll() is None:
                host.sidecar.resume()
    return go_on


def sidecar_killed(fleet, dice, hosts):
    """The killed sidecar is started again by whoever keeps it up."""
    for host in hosts:
        host.sidecar.kill()
    return None


def sidecar_ended(fleet, dice, hosts):
    """The sidecar is told to end, with writes and fills under way. It may have to wait for a statement that waits
    for a lock; a supervisor has no patience for that. It must not crash: the master, whose status this is; of the
    worker its log tells (deaths.py). One that has not begun to serve does not know how to end in order."""
    ending = [host.sidecar.process for host in hosts if host.sidecar.process and host.sidecar.process.poll() is None]
    for process in ending:
        process.terminate()

    def no_patience():
        for host in hosts:
            process = host.sidecar.process
            if process in ending:
                status = process.poll()
                assert status in (None, 0, 1, -signal.SIGTERM), \
                    f"{host.name} ended with {status}: {host.sidecar.log()[-3000:]}"
                host.sidecar.kill()
    return no_patience


# ---- workers ---------------------------------------------------------------------------------------------------------

def _signal_worker(host, number):
    """To the worker alone: its master is to see to it. Returns the worker's pid; None when there is none."""
    process = host.sidecar.process
    pid = host.sidecar.worker_pid if process and process.poll() is None else None
    if pid is not None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return None
        host.signalled.append((pid, int(number)))
    return pid


def worker_killed(fleet, dice, hosts):
    """The master begins another one. One that dies before any has served ends its master, as at any start."""
    for host in hosts:
        _signal_worker(host, dice.choice((signal.SIGKILL, signal.SIGSEGV)))
    return None


def worker_stopped(fleet, dice, hosts):
    """For less than worker_timeout, and it goes on with what it was doing; or for longer, and is killed."""
    stopped = [(host, _signal_worker(host, signal.SIGSTOP)) for host in hosts]

    def go_on():
        for host, pid in stopped:
            process = host.sidecar.process
            if process and pid in children(process.pid):
                _signal_worker(host, signal.SIGCONT)
    return go_on


def worker_replaced(fleet, dice, hosts):
    """Its master is told of another configuration, which only another worker can live by. A master that has no worker
    may not have begun to listen to signals."""
    for host in hosts:
        process = host.sidecar.process
        if process and process.poll() is None and host.sidecar.worker_pid is not None:
            host.sidecar.configure(audit_entries=5 - host.sidecar.options["audit_entries"])
            process.send_signal(signal.SIGHUP)
    return None


def table_flushed(fleet, dice, hosts):
    """Every sidecar that hears of it rebuilds its table. Whoever flushes does not wait for it."""
    flushing = [spawn([program("permtabctl"), "--socket", str(host.sidecar.socket), "invalidate", "all"],
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for host in hosts[:2]]

    def no_patience():
        for process in flushing:
            kill(process)
            process.wait()
    return no_patience


SERVER_FAULTS = {
    "redis": [redis_killed, redis_paused, redis_emptied, redis_restored, redis_dumped, redis_flushed,
              redis_clients_killed],
    "mariadb": [mariadb_killed, mariadb_paused, mariadb_restarted],
}
WARM_FAULTS = {"redis": [hot_keys_named, hot_keys_named]}
LINK_FAULTS = [link_cut, link_reset, link_stalled, link_slow, link_throttled]
HOST_FAULTS = [sidecar_stopped, sidecar_killed, sidecar_ended, worker_killed, worker_killed, worker_stopped,
               worker_replaced, table_flushed]


def choose(fleet, dice, taken):
    """(name, what it takes, begin()) of a random fault that wants nothing of `taken`; None when there is none."""
    def free(names):
        return [name for name in names if name not in taken]
    kinds = ["mariadb", "store link", "store link", "host", "host", "host", "host"]
    if fleet.redis:
        kinds += ["redis", "redis", "redis", "redis link", "redis link", "messages", "messages"]
    kind = dice.choice(kinds)
    if kind in SERVER_FAULTS:
        if kind in taken:
            return None
        fault = dice.choice(SERVER_FAULTS[kind] + (WARM_FAULTS.get(kind, []) if fleet.warm else []))
        return fault.__name__, [kind], lambda: fault(fleet, dice, None)
    if kind == "host":
        hosts = [host for host in fleet.hosts if host.name not in taken]
        if not hosts:
            return None
        hosts = _some(dice, hosts, len(fleet.hosts) // 4)
        fault = dice.choice(HOST_FAULTS)
        return fault.__name__, [host.name for host in hosts], lambda: fault(fleet, dice, hosts)
    links = free([host.store_link if kind == "store link" else host.redis_link for host in fleet.hosts])
    if not links:
        return None
    links = _some(dice, links,
                  {"messages": len(links), "redis link": len(fleet.hosts) // 2}.get(kind, len(fleet.hosts) // 3))
    fault = messages_mangled if kind == "messages" else dice.choice(LINK_FAULTS)
    return f"{fault.__name__} ({kind})", links, lambda: fault(fleet, dice, links)
