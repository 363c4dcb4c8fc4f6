"""Reads a page of HTML for tests."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Element:
    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes, self.pieces = tag, attributes, []

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())


class Page(HTMLParser):
    """All elements of a page in order, each with the text in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.html, self.elements, self._open = page, [], []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(Element(tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        for element in self._open:
            element.pieces.append(data)

    def all(self, *tags: str) -> list[Element]:
        return [element for element in self.elements if element.tag in tags]

    def table(self, caption: str) -> list[list[str]]:
        """Texts of the rows of the table whose caption begins so."""
        start = next(
            place
            for place, each in enumerate(self.elements)
            if each.tag == "caption" and each.text.startswith(caption)
        )
        rows = []
        for element in self.elements[start + 1 :]:
            if element.tag == "table":
                break
            if element.tag == "tr":
                rows.append([])
            if element.tag in ("td", "th"):
                rows[-1].append(element.text)
        return rows
