"""Plants what the check of the rooms is to find, and what it is to let pass."""

import tempfile
import unittest
from pathlib import Path

from check import faults
from imports import Crate, leaves, plain

ROOMS = ["top", "middle", "bottom"]


class Rooms(unittest.TestCase):
    def found(self, files, debts=frozenset(), most=2):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                file = Path(folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            return list(faults(Crate(folder), ROOMS, set(debts), most))

    def test_down_is_allowed(self):
        files = {"lib.rs": "mod top; mod bottom;", "top.rs": "mod a;", "top/a.rs": "use crate::bottom::x::X;", "bottom.rs": "pub mod x;", "bottom/x.rs": "pub struct X;"}
        self.assertEqual(self.found(files), [])

    def test_an_arrow_up_is_found(self):
        spellings = [
            "use crate::top::a::A;",
            "use crate::{bottom::y, top::a::{self, A}};",
            "pub(crate) use super::super::top::a::A;",
            "fn f() -> crate::top::a::A { todo!() }",
            "use crate::A;",
        ]
        for spelling in spellings:
            files = {"lib.rs": "mod top;\npub use top::a::A;", "top.rs": "pub mod a;", "top/a.rs": "pub struct A;", "bottom.rs": "mod x;", "bottom/x.rs": spelling}
            found = self.found(files)
            self.assertEqual(len(found), 1, (spelling, found))
            self.assertIn("top is above bottom", found[0])

    def test_what_is_no_import_is_none(self):
        for text in ["// use crate::top::a;", '/* /* */ use crate::top::a; */', 'const S: &str = "crate::top::a";', 'const S: &str = r#"" crate::top::a"#;', "#[cfg(test)]\nmod tests { use crate::top::a; }", "/// [`a`](crate::top::a)"]:
            files = {"top.rs": "pub mod a;", "top/a.rs": "", "bottom.rs": "mod x;", "bottom/x.rs": text}
            self.assertEqual(self.found(files), [], text)

    def test_a_debt_is_let_pass_until_it_is_paid(self):
        files = {"top.rs": "", "bottom.rs": "mod x;", "bottom/x.rs": "use crate::top;"}
        self.assertEqual(self.found(files, {"bottom::x -> top"}), [])
        files["bottom/x.rs"] = ""
        self.assertEqual(self.found(files, {"bottom::x -> top"}), ["bottom::x -> top runs up no more: take it out of DEBTS"])

    def test_a_large_circle_is_found(self):
        files = {"middle.rs": "mod a; mod b; mod c;", "middle/a.rs": "use super::b;", "middle/b.rs": "use super::c;", "middle/c.rs": ""}
        self.assertEqual(self.found(files), [])
        files["middle/c.rs"] = "use super::a;"
        found = self.found(files)
        self.assertEqual(len(found), 1)
        self.assertIn("a circle of 3 files", found[0])
        self.assertEqual(self.found(files, most=3), [])

    def test_a_file_without_a_room_is_found(self):
        self.assertIn("is in no room", self.found({"attic.rs": ""})[0])

    def test_trees_and_plain_text(self):
        self.assertEqual(list(leaves("a::{b, c::{d as e, self}, f}")), ["a::b", "a::c::d", "a::c::self", "a::f"])
        self.assertEqual(plain("let a = 'x'; 'b: loop {}").split(), ["let", "a", "=", ";", "'b:", "loop", "{}"])


if __name__ == "__main__":
    unittest.main()
