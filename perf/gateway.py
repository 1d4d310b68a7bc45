"""A gateway for the length of a measurement: freshly started, in a folder of its own."""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "build", "release")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process):
    for _ in range(500):
        if process.poll() is not None:
            sys.exit("the server ended")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit("the server does not listen")


class Gateway:
    """with Gateway(build, config_text) as gateway: gateway.port, gateway.pid"""

    def __init__(self, build, config, cpu="0", shards=1):
        self.folder = tempfile.mkdtemp(prefix="sluice-perf-", dir="/var/tmp")
        self.port = free_port()
        path = os.path.join(self.folder, "config.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        program = os.path.join(build, "sluice")
        if not os.access(program, os.X_OK):
            sys.exit(f"{program} is missing; build the release preset first")
        self.process = subprocess.Popen(
            [program, "serve", "--config", path, "--port", str(self.port), "--data",
             os.path.join(self.folder, "data"), "--shards", str(shards)] + (["--cpus", cpu] if cpu else []))
        self.pid = self.process.pid

    def __enter__(self):
        wait_for(self.port, self.process)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def swarm(build, server, *settings, **more):
    """One run of sluice-swarm against `server` (its pid and port): its figures, flat."""
    command = [os.path.join(build, "perf/swarm/sluice-swarm"), *settings, f"port={server.port}",
               *(f"{name}={value}" for name, value in more.items()), "--pid", str(server.pid),
               "--server-cpu", "0", "--cpu", "1", "--json", "--quiet"]
    figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    for quantile, value in figures["latency_us"].items():
        figures[f"{quantile}_us"] = value
    return figures


def medians(rounds):
    """The median of each figure of several rounds."""
    return {key: statistics.median(r[key] for r in rounds)
            for key, value in rounds[0].items() if isinstance(value, (int, float))}


def spread(rounds, key):
    values = [r[key] for r in rounds]
    return f"{min(values):.0f}-{max(values):.0f}"
