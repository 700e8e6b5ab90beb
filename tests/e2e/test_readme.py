#!/usr/bin/env python3
"""Every command of README is typed by tests/fresh/readme.sh, on a machine that has only what README told to install.
Here the two are compared, so that none is left out, and README's code is compiled."""

import re
import unittest

from harness import ROOT, main

# The beginning of a command in the middle of a sentence.
PROGRAM = re.compile(r"(\./|cc |cmake |ctest |make |ninja |sudo |apt|permtabd |permtabctl |redis-|mariadb|"
                     r"mysql|sqlite3|systemctl|pip)\S*")


def blocks(text):
    """(language, lines) of each fenced block, and the text outside of them."""
    found, outside = [], []
    fence = None
    for line in text.splitlines():
        if line.startswith("```") and fence is None:
            fence = []
            found.append((line[3:], fence))
        elif line == "```":
            fence = None
        elif fence is None:
            outside.append(line)
        else:
            fence.append(line)
    assert fence is None, "a block has no end"
    return found, "\n".join(outside)


def commands_of(readme):
    """Finds what somebody who reads README may type, without the comments at the ends of lines."""
    found, outside = blocks(readme)
    for language, lines in found:
        assert language in ("sh", "c", "text"), f"a block of README is neither sh, c nor text: {language!r}"
        if language == "sh":
            yield from (re.sub(r"\s+#.*$", "", line) for line in lines if line.strip())
    yield from (code for code in re.findall(r"`([^`]+)`", outside) if PROGRAM.match(code) and code != "./")


def commands_of_test(script):
    return re.findall(r"^\s*(?:\[ \"\$\()?(?:run|elsewhere) '([^']*)'", script, re.M)


class Readme(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.readme = (ROOT / "README.md").read_text()

    def test_every_command_is_typed(self):
        typed = commands_of_test((ROOT / "tests" / "fresh" / "readme.sh").read_text())
        self.assertGreater(len(typed), 8)
        self.assertEqual(set(commands_of(self.readme)), set(typed))
        self.assertIn("./deploy/demo.sh", typed)

    def test_blocks_are_fenced(self):
        """Else this test would not see their commands."""
        indented = [line for line in blocks(self.readme)[1].splitlines() if line.startswith("    ")]
        self.assertEqual([], indented)

    def test_the_comparison_sees_what_is_left_out(self):
        text = ("```sh\nsudo a --b   # why\n\nc | d\n```\nRun `./x.sh --all` or `cmake -S .`, "
                "see `README` and `a/b.c`.\n```text\n$ no\n```\n")
        self.assertEqual(["sudo a --b", "c | d", "./x.sh --all", "cmake -S ."], list(commands_of(text)))
        self.assertEqual(["a", "b c", "d"],
                         commands_of_test("run 'a'\n[ \"$(run 'b c' | tail)\" = x ]\n  elsewhere 'd' # e\n# run 'f'\n"))


if __name__ == "__main__":
    main()
