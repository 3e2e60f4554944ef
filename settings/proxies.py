"""The proxies before the service: whose `X-Forwarded-Proto` and `SCRIPT_NAME` are believed.

Guarantee: from any other address both are ignored, as is every spelling of them. gunicorn asks the open connection
(`gunicorn.conf.py`), and gives the service the result; Django reads no such header itself.
"""

from ipaddress import ip_network

from environs import ValidationError

from settings.environment import BadSetting, env


def _are_networks(networks: list[str]) -> None:
    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise ValidationError(f"{error}; name addresses and networks, such as 10.0.0.7,192.168.4.0/24") from error


TRUSTED_PROXIES: list[str] = env.list("TRUSTED_PROXIES", [], validate=_are_networks)

# Earlier releases believed every client if it was set.
if env.bool("BEHIND_TLS_PROXY", False) and not TRUSTED_PROXIES:
    raise BadSetting(
        "BEHIND_TLS_PROXY is replaced by TRUSTED_PROXIES: set that to the addresses or networks from which the proxy "
        "connects, such as TRUSTED_PROXIES=10.0.0.7, and remove BEHIND_TLS_PROXY."
    )
