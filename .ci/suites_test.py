"""What the runner of the suites promises: python3 .ci/suites_test.py"""

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from suites import LAST_LINES, ROOT, SUITES, Suite, may_start, run, with_needs

HERE = Path(__file__).resolve().parent
PATIENCE_SECONDS = 60


def shell(suite):
    return ["sh", "-c", suite.make]


def silent(*_, **__):
    pass


class Runner(unittest.TestCase):
    def test_all_run_also_when_one_fails(self):
        suites = [Suite("one", "exit 3", load=1), Suite("two", "true", load=1), Suite("three", "true", load=1, needs=("one",))]
        results = run(suites, 2, shell, silent)
        self.assertEqual({name: status for name, (status, *_) in results.items()}, {"one": 3, "two": 0, "three": None})

    def test_what_does_not_disturb_each_other_runs_at_the_same_time(self):
        with tempfile.TemporaryDirectory() as folder:
            # Each waits for the other.
            meet = f"touch {folder}/%s; while [ ! -e {folder}/%s ]; do sleep 0.01; done"
            suites = [Suite("one", meet % ("one", "two"), load=1), Suite("two", meet % ("two", "one"), load=1)]
            results = run(suites, 2, shell, silent)
        self.assertEqual([status for status, *_ in results.values()], [0, 0])

    def test_the_output_of_a_suite_stands_together(self):
        said = io.StringIO()
        suites = [Suite(name, f"for _ in 1 2 3; do echo {name}; sleep 0.02; done", load=1) for name in ("one", "two")]
        run(suites, 2, shell, lambda *text, **_: print(*text, file=said))
        for name in ("one", "two"):
            self.assertIn(f"== {name} ==\n{name}\n{name}\n{name}\n== {name}: passed", said.getvalue())

    def test_the_end_of_what_failed_is_kept(self):
        ends = {}
        suites = [Suite("good", "echo fine", load=1), Suite("bad", "seq 100; echo; echo the reason; exit 1", load=1)]
        run(suites, 2, shell, silent, ends)
        self.assertEqual(list(ends), ["bad"])
        self.assertTrue(ends["bad"].endswith("\n100\nthe reason"), ends)
        self.assertEqual(len(ends["bad"].splitlines()), LAST_LINES)

    def test_nothing_heavy_runs_beside_what_measures(self):
        light, heavy = Suite("light", "", load=0.5), Suite("heavy", "", load=1.5)
        steady, other = Suite("steady", "", load=1, measures=True), Suite("other", "", load=0.2, measures=True)
        self.assertTrue(may_start(light, [steady], 2))
        self.assertFalse(may_start(heavy, [steady], 2))
        self.assertFalse(may_start(steady, [heavy], 2))
        self.assertFalse(may_start(other, [steady], 2))
        self.assertTrue(may_start(heavy, [light], 2))
        self.assertFalse(may_start(heavy, [heavy], 2))
        # What needs more than there is runs alone.
        self.assertTrue(may_start(heavy, [], 1))

    def test_an_interrupt_ends_what_was_started(self):
        with tempfile.TemporaryDirectory() as folder:
            program = f"import sys; sys.path.insert(0, {str(HERE)!r}); from suites import *; "
            # What is started in the background by a shell ignores it.
            program += "signal.signal(signal.SIGINT, signal.default_int_handler); "
            # One in the group of the suite, and one in a group of its own.
            commands = f"echo $$ >{folder}/shell; sleep 1000 & echo $! >{folder}/sleep; setsid sleep 1000 & echo $! >{folder}/apart; wait"
            program += f"adopt_orphans(); run([Suite('one', {commands!r}, load=1)], 2, lambda it: ['sh', '-c', it.make])"
            runner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            files = [Path(folder) / name for name in ("shell", "sleep", "apart")]
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not all(file.exists() and file.read_text() for file in files):
                self.assertLess(time.monotonic(), deadline, "nothing was started")
                time.sleep(0.01)
            runner.send_signal(signal.SIGINT)
            runner.wait(PATIENCE_SECONDS)
            for file in files:
                self.assertFalse(runs(int(file.read_text())), file.name)

    def test_the_suites_are_targets_of_the_makefile_and_all_of_them_run(self):
        self.assertEqual(with_needs([], SUITES), SUITES)
        self.assertEqual(len({suite.name for suite in SUITES}), len(SUITES))
        targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ": " in line or line.endswith(":")}
        made = {suite.make.split()[0] for suite in SUITES}
        self.assertLessEqual(made, targets)
        self.assertEqual(made, {"build", "install", "check", "unit", "autobahn", "clients", "loadtest", "redis", "cluster", "examples", "deploy-check", "simulate", "docs"})

    def test_a_name_brings_its_parts_and_what_they_need(self):
        suites = [Suite("build", "", load=1), Suite("one", "", load=1, needs=("build",)), Suite("one-more", "", load=1), Suite("two", "", load=1)]
        self.assertEqual([suite.name for suite in with_needs(["one"], suites)], ["build", "one", "one-more"])
        self.assertEqual(with_needs(["two"], suites), [suites[3]])
        with self.assertRaises(SystemExit):
            with_needs(["on"], suites)

    def test_of_suites_in_parts_nothing_is_left_out(self):
        parts = {}
        for suite in SUITES:
            target, _, names = suite.make.partition(" SUITES=")
            if names:
                parts.setdefault(target, []).append(names.split())
        for target, lists in parts.items():
            (rest,) = [names for names in lists if names[0].startswith("-")]
            named = [name for names in lists if names is not rest for name in names]
            self.assertEqual(sorted(named), sorted(name[1:] for name in rest), target)


def runs(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # One that has ended and that nobody has waited for.
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


if __name__ == "__main__":
    unittest.main()
