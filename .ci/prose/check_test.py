"""Plants sentences that the check of the prose is to find, and some that it is to let pass."""

import unittest

import rules
from check import faults
from text import markdown, paragraph, rust

FORBIDDEN = {"own room": "private room"}
GLOSSARY = """
## Things

| word | meaning | not |
|---|---|---|
| private room | the room of a socket's id | own room, self room |
| node | one process | |

## Names

| not | but | where |
|---|---|---|
| conn | session | everywhere |
"""
LONG = "The gateway sends " + "no " * 22 + "bytes."


class Prose(unittest.TestCase):
    def found(self, text, name="NOTES.md"):
        kind = "code" if name.endswith(".rs") else "page"
        return [fault for _, fault in faults(name, kind, text, FORBIDDEN)]

    def one(self, text, part, name="NOTES.md"):
        found = self.found(text, name)
        self.assertEqual(len(found), 1, (text, found))
        self.assertIn(part, found[0])

    def test_plain_sentences_pass(self):
        for text in [
            "The gateway closes the session.",
            "If a client takes nothing, the gateway closes its session. It counts the close.",
            "A setting that is set twice is an error.",
            "A limit is called `limits.connections`.",
            "Who is there?",
            "| a node is killed | the others miss it |",
            "```\nEverything is allowed in here, whoever says it.\n```",
            "`whoever` and `of course`",
            "See [the page](https://example.com/whoever).",
        ]:
            self.assertEqual(self.found(text), [], text)

    def test_a_long_sentence_is_found(self):
        self.one(LONG, "26 words, 25 at most")
        self.one(f"- {LONG}", "26 words")
        self.one(f"| a | {LONG} |", "26 words")
        self.assertEqual(self.found(LONG.replace("no no bytes", "no. No bytes")), [])
        self.assertEqual(self.found(LONG.replace("no no bytes", "`no no` bytes")), [])

    def test_a_passive_opening_is_found(self):
        for text in [
            "The session is closed.",
            "Requests for other nodes are then forwarded to them.",
            "It cannot be read.",
            "- Keys were not found.",
            "| a | The message is dropped and counted |",
            "It ends. **Nothing** is lost.",
        ]:
            self.one(text, "begins with a passive")

    def test_a_riddle_is_found(self):
        for text in ["What waits goes first.", "Who comes late gets 503."]:
            self.one(text, "begins with a riddle")

    def test_words_and_chains_are_found(self):
        self.one("The node tells whoever asks.", "“whoever”: name the actor")
        self.one("In order to stop, press Ctrl-C.", "“in order to”: to")
        self.one("It names the end of the queue of messages of the node.", "a chain of three")
        self.one("A socket is in its own room.", "“own room” is “private room”")

    def test_the_shape_of_a_page(self):
        self.one("# Page\n\n" + "A word more. " * 12, "a line of 1")
        self.one("# Page\n\n# Another\n\nText.", "a second title")
        self.one("# Page\n\nThis page explains.", "After this page you", "docs/page.md")
        self.assertEqual(self.found("# Page\n\nAfter this page you can run it.", "docs/page.md"), [])
        self.one("```console\ngateway\n```", "begins with a command")
        self.assertEqual(self.found("```console\n$ gateway\nlistening\n```"), [])

    def test_doc_comments_have_fewer_rules(self):
        self.assertEqual(self.found("/// What is asked.\nstruct A;", "a.rs"), [])
        self.assertEqual(self.found("// Whoever reads this.\nlet a = 1;", "a.rs"), [])
        self.one("//! For whoever asks.", "“whoever”", "a.rs")
        self.one("/// " + LONG.replace("sends", "sends no no no no no") + "\nfn a() {}", "31 words, 30", "a.rs")
        self.assertEqual(self.found("struct A;\n#[cfg(test)]\nmod tests {\n/// For whoever asks.\n}", "a.rs"), [])

    def test_the_glossary_is_read(self):
        self.assertEqual(rules.glossary(GLOSSARY), {"own room": "private room", "self room": "private room"})

    def test_a_link_to_nothing_is_found(self):
        pages = {"docs/a.md": "# A\n\n[b](b.md#what-debug-shows-here), [a](#a), [c](../c.rs), [w](https://w.example/x.md)\n", "docs/b.md": "## What `DEBUG=` shows, here\n"}
        self.assertEqual(list(rules.links("docs/a.md", pages, {"docs/a.md", "docs/b.md", "c.rs"}.__contains__)), [])
        for link, part in [("d.md", "there is no docs/d.md"), ("b.md#none", "docs/b.md has no such heading"), ("#none", "docs/a.md has no such heading")]:
            found = list(rules.links("docs/a.md", {**pages, "docs/a.md": f"# A\n\n[x]({link})"}, {"docs/a.md", "docs/b.md"}.__contains__))
            self.assertEqual(len(found), 1, link)
            self.assertIn(part, found[0][1])

    def test_sentences_know_their_lines(self):
        text = "One is `a.\nB` here. Two.\n\n- Three,\n  and more. Four.\n"
        self.assertEqual([(it.line, it.text) for it in markdown(text)], [(1, "One is CODE here."), (2, "Two."), (4, "Three, and more."), (5, "Four.")])
        text = "fn a() {}\n\n/// One.\n///\n/// Two\n/// lines.\nfn b() {}\n"
        self.assertEqual([(it.line, it.text) for it in rust(text)], [(3, "One."), (5, "Two lines.")])
        self.assertEqual([it.text for it in paragraph([(1, "See e.g. Redis. It **works.** Yes")], "prose")], ["See e.g. Redis.", "It works.", "Yes"])


if __name__ == "__main__":
    unittest.main()
