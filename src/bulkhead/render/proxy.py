"""The way out for what fetches from elsewhere: containerd, and programs of ours that do."""

from __future__ import annotations

from bulkhead.render import read
from bulkhead.render.service import File, Service, Settings, Step
from bulkhead.render.text import HEAD, environment

PATH = "/etc/bulkhead/proxy.env"
# Never through a proxy: the machine itself.
LOCAL = ("localhost", "127.0.0.1", "::1")


def render(settings: Settings) -> tuple[File, ...]:
    """Return variables for `EnvironmentFile=`, in both spellings; nothing without a proxy."""
    proxy = read.text(settings, "network.https-proxy")
    if not proxy:
        return ()
    beside = dict.fromkeys((*LOCAL, *read.texts(settings, "network.no-proxy")))
    text = HEAD
    for name in ("HTTPS_PROXY", "https_proxy"):
        text += environment(name, proxy, "network.https-proxy")
    for name in ("NO_PROXY", "no_proxy"):
        text += environment(name, ",".join(beside), "network.no-proxy")
    # A proxy's URL may have a password in it.
    return (File(path=PATH, data=text.encode(), mode=0o600, secret=True),)


SERVICE = Service(
    name="proxy",
    keys=("network.https-proxy", "network.no-proxy"),
    render=render,
    files={"proxy-env": PATH},
    steps=(Step(verb="try-restart", unit="containerd.service"),),
)
