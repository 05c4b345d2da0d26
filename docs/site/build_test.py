"""What the maker of the site promises: python3 docs/site/build_test.py"""

import pathlib
import tempfile
import unittest

import build

TABLE = "# Documentation\n\n| page | what |\n|---|---|\n| [One](one.md) | a |\n| [More](more/README.md) | b |\n"


class Site(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root, self.site = pathlib.Path(folder.name) / "root", pathlib.Path(folder.name) / "site"
        self.write("docs/README.md", TABLE)
        self.write("docs/more/README.md", "# More\n\n[back](../one.md#a-heading)\n")
        self.write("deploy/file.conf", "a file\n")
        for page in build.OF_THE_ROOT:
            self.write(page, f"# {page}\n\n[one](docs/one.md)\n")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def made(self, one):
        self.write("docs/one.md", f"# One\n\n## A heading\n\n{one}\n")
        build.build(self.root, self.site)
        wrong, pages = build.check(self.site / "html")
        self.assertGreater(pages, 6)
        return wrong

    def test_links_lead_to_pages_headings_and_files(self):
        self.assertEqual(self.made("[more](more/README.md) [here](#a-heading) [file](../deploy/file.conf) [about](../README.md) [out](https://example.com)"), [])
        page = (self.site / "html/one.html").read_text()
        for link in ("more.html", "#a-heading", "files/deploy/file.conf", "repository/about.html", "https://example.com"):
            self.assertIn(f'href="{link}"', page)
        self.assertEqual((self.site / "html/files/deploy/file.conf").read_text(), "a file\n")

    def test_a_link_to_a_folder_is_text(self):
        self.assertEqual(self.made("see [`deploy`](../deploy) there"), [])
        self.assertIn("see <code>deploy</code> there", (self.site / "html/one.html").read_text())

    def test_a_heading_that_is_not_there_is_told(self):
        (fault,) = self.made("[here](#another-heading)")
        self.assertIn("one.html: there is no heading #another-heading", fault)

    def test_a_page_that_is_not_there_ends_it(self):
        with self.assertRaises(SystemExit) as ended:
            self.made("[none](none.md)")
        self.assertIn("docs/one.md: there is no docs/none.md", str(ended.exception))

    def test_a_page_that_the_table_does_not_list_ends_it(self):
        self.write("docs/hidden.md", "# Hidden\n")
        with self.assertRaises(SystemExit) as ended:
            self.made("")
        self.assertIn("does not list docs/hidden.md", str(ended.exception))

    def test_code_stays_as_it_is(self):
        self.made("```\n[none](none.md)\n```\n\n`[none](none.md)`")
        self.assertEqual((self.site / "html/one.html").read_text().count("[none](none.md)"), 2)

    def test_it_can_be_searched_and_be_dark(self):
        self.made("")
        page = (self.site / "html/one.html").read_text()
        self.assertIn('id="mdbook-searchbar"', page)
        self.assertIn('const default_dark_theme = "navy"', page)


if __name__ == "__main__":
    build.install()
    unittest.main()
