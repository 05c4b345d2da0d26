"""The pages on operations and Kubernetes: what they link to is there."""

import re
import unittest

from programs import DOCS

PAGES = ["operations.md", "kubernetes.md", "helm.md"]


class Links(unittest.TestCase):
    def test_files_and_headings_are_there(self):
        for page in PAGES:
            for link in re.findall(r"\]\(([^)]+)\)", (DOCS / page).read_text()):
                if link.startswith("http"):
                    continue
                with self.subTest(page, link=link):
                    file, _, heading = link.partition("#")
                    target = (DOCS / file).resolve() if file else DOCS / page
                    self.assertTrue(target.exists())
                    if heading:
                        self.assertIn(heading, headings(target.read_text()))


def headings(text):
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


if __name__ == "__main__":
    unittest.main()
