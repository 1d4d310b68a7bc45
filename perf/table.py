#!/usr/bin/python3
"""The table of figures: each line with its goal, ours, the floors', and their ratio.

tools/bench builds what this needs and runs it; perf/README.md says how things are measured.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time

import history
from gateway import BUILD, Floor, Gateway, driver, medians, swarm

CONFIG = """\
client: {{queue_max_size: 16MiB, token: {{hmac_secret_key: "{secret}"}}}}
http_server: {{address: "0.0.0.0"{tls}}}
log: {{level: error}}
storage: {{engine: {engine}}}
debug: {{echo: true}}
shards: {{connections_max: 19000}}
channel:
  without_namespace: {{allow_subscribe_for_client: true, allow_publish_for_subscriber: true{channel}}}
"""
SECRET = "the-load-client-signs-its-tokens-with-this"
KERNELS = ("epoll", "uring")
RELAY = {"wire": "relay", "path": "/"}


def config(tls="", engine="memory", channel=""):
    return CONFIG.format(secret=SECRET, tls=tls, engine=engine, channel=channel)


class Late(Exception):
    """The stated time is over."""


class Run:
    """What was asked for, and where the run of all lines stands."""

    def __init__(self, options):
        self.options = options
        self.ends = None
        self.line = ""
        self.others = []  # CPUs that other programs used, by measurement

    def say(self, text):
        print(f"  {self.line}: {text}", file=sys.stderr, flush=True)

    def rounds(self, count=None):
        """Numbers of rounds, as long as there is time; the first always."""
        count = self.options.rounds if count is None else min(count, self.options.rounds)
        for number in range(count):
            if number > 0 and time.monotonic() > self.ends:
                self.say(f"out of time after {number} of {count} rounds")
                return
            yield number

    def seconds(self):
        return {"warm_up": 0.3, "seconds": 1}

    def measure(self, server, **settings):
        """One run of the load client, and what the rest of the machine did meanwhile."""
        settings = {"secret": SECRET, "spin": "true", **settings, **dict(pair.split("=", 1) for pair in self.options.settings)}
        idle, own, began = idle_seconds(), own_seconds(), time.monotonic()
        with server:
            figures = swarm(self.options.build, server, **settings)
        took = time.monotonic() - began
        busy = took * os.cpu_count() - (idle_seconds() - idle)
        self.others.append(max(0.0, (busy - (own_seconds() - own)) / took))
        return figures


def idle_seconds():
    with open("/proc/stat", encoding="utf-8") as file:
        fields = file.readline().split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --- lines against the floor ---------------------------------------------------------------------


def compare(run, kind, value, ours, floor, conf, rounds=None, shards=1):
    """Rounds of gateway and floors by turns.  `value` names the figure; `ours` and `floor` are the settings
    of the load client, which does the same for both: the floors' frames are as the gateway would push them."""
    results = {"sluice": [], "epoll": [], "uring": []}
    order = ["sluice", *KERNELS]
    for number in run.rounds(rounds):
        for name in order[number % 3:] + order[:number % 3] if number > 0 else order:
            if name == "sluice":
                figures = run.measure(Gateway(run.options.build, conf, shards=shards), **ours)
            else:
                server = Floor(run.options.build, name, kind, shards)
                figures = run.measure(server, **{**ours, **floor})
            results[name].append(figures)
            run.say(f"round {number + 1}, {name:6} {text_of(figures[value])}")
    return judged(results, value)


def judged(results, value):
    """Medians, and the median ratio of neighbours to the better floor."""
    middle = {name: statistics.median(f[value] for f in rounds) for name, rounds in results.items()}
    better = min(KERNELS, key=lambda name: middle[name])
    ratios = [a[value] / b[value] for a, b in zip(results["sluice"], results[better])]
    figures = medians(results["sluice"])
    return {"ours": middle["sluice"], "epoll": middle["epoll"], "uring": middle["uring"],
            "ratio": statistics.median(ratios), "range": [min(ratios), max(ratios)], "rounds": len(ratios),
            "more": {"gathered": figures["gathered"], "floor_gathered": medians(results[better])["gathered"],
                     "frame_bytes": [round(figures["bytes_per_unit"], 1),
                                     round(medians(results[better])["bytes_per_unit"], 1)],
                     "user_percent": figures["user_percent"], "p99_us": figures["p99_us"], "resumed": figures["resumed"],
                     "floor_p99_us": medians(results[better])["p99_us"]}}


def fanout(run, clients, channels=1, in_flight=1, rate=0, engine="memory"):
    pace = {"rate": rate} if rate else {"in_flight": in_flight}
    ours = {"kind": "fanout", "clients": clients, "channels": channels, "payload": 128, **pace, **run.seconds()}
    kept = ", history_size: 1000, history_ttl: 1h" if engine == "embedded" else ""
    return compare(run, "broadcast", "server_ns", ours, RELAY, config(engine=engine, channel=kept))


def echo(run, clients):
    ours = {"kind": "echo", "wire": "plain", "path": "/debug/echo", "clients": clients, "payload": 128,
            **run.seconds()}
    return compare(run, "echo", "server_ns", ours, {}, config())


def connect(run, tls="off", is_bare=False):
    """Connections a second do not matter: CPU from accept to ready, for 10,000 of them.  By TLS 4,000, as many
    resumed as whole: the more there are, the more fresh memory each one costs."""
    clients = 2000 if run.options.short else 10000 if tls == "off" else 4000
    conf = config(tls="" if tls == "off" else ", TLS")
    ours = {"kind": "connect", "clients": clients, "channels": 100, "opening": 256, "tls": tls}
    if is_bare:
        ours["wire"] = "plain"
    floor = {"wire": "plain", "path": "/", "tls": "off"}
    return compare(run, "idle", "connect_us", ours, floor, conf)


# --- fleets --------------------------------------------------------------------------------------


def idle_bytes(run, case):
    fleet = driver("fleet")
    counts = (4000, 16000) if case == "tls" else (10000, 30000) if run.options.short else (20000, 100000)
    options = argparse.Namespace(build=run.options.build, shards=8)
    few, many = (fleet.run(options, case, count, 1) for count in counts)
    return {"ours": (many["resident"] - few["resident"]) / (counts[1] - counts[0]), "rounds": 1,
            "more": {"from": counts[0], "to": counts[1]}}


def idle_cpu(run):
    """CPU seconds a second for all of them; each is pinged once in the 25 s that are measured."""
    clients = 12000 if run.options.short else 100000
    processes = -(-clients // 16000)
    ours = {"kind": "idle", "clients": clients, "channels": 100, "processes": processes, "addresses": processes,
            "opening": 256, "warm_up": 25, "seconds": 25, "patience": 120, "spin": "false"}
    return compare(run, "idle", "server_cpus", ours, {"wire": "plain", "path": "/"}, config(), rounds=3, shards=6)


def largest(run):
    """As many as it is said to hold, in one process, pinged and answered for a minute."""
    fleet = driver("fleet")
    clients = 20000 if run.options.short else 1000000
    with open("/proc/meminfo", encoding="utf-8") as file:
        free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    if free < clients * 12000:
        raise RuntimeError(f"{clients:,} connections and their clients take {clients * 12 // 10**6} GB; "
                           f"{free // 10**9} GB are free")
    shards = max(2, -(-clients // 16000))
    figures = fleet.run(argparse.Namespace(build=run.options.build, shards=shards), "base", clients,
                        5 if run.options.short else 60)
    return {"ours": clients, "rounds": 1,
            "more": {"shards": shards, "pings": figures["pings"], "server_cpus": figures["server_cpus"],
                     "idle_bytes": figures["idle_bytes"], "closed": figures["closed"]}}


# --- latency, shards -----------------------------------------------------------------------------


def latency(run, shards):
    """Half of a CPU's worth of deliveries, by what one cost one at a time, at a set rate."""
    base = {"kind": "fanout", "clients": 1000, "channels": 1, "payload": 128, **run.seconds()}
    cpus = "0" if shards == 1 else "0-1"
    if shards > 1:
        base["spin"] = "false"  # the second shard wants the client's CPU as well

    def gateway():
        return Gateway(run.options.build, config(), cpu=cpus, shards=shards)

    results = {"sluice": [], "epoll": [], "uring": []}
    rate = None
    for number in run.rounds():
        if rate is None:
            alone = run.measure(gateway(), **base, in_flight=1)
            rate = 0.5e9 / alone["server_ns"] / 1000
        for name, rounds in results.items():
            server = gateway() if name == "sluice" else Floor(run.options.build, name, "broadcast")
            floor = {} if name == "sluice" else RELAY
            rounds.append(run.measure(server, **base, rate=f"{rate:.0f}", **floor))
            run.say(f"round {number + 1}, {name:6} p50, p99, p99.9 {times_of(rounds[-1])} us")
    middle = {name: medians(rounds) for name, rounds in results.items()}
    better = min(KERNELS, key=lambda name: middle[name]["p99_us"])
    ratios = [a["p99_us"] / b["p99_us"] for a, b in zip(results["sluice"], results[better])]
    return {"ours": middle["sluice"]["p99_us"], "epoll": middle["epoll"]["p99_us"],
            "uring": middle["uring"]["p99_us"], "ratio": statistics.median(ratios),
            "range": [min(ratios), max(ratios)], "rounds": len(ratios),
            "more": {"deliveries_per_s": rate * 1000, "server_cpus": middle["sluice"]["server_cpus"],
                     **{f"{name}_us": times_of(middle[name]) for name in results}}}


def times_of(figures):
    return " / ".join(f"{figures[q]:.0f}" for q in ("p50_us", "p99_us", "p999_us"))


def crossing(run, clients, channels, in_flight):
    """Two shards beside one, all on CPU 0, so that a delivery differs by the crossing alone."""
    base = {"kind": "fanout", "clients": clients, "channels": channels, "payload": 128, "in_flight": in_flight,
            **run.seconds()}
    results = {"one": [], "two": []}
    for number in run.rounds():
        for shards, name in enumerate(results, 1):
            figures = run.measure(Gateway(run.options.build, config(), shards=shards), **base)
            results[name].append(figures)
            run.say(f"round {number + 1}, {name:6} {text_of(figures['server_ns'])}")
    ratios = [a["server_ns"] / b["server_ns"] for a, b in zip(results["two"], results["one"])]
    middle = {name: medians(rounds) for name, rounds in results.items()}
    return {"ours": middle["two"]["server_ns"], "one_shard": middle["one"]["server_ns"],
            "ratio": statistics.median(ratios), "range": [min(ratios), max(ratios)], "rounds": len(ratios),
            "more": {"gathered": {name: round(middle[name]["gathered"], 2) for name in results}}}


# --- what other drivers measure ------------------------------------------------------------------


def flood(run, shape):
    module = driver("flood")
    options = module.options_parser().parse_args([])
    rounds = [module.run(options, run.options.build, shape) for _ in run.rounds()]
    return {"ours": statistics.median(r["units_per_s"] for r in rounds), "rounds": len(rounds),
            "more": {key: statistics.median(r[key] for r in rounds) for key in ("shard_ns", "server_ns", "p99_us")}}


def comeback(run, channels):
    module = driver("comeback")
    options = module.options_parser().parse_args([])
    rounds = [module.run(options, run.options.build, channels) for _ in run.rounds()]
    return {"ours": statistics.median(r["server_ns"] * r["clients"] * 1e-9 for r in rounds), "rounds": len(rounds)}


# --- the table -----------------------------------------------------------------------------------

# name, figure, unit, how the goal reads, its bound (ratio <=, ours <= or ours >=), seconds it may take, what runs
NS, US = "ns a delivery", "us a connection"
LINES = [
    ("fanout-1000", "fan-out 1 x 1,000, one at a time", NS, "ratio", 1.08, 120, lambda run: fanout(run, 1000)),
    ("fanout-10000", "fan-out 1 x 10,000", NS, "ratio", 1.05, 150, lambda run: fanout(run, 10000)),
    ("gathered", "16 messages in flight, 1 x 1,000", NS, "ratio", 1.05, 120, lambda run: fanout(run, 1000, 1, 16)),
    ("rooms", "900 channels x 10, publishes spread", NS, "ratio", 1.06, 150,
     lambda run: fanout(run, 9000, 900, rate=8000)),
    ("echo-100", "echo, 100 connections", "ns a message", "ratio", 1.05, 120, lambda run: echo(run, 100)),
    ("echo-10000", "echo, 10,000 connections", "ns a message", "ratio", 1.05, 150, lambda run: echo(run, 10000)),
    ("upgrade", "upgrade alone", US, "ratio", 1.2, 90, lambda run: connect(run, is_bare=True)),
    ("connect", "upgrade, connect with token, subscribe", US, "ratio", 3, 90, connect),
    ("tls-resumed", "the same by TLS, resumed", US, "ratio", None, 90, lambda run: connect(run, "resumed")),
    ("tls-full", "the same by TLS, whole handshakes", US, "ratio", None, 90, lambda run: connect(run, "full")),
    ("idle-bytes", "idle, plain", "bytes a connection", "most", 256, 90, lambda run: idle_bytes(run, "base")),
    ("idle-bytes-tls", "idle, TLS", "bytes a connection", "most", 17000, 90, lambda run: idle_bytes(run, "tls")),
    ("idle-cpu", "100,000 idle, pinged each 25 s", "CPUs", "ratio", 1.3, 720, idle_cpu),
    ("fleet", "largest fleet in one process, 60 s", "connections", "least", 1000000, 400, largest),
    ("latency-1", "half load, one shard, p99", "us", "ratio", None, 120, lambda run: latency(run, 1)),
    ("latency-2", "half load, two shards, p99", "us", "ratio", None, 120, lambda run: latency(run, 2)),
    ("crossing-1000", "two shards beside one, 1 x 1,000", NS, "ratio", 1.15, 120,
     lambda run: crossing(run, 1000, 1, 16)),
    ("crossing-rooms", "two shards beside one, 900 x 10", NS, "ratio", 1.2, 150,
     lambda run: crossing(run, 9000, 900, 1)),
]
# Not of the table: run when they are named.
OTHERS = [
    ("durable-1000", "fan-out 1 x 1,000, in the log before delivery", NS, "ratio", None, 120,
     lambda run: fanout(run, 1000, engine="embedded")),
    ("send", "durable publications, one a frame", "acks a second", "least", 150000, 90,
     lambda run: flood(run, "64:1:8")),
    ("send-16", "durable publications, sixteen a frame", "acks a second", "least", 400000, 90,
     lambda run: flood(run, "16:16:2")),
    ("comeback", "10,000 return, 100 missed each, 100 channels", "CPU seconds", "most", 0.8, 120,
     lambda run: comeback(run, 100)),
]
SHORT_LEAVES_OUT = ("idle-cpu", "fleet", "crossing-rooms")


def text_of(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def goal_of(how, bound):
    return "reported" if bound is None else f"<= {bound:g} x" if how == "ratio" else \
        f"{'<=' if how == 'most' else '>='} {bound:,}"


def is_met(how, bound, result):
    if bound is None or "error" in result:
        return None
    return {"ratio": lambda: result["ratio"] <= bound, "most": lambda: result["ours"] <= bound,
            "least": lambda: result["ours"] >= bound}[how]()


def row(line, result):
    _, figure, unit, how, bound, _, _ = line
    if "error" in result:
        return f"| {figure} | {goal_of(how, bound)} | | | | | not measured: {result['error']} |"
    ratio = f"{result['ratio']:.2f} ({result['range'][0]:.2f}-{result['range'][1]:.2f})" if "ratio" in result else ""
    verdict = {True: "met", False: "missed", None: ""}[is_met(how, bound, result)]
    return (f"| {figure} | {goal_of(how, bound)} | {text_of(result['ours'])} {unit} | {text_of(result.get('epoll'))} "
            f"| {text_of(result.get('uring', result.get('one_shard')))} | {ratio} | {verdict} |")


def parse():
    parser = argparse.ArgumentParser(
        prog="tools/bench", description="Measures the lines of the table, each against the floor, by turns.",
        epilog="lines: " + " ".join(line[0] for line in LINES) + "; only when named: " +
               " ".join(line[0] for line in OTHERS) + ".  name=value goes to the load client.")
    parser.add_argument("words", nargs="*", metavar="LINE|name=value", help="all lines of the table when none is named")
    parser.add_argument("--short", action="store_true", help="one short round of each: a look, no evidence")
    parser.add_argument("--first", action="store_true",
                        help="scheduled before all other programs (real time), where the machine cannot be quiet")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--build", default=BUILD, help=argparse.SUPPRESS)
    parser.add_argument("--no-history", action="store_true", help="perf/results/ stays as it is")
    options = parser.parse_args()
    options.settings = [word for word in options.words if "=" in word]
    names = [word for word in options.words if "=" not in word]
    known = {line[0]: line for line in LINES + OTHERS}
    for name in names:
        if name not in known:
            parser.error(f"no such line: {name}")
    options.rounds = 1 if options.short else options.rounds
    options.lines = [known[name] for name in names] or \
        [line for line in LINES if not options.short or line[0] not in SHORT_LEAVES_OUT]
    return options


def main():
    options = parse()
    run = Run(options)
    if options.first:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))  # servers and clients inherit it
    may_take = sum(line[5] for line in options.lines) / (6 if options.short else 1)
    print(f"{len(options.lines)} lines, {options.rounds} rounds each; at most {may_take / 60:.0f} minutes\n",
          file=sys.stderr, flush=True)
    results, recorded = {}, "Not recorded."
    table = ["| figure | goal | ours | floor, epoll | floor, io_uring (crossing: one shard) | ratio (range) | |",
             "|---|---|---|---|---|---|---|"]
    for line in options.lines:
        run.line = line[0]
        run.ends = time.monotonic() + line[5] * 0.8
        began, before = time.monotonic(), len(run.others)
        try:
            result = line[6](run)
            result["met"] = is_met(line[3], line[4], result)
            if run.others[before:]:
                result["others_cpus"] = round(statistics.median(run.others[before:]), 2)
        except (RuntimeError, OSError) as error:
            result = {"error": str(error)}
        results[line[0]] = result
        if not (options.short or options.no_history or options.settings):
            recorded = history.record(results, run.others)
        table.append(row(line, result))
        run.say(f"{table[-1]} in {time.monotonic() - began:.0f} s {json.dumps(result.get('more', {}))}")
    print("\n" + "\n".join(table))
    others = statistics.median(run.others) if run.others else 0
    print(f"\n{'One short round: a look, no evidence.  ' if options.short else ''}"
          f"Other programs used {others:.2f} CPUs meanwhile"
          f"{'; above 0.1 these figures say little.' if others > 0.1 else '.'}")
    print(recorded)
    sys.exit(1 if any("error" in result for result in results.values()) else 0)


if __name__ == "__main__":
    main()
