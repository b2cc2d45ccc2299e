"""What the offline model answers: drafts made from the request alone, the same for the same request."""

from amrikyy.agents.catalog.innovation.samples.business import canvas
from amrikyy.agents.catalog.innovation.samples.judgement import validation
from amrikyy.agents.catalog.innovation.samples.market import trends
from amrikyy.agents.catalog.innovation.samples.proposals import ideas
from amrikyy.agents.catalog.innovation.samples.rivals import competitors

__all__ = ["canvas", "competitors", "ideas", "trends", "validation"]
