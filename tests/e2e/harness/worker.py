"""A worker process: tests/e2e/worker.c, which answers through client/permtab.h."""

import subprocess

from .paths import program
from .process import kill, spawn


class Worker:
    def __init__(self, socket, timeout_ms=1000, server_uid=-1):
        """server_uid: the uid that the sidecar must run as; -1: root or our own."""
        self.process = spawn([program("worker"), str(socket), str(timeout_ms), str(server_uid)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True, bufsize=1)
        first = self.process.stdout.readline().split()
        assert first[:1] == ["ready"], f"the worker said {first}"

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                kill(self.process)
        self.process.stdout.close()

    def send(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, "the worker has ended"
        words = line.split()
        assert words and words[0] != "error", f"the worker said: {line.strip()}"
        return words

    def ask(self, *words):
        self.send(*words)
        return self.answer()

    def check(self, user, scope, permission):
        return self.ask("check", user, scope, permission)[0]

    def peek(self, user, scope, permission):
        """('allow', 'deny' or 'unknown', the code of why)"""
        decision, why = self.ask("peek", user, scope, permission)
        return decision, int(why)

    def why(self):
        """permtab_why_text of the last unknown."""
        return " ".join(self.ask("why"))

    # Long commands answer "running" when they have begun, and their result when they are done.

    def begin(self, *words):
        assert self.ask(*words) == ["running"]

    def watch(self, user, scope, permission, decision, milliseconds=5000, mode="check"):
        """Begins to look until the decision is this one; watched() says when it was seen."""
        self.begin("watch", mode, user, scope, permission, decision, milliseconds)

    def watched(self):
        """CLOCK_MONOTONIC nanoseconds, comparable with time.monotonic_ns(); None when it was never seen."""
        word = self.answer()[0]
        return None if word == "never" else int(word)

    def trace(self, user, scope, permission, milliseconds, mode="peek"):
        """Begins to record every change of the answer for that long."""
        self.begin("trace", mode, user, scope, permission, milliseconds)

    def traced(self):
        """[(from, to, decision, why)]: CLOCK_MONOTONIC nanoseconds of the first and last time it was the answer."""
        words = self.answer()
        spans = []
        for word in words[1:]:
            first, last, decision, why = word.split(",")
            spans.append((int(first), int(last), decision, int(why)))
        return spans

    def spin(self, user, scope, permission, milliseconds, mode="peek"):
        """Begins to ask at full speed; spun() gives the counts."""
        self.begin("spin", mode, user, scope, permission, milliseconds)

    def spun(self):
        """{'allow': n, 'deny': n, 'unknown': n, 'ns': nanoseconds in all}"""
        words = self.answer()
        return dict(zip(("allow", "deny", "unknown", "ns"), map(int, words)))

    def range(self, first, count, scope, permission, mode="check"):
        """{'allow': n, 'deny': n, 'unknown': n} of so many users from `first` on, and the first eight that are not
        allowed."""
        words = list(map(int, self.ask("range", mode, first, count, scope, permission)))
        return dict(zip(("allow", "deny", "unknown"), words)), words[3:]

    def many(self, queries, mode="check"):
        """Answers to [(user, scope, permission)], as a string of A, D and U, and nanoseconds in all."""
        lines = "".join(f"{user} {scope} {permission}\n" for user, scope, permission in queries)
        self.process.stdin.write(f"many {mode} {len(queries)}\n")
        self.process.stdin.write(lines)
        self.process.stdin.flush()
        answers, nanoseconds = self.answer()
        assert len(answers) == len(queries)
        return answers, int(nanoseconds)
