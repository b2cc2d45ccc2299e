"""What the offline model answers: texts and drafts made from the request alone, the same for the same request."""

from amrikyy.agents.catalog.content.samples.blog import blog_post
from amrikyy.agents.catalog.content.samples.calendar_entries import calendar
from amrikyy.agents.catalog.content.samples.claims import research
from amrikyy.agents.catalog.content.samples.posts import social_posts
from amrikyy.agents.catalog.content.samples.script import video_script

__all__ = ["blog_post", "calendar", "research", "social_posts", "video_script"]
