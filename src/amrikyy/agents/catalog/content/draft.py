"""The base of what a model is asked for; a result adds what code computes."""

from pydantic import ConfigDict

from amrikyy.agents.agent import Result


class Draft(Result):
    """Base of every draft: white space around a text is no content, so it counts for no minimum length."""

    model_config = ConfigDict(str_strip_whitespace=True)
