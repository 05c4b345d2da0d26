"""Plants what the check of names is to find, and what it is to let pass."""

import unittest

from check import Glossary, faults, words

PAGE = """
| word | meaning |
|---|---|
| node | one process |
| room, namespace | as in Socket.IO |

| not | but | where |
|---|---|---|
| `instance`, `roll` | `node` | everywhere |
| `place` | `room` | `gateway/src/peers` |
| `manager` | what it is or does | everywhere |

| name | types | reason |
|---|---|---|
| `Config` | `adapter/src/config.rs`, `gateway/src/config.rs` | each crate has one |
"""

CONFIGS = {"adapter/src/config.rs": "pub struct Config;", "gateway/src/config.rs": "pub struct Config {}"}


class Names(unittest.TestCase):
    def found(self, files, page=PAGE):
        return list(faults(Glossary(page), {**CONFIGS, **files}))

    def test_names_of_the_page_are_right(self):
        self.assertEqual(self.found({"gateway/src/a.rs": "struct Node { place: u8 }\nfn manage() {}\nlet instance = 1;"}), [])

    def test_a_word_that_is_not_used_is_found_wherever_something_is_named(self):
        for text in ["struct NodeInstance;", "enum Roll {}", "fn new_instances() {}", "mod instance;", "const ROLL: u8 = 1;", "trait SocketManager {}", "struct A {\n    pub(crate) instance: u8,\n}"]:
            found = self.found({"gateway/src/a.rs": text})
            self.assertEqual(len(found), 1, (text, found))
        self.assertEqual(self.found({"gateway/src/a.rs": "\nstruct Roll;"}), ["gateway/src/a.rs:2: Roll: the word for 'roll' is `node`"])

    def test_a_word_may_be_wrong_in_one_room(self):
        self.assertEqual(self.found({"gateway/src/config/a.rs": "struct Place;"}), [])
        self.assertEqual(len(self.found({"gateway/src/peers/a.rs": "struct Place;"})), 1)

    def test_comments_strings_and_tests_name_nothing(self):
        text = '// struct Roll;\nconst A: &str = "struct Roll";\n#[cfg(test)]\nmod tests { struct Roll; }'
        self.assertEqual(self.found({"gateway/src/a.rs": text}), [])

    def test_two_public_types_of_one_name_are_found(self):
        found = self.found({"gateway/src/a.rs": "pub enum Twin {}", "protocol/src/b.rs": "pub struct Twin;"})
        self.assertEqual(len(found), 1)
        self.assertIn("2 public types are called Twin: gateway/src/a.rs, protocol/src/b.rs", found[0])
        self.assertEqual(self.found({"gateway/src/a.rs": "pub(crate) enum Twin {}", "protocol/src/b.rs": "pub struct Twin;"}), [])

    def test_a_third_type_of_a_listed_name_is_found(self):
        self.assertIn("3 public types are called Config", self.found({"loadtest/src/config.rs": "pub struct Config;"})[0])

    def test_a_listed_name_that_is_gone_is_found(self):
        self.assertIn("lists Config", list(faults(Glossary(PAGE), {"gateway/src/config.rs": "pub struct Config;"}))[0])

    def test_what_is_said_in_place_is_a_term(self):
        self.assertEqual(list(Glossary(PAGE).faults()), [])
        self.assertEqual(len(list(Glossary(PAGE.replace("| `room` |", "| `spot` |")).faults())), 1)

    def test_names_are_taken_apart(self):
        self.assertEqual(words("HTTPRequestId"), ["http", "request", "id"])
        self.assertEqual(words("MAX_ROOMS"), ["max", "rooms"])


if __name__ == "__main__":
    unittest.main()
