#!/usr/bin/env python3
"""Sends messages through WebSocket-like tunnels of reverse proxies side by side, and prints what each message costs them. See README.md."""

import argparse
import os
import select
import socket
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import proxies
import servers
from process import ServerFailed, Tree, free_port
from run import shared_arguments

CONNECTIONS = 50
MESSAGE = 64
"""Octets of a message, its frame included."""
TICK = 0.005


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", nargs="+", choices=proxies.NAMES, default=proxies.NAMES, metavar="NAME", help=f"of {', '.join(proxies.NAMES)} (default: all)")
    parser.add_argument("--rate", type=int, default=10_000, help="messages a second, each of which is echoed (default: %(default)s)")
    shared_arguments(parser)
    options = parser.parse_args()
    samples = {name: [] for name in options.peers}
    for _ in range(options.rounds):
        for name in options.peers:
            samples[name].append(measure(name, options))
    cost = {name: median(cpu for cpu, _, _ in found) for name, found in samples.items()}
    print(f"{options.rate:,} messages a second of {MESSAGE} octets over {CONNECTIONS} connections, each echoed; {options.rounds} rounds of {options.seconds} s; medians")
    for name in sorted(cost, key=cost.get):
        rate, p99 = (median(sample[nth] for sample in samples[name]) for nth in (1, 2))
        print(f"  {name:<10}{cost[name]:>8.1f} us of CPU per message and its echo{cost[name] / cost[options.base]:>8.2f}{rate:>10,.0f}/s   p99 {p99:6.2f} ms")


def measure(name, options):
    """CPU microseconds of the proxy per message, messages per second, and the 99th percentile of the time to the echo in ms."""
    cores = sorted(os.sched_getaffinity(0))
    own, others = ({cores[0]}, set(cores[1:]) or {cores[0]}) if options.cores == "1" else (set(cores), set(cores))
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        place = servers.Place(port=free_port(), folder=folder, workers=len(own), ziggurat=str(Path(options.ziggurat).resolve()), nginx=options.nginx, upstream=free_port())
        if lacks := proxies.missing(name, "1.1", place):
            sys.exit(f"error: not installed: {lacks}")
        echo = Tree([[sys.executable, __file__, "--echo", str(place.upstream)]], cwd=folder, env=dict(os.environ), cores=others, log=folder / "echo.log", port=place.upstream)
        proxy = Tree([proxies.command(name, "1.1", place)], cwd=folder, env=dict(os.environ), cores=own, log=folder / "log", port=place.port)
        try:
            echo.wait_for_port()
            proxy.wait_for_port()
            os.sched_setaffinity(0, others)
            tunnels = [upgraded(place.port, proxy) for _ in range(CONNECTIONS)]
            talk(tunnels, options.rate, min(0.5, options.seconds))
            before = proxy.cpu()
            count, seconds, times = talk(tunnels, options.rate, options.seconds)
            cpu = proxy.cpu() - before
        finally:
            os.sched_setaffinity(0, cores)
            proxy.stop()
            echo.stop()
    return cpu * 1e6 / count, count / seconds, sorted(times)[len(times) * 99 // 100] * 1000


def upgraded(port, tree):
    """A connection after the switch."""
    for attempt in range(100):
        tunnel = socket.create_connection(("127.0.0.1", port), timeout=20)
        tunnel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tunnel.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n") and (octet := tunnel.recv(1)):
            head += octet
        if head.startswith(b"HTTP/1.1 101"):
            return tunnel
        # The upstream may not listen yet for the proxy.
        time.sleep(0.1)
    raise ServerFailed(f"no switch: {head[:200]}\n{tree.log_tail()}")


def talk(tunnels, rate, length):
    """Sends at `rate` in ticks, every connection in turn, and compares each echo. Gives how many came, the time, and the time to each echo."""
    waiting = {tunnel.fileno(): (tunnel, []) for tunnel in tunnels}
    poll = select.epoll()
    for number in waiting:
        poll.register(number, select.EPOLLIN)
    begin, sent, times = time.monotonic(), 0, []
    while (now := time.monotonic()) < begin + length or any(queue for _, queue in waiting.values()):
        due = min(now - begin, length) * rate
        while sent < due:
            tunnel, queue = waiting[tunnels[sent % len(tunnels)].fileno()]
            message = b"\x82\xbe" + sent.to_bytes(8, "big") * ((MESSAGE - 2) // 8) + bytes((MESSAGE - 2) % 8)
            queue.append((message, time.monotonic()))
            tunnel.sendall(message)
            sent += 1
        for number, _ in poll.poll(TICK):
            tunnel, queue = waiting[number]
            echoes = tunnel.recv(65536)
            if not echoes:
                raise ServerFailed("a tunnel ended")
            while len(echoes) % MESSAGE:
                echoes += tunnel.recv(MESSAGE - len(echoes) % MESSAGE)
            for at in range(0, len(echoes), MESSAGE):
                message, since = queue.pop(0)
                if echoes[at:at + MESSAGE] != message:
                    raise ServerFailed("an echo has other octets than its message")
                times.append(time.monotonic() - since)
    poll.close()
    return sent, time.monotonic() - begin, times


def echo(port):
    """An upstream that switches and echoes all that comes."""
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    poll, sockets = select.epoll(), {}
    poll.register(listener, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sockets[client.fileno()] = [client, True]
                poll.register(client, select.EPOLLIN)
                continue
            client, is_head = sockets[number]
            octets = client.recv(65536)
            if not octets:
                del sockets[number]
                client.close()
            elif is_head:
                # A head comes in one piece on loopback.
                client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
                sockets[number][1] = False
            else:
                client.sendall(octets)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--echo"]:
        echo(int(sys.argv[2]))
    else:
        main()
