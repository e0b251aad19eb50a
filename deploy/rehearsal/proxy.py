"""nginx in front of both tracks, with the share of each as its weight, as the ingress controller splits traffic."""

import math
import signal
import subprocess
import urllib.request
from pathlib import Path

from deploy.rehearsal.processes import free_port, wait_until

TRACK_HEADER = "x-track"

_CONFIGURATION = """\
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream service {{
{servers}
  }}
  map $upstream_addr $track {{
{tracks}
    default none;
  }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 8m;
    location = /weight {{ return 200 "{percent}\\n"; }}
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_read_timeout 60s;
      proxy_next_upstream off;  # as in ingress.yaml: a client gets the answer that there was
      add_header {header} $track always;
    }}
  }}
}}
"""


def configuration(*, directory: Path, port: int, stable: str, candidate: str | None, percent: int) -> str:
    """Write the configuration for one share; addresses are `host:port`."""
    addresses = {"stable": stable} | ({"candidate": candidate} if candidate else {})
    shares = dict(zip(addresses, shares_of(percent), strict=False))
    return _CONFIGURATION.format(
        directory=directory,
        port=port,
        percent=percent,
        header=TRACK_HEADER,
        servers="\n".join(
            f"    server {address} weight={shares[track]} max_fails=0;"
            for track, address in addresses.items()
            if shares[track]
        ),
        tracks="\n".join(f'    "{address}" {track};' for track, address in addresses.items()),
    )


def shares_of(percent: int) -> tuple[int, int]:
    """Return the smallest weights of stable and candidate in this proportion: 5 % is 19 to 1."""
    divisor = math.gcd(100 - percent, percent)
    return (100 - percent) // divisor, percent // divisor


class Proxy:
    """A running nginx; its weight changes by reload, which drops no request."""

    def __init__(self, directory: Path, *, stable: str) -> None:
        directory.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.percent = 0
        self._directory = directory
        self._stable = stable
        self._candidate: str | None = None
        self._write()
        command = ["nginx", "-e", str(directory / "nginx.log"), "-p", str(directory), "-c", str(self._file)]
        self._process = subprocess.Popen(command)
        wait_until(self._is_in_effect, what=f"nginx answers ({directory / 'nginx.log'})")

    def send(self, percent: int, candidate: str | None) -> None:
        """Send this share to the candidate; returns once new connections are split so."""
        self.percent, self._candidate = percent, candidate
        self._write()
        self._process.send_signal(signal.SIGHUP)
        wait_until(self._is_in_effect, what=f"nginx reloads ({self._directory / 'nginx.log'})")

    def stop(self) -> None:
        """End it once the running requests are answered."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=60)

    @property
    def _file(self) -> Path:
        return self._directory / "nginx.conf"

    def _write(self) -> None:
        text = configuration(
            directory=self._directory,
            port=self.port,
            stable=self._stable,
            candidate=self._candidate,
            percent=self.percent,
        )
        self._file.write_text(text)

    def _is_in_effect(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/weight", timeout=5) as response:
            return bool(response.read().strip() == str(self.percent).encode())
