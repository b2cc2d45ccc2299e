"""Blog posts: what is derived from the text that was written."""

from typing import Any

from pydantic import Field

from amrikyy.agents.agent import Result, TextResult, count_words
from amrikyy.agents.catalog.content import reading
from amrikyy.agents.catalog.content.requests import BlogPostRequest

EXCERPT_LENGTH = 300

META_DESCRIPTION_LENGTH = 155
"""Characters of a description that search engines show before they cut it; none of them promises a number."""


class ArticleHeading(Result):
    """One heading of a post's outline."""

    level: int = Field(description="Depth: 1 is the title, 2 a section, up to 6.")
    text: str = Field(description="The heading, markup removed.")


class KeywordUse(Result):
    """How a requested keyword is used."""

    keyword: str = Field(description="The keyword as it was requested.")
    count: int = Field(description="How often it occurs in the text as a whole word or phrase; case does not matter.")
    in_title: bool = Field(description="Whether the title has it.")
    density_percent: float = Field(description="Share of the text's words that are this keyword's, in percent.")


class BlogPost(TextResult):
    """A blog post, and what a content management system wants to know of it."""

    slug: str = Field(description="The title as the last part of a URL.")
    excerpt: str = Field(description="The first paragraph, plain, at most 300 characters.")
    meta_description: str = Field(description="The same for search engines, at most 155 characters.")
    headings: list[ArticleHeading] = Field(description="The outline, in order.")
    keywords: list[KeywordUse] = Field(description="Each requested keyword, also one that was not used.")
    target_words: int = Field(description="About how many words were asked for.")

    @classmethod
    def derive(cls, text: str, request: BlogPostRequest) -> dict[str, Any]:
        """Derive outline, excerpts and keywords from the text."""
        fields = super().derive(text, request)
        title = reading.plain(fields["title"])
        lines = reading.prose_lines(text)
        opening = reading.first_paragraph(lines)
        outline = [found for line in lines if "#" in line and (found := reading.heading_of(line))]
        return fields | {
            "title": title,
            "slug": reading.slugify(title, "post"),
            "excerpt": reading.shorten(opening, EXCERPT_LENGTH),
            "meta_description": reading.shorten(opening, META_DESCRIPTION_LENGTH),
            "headings": [{"level": level, "text": heading} for level, heading in outline],
            "keywords": _uses(request.keywords, lines, title, fields["word_count"]),
            "target_words": request.target_words,
        }


def _uses(keywords: list[str], lines: list[str], title: str, words: int) -> list[KeywordUse]:
    if not keywords:
        return []
    body, folded_title = reading.fold("\n".join(lines)), reading.fold(title)
    uses: list[KeywordUse] = []
    for keyword in keywords:
        count = reading.count_phrase(keyword, body)
        share = count * max(1, count_words(keyword)) / words if words else 0.0
        in_title = reading.count_phrase(keyword, folded_title) > 0
        uses.append(KeywordUse(keyword=keyword, count=count, in_title=in_title, density_percent=round(100 * share, 2)))
    return uses
