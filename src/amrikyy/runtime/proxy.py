"""The forward proxy of the settings, for whatever goes out."""

from amrikyy.http_client import Proxy
from amrikyy.settings import ConfigurationError, Settings


def proxy_of(settings: Settings) -> Proxy | None:
    """The proxy of HTTPS_PROXY; None without one.

    Raises:
        ConfigurationError: it is no URL of a proxy.
    """
    if settings.https_proxy is None:
        return None
    try:
        return Proxy.parse(settings.https_proxy.get_secret_value(), settings.no_proxy)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
