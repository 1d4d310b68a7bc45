"""Servers for the length of a measurement, freshly started, and the load client against them."""

import importlib.machinery
import importlib.util
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build", "release")


def driver(name):
    """Another program of this folder, as a module."""
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(TOP, "perf", name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


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


def certificate(folder, kind="ecdsa"):
    """c.pem and k.pem in `folder`; as configuration: http_server.tls of a gateway."""
    sort = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", *sort, "-nodes", "-keyout", f"{folder}/k.pem", "-out",
                    f"{folder}/c.pem", "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
    return f'tls: {{enabled: true, cert_pem: "{folder}/c.pem", key_pem: "{folder}/k.pem"}}'


def stand_back():
    """A server's real-time priority, if there is one, is below that of who ends it."""
    if os.sched_getscheduler(0) == os.SCHED_FIFO:
        os.sched_setparam(0, os.sched_param(max(1, os.sched_getparam(0).sched_priority - 1)))


class Gateway:
    """with Gateway(build, config_text) as gateway: gateway.port, gateway.pid.
    "TLS" in the configuration becomes a certificate of its own."""

    def __init__(self, build, config, cpu="0", shards=1):
        self.folder = tempfile.mkdtemp(prefix="sluice-perf-", dir="/var/tmp")
        self.port = free_port()
        path = os.path.join(self.folder, "config.yaml")
        if "TLS" in config:
            config = config.replace("TLS", certificate(self.folder))
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        program = os.path.join(build, "sluice")
        if not os.access(program, os.X_OK):
            sys.exit(f"{program} is missing; build the release preset first")
        self.process = subprocess.Popen(
            [program, "serve", "--config", path, "--port", str(self.port), "--data",
             os.path.join(self.folder, "data"), "--shards", str(shards)] + (["--cpus", cpu] if cpu else []),
            preexec_fn=stand_back)
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


class Floor:
    """with Floor(build, "uring" or "epoll", kind) as floor: floor.port, floor.pid"""

    def __init__(self, build, kernel, kind, threads=1, cpu="0"):
        self.port = free_port()
        self.process = subprocess.Popen(
            ["taskset", "-c", cpu, os.path.join(build, f"perf/swarm/sluice-floor-{kernel}"), kind, str(self.port),
             str(threads)], preexec_fn=stand_back)
        self.pid = self.process.pid

    def __enter__(self):
        wait_for(self.port, self.process)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)


def swarm(build, server, *settings, shows=False, cpus="1", **more):
    """One run of sluice-swarm against `server` (its pid and port): its figures, flat.
    `shows`: a line a second of how far it is."""
    command = [os.path.join(build, "perf/swarm/sluice-swarm"), *settings, f"port={server.port}",
               *(f"{name}={value}" for name, value in more.items()), "--pid", str(server.pid),
               "--server-cpu", "0", "--cpu", cpus, "--json", *([] if shows else ["--quiet"])]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    figures = json.loads(done.stdout) if done.stdout else {"failure": "it said nothing"}
    if done.returncode != 0:
        raise RuntimeError(f"the load client failed: {figures['failure']}")
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
