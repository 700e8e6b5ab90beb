"""Lives of what asks a sidecar: the client library (tests/fault/client.c) and permtabctl, each with one fault. The
sidecar has none, and serves all of them."""

import os
import subprocess

from .injection import ONCE, Faults
from .lives import HANG, alarms
from .paths import program, temporary_folder
from .process import spawn


class _ShortLife:
    """One run of a program under an order; complaints are what must never come of it."""

    def __init__(self, order):
        self.order = order
        self.complaints, self.notes = [], {}
        self.first = None
        self.log = ""

    def clean(self):
        pass

    def run(self, words, text, faults):
        """(exit status, standard output, standard error) under the order; None when it hangs."""
        process = spawn(words, env={**os.environ, **faults.environment()}, stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, errors = process.communicate(text, timeout=HANG)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            self.complaints.append("it hangs")
            return None
        self.log = f"{out}\n---- standard error\n{errors}"
        self.complaints += [f"it says: {line}" for line in alarms(errors)]
        if process.returncode < 0:
            self.complaints.append(f"it ended by signal {-process.returncode}")
        return process.returncode, out, errors

    def live(self):
        folder = temporary_folder("fault")
        try:
            faults = Faults(folder / "faults", self.order)
            self.judge(faults)
            figures = faults.figures()
            self.notes.update(calls=figures[0], failed=figures[1], lost=figures[2])
            self.first = faults.first()
            self.places = faults.places() if self.order.number == 0 else []
        finally:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        return self.complaints


class ClientLife(_ShortLife):
    """Answers are named after what is true: "check-allow unknown …" is allowed, "check-deny allow" is not."""

    def __init__(self, order, sidecar):
        super().__init__(order)
        self.sidecar = sidecar

    def judge(self, faults):
        # What fails once is made good, however much the machine has to do meanwhile. What goes on failing is not.
        open_ms = 20000 if self.order.reach == ONCE else 1500
        done = self.run([program("fault_client"), str(self.sidecar.socket), str(open_ms)], "", faults)
        if done is None:
            return
        status, out, _ = done
        lines = [line.split() for line in out.splitlines()]
        for words in lines:
            what, _, truth = words[0].partition("-")
            if truth and words[1] not in (truth, "unknown"):
                self.complaints.append(f"{what} said {words[1]}, and {truth} is true")
        if status not in (0, 1):
            self.complaints.append(f"it ended with {status}")
        if status == 1:
            self.notes["ended"] = "it could not open"
            if self.order.reach == ONCE:
                self.complaints.append("permtab_open never succeeded")
        elif not lines or lines[-1][0] != "end":
            self.complaints.append("it ended before its end")
        elif lines[-1][1] != "0" and not (self.order.number and self.failed_close(faults)):
            self.complaints.append(f"{lines[-1][1]} descriptors are left")
        if status == 0 and self.order.reach == ONCE:
            unknown = sum(1 for words in lines if words[-1:] and len(words) > 1 and words[1] == "unknown")
            self.notes["unknown"] = unknown

    @staticmethod
    def failed_close(faults):
        first = faults.first()
        return first is not None and first.function == "close"


# What is asked, the input, and whether the output is the same each time.
COMMANDS = [
    (("check", "1", "channel:10", "message.delete"), "", True),
    (("check", "2", "channel:10", "message.delete"), "", True),
    (("check", "--batch"), "1 channel:10 message.delete\n2 channel:10 message.delete\n", True),
    (("permissions", "3", "channel:10", "--json"), "", True),
    (("explain", "1", "channel:10", "message.delete"), "", True),
    (("export",), "", True),
    (("health",), "", False),
    (("stats",), "", False),
    (("invalidate", "user:1"), "", False),
]


class CtlLife(_ShortLife):
    """permtabctl says what it says without a fault, or fails and says why. `usual`: what it says without one."""

    def __init__(self, order, sidecar, command, usual=None):
        super().__init__(order)
        self.sidecar, self.usual = sidecar, usual
        self.words, self.text, self.same = COMMANDS[command]

    def judge(self, faults):
        done = self.run([program("permtabctl"), "--socket", str(self.sidecar.socket), *self.words], self.text, faults)
        self.done = done
        if done is None or self.usual is None:
            return
        status, out, errors = done
        usual_status, usual_out, _ = self.usual
        if status == usual_status and (out == usual_out or not self.same):
            return
        if status == 0 or (status == usual_status and not errors):
            self.complaints.append(f"{' '.join(self.words)}: exit status {status}, and says {out[:200]!r}")
        elif not errors.startswith("permtabctl: ") and "unknown" not in out:
            self.complaints.append(f"{' '.join(self.words)}: exit status {status} without a reason")
        elif self.words[0] == "check" and any(line not in (*usual_out.splitlines(), "unknown")
                                              for line in out.splitlines()):
            self.complaints.append(f"{' '.join(self.words)}: says {out[:200]!r}")
        self.notes["ended"] = f"with {status}"
