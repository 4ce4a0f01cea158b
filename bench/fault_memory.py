"""Bodies far larger than memory should ever hold, with a slow client or a slow app at the other end."""

import os
import socket
import threading
import time

from fault_site import Row, resident, site

LIMIT = 16 * 2**20
"""What front and worker may grow by. The link's windows (256 KiB at either end), the pipe before the app, the buffers of socket, connection and
allocator come to a few MiB; the rest is room for threads and arenas that are there only once they were needed."""
STOP = 2.0
"""Seconds for which a client does not read at all."""
BURST = 500
GIVEN_BACK = 40.0
"""Seconds after which the front has given the memory of a burst back."""


def memory(options):
    with site(options, workers=1, threads=4) as served:
        yield watched(f"{options.download} MiB generated, read by fits and starts", served, lambda: download(served.port, options.download))
        yield watched(f"{options.upload} MiB uploaded to an app that reads slowly", served, lambda: upload(served.port, options.upload, "pause=0.0002"))
        yield watched("8 uploads to an app that reads 64 KiB of each", served, lambda: together(8, lambda: upload(served.port, 64, "most=65536", whole=False)))
        yield watched("16 downloads of 64 MiB at a time", served, lambda: together(16, lambda: download(served.port, 64, pauses=False)))
    with site(options, workers=1, threads=4) as served:
        yield given_back(served)


def watched(done, served, work):
    """Anonymous resident memory of front and worker while `work` is done."""
    pids = [served.front, *served.workers()]
    # What the first requests leave behind for ever is not meant.
    download(served.port, 4, pauses=False)
    upload(served.port, 4, "pause=0")
    before, most, over = [resident(pid) for pid in pids], [0] * len(pids), threading.Event()

    def look():
        while not over.wait(0.02):
            for nth, pid in enumerate(pids):
                most[nth] = max(most[nth], resident(pid))

    looking = threading.Thread(target=look)
    looking.start()
    begin = time.monotonic()
    try:
        moved = work()
    finally:
        over.set()
        looking.join()
    grown = [max(now - then, 0) for then, now in zip(before, most)]
    notes = ", ".join(f"{who} {then / 2**20:.1f} {growth / 2**20:+.1f} MiB" for who, then, growth in zip(("front", "worker"), before, grown))
    notes += f" (limit {LIMIT // 2**20}); {moved / 2**20:,.0f} MiB in {time.monotonic() - begin:.1f} s"
    return Row(done, 1, 0, 0, None, notes, max(grown) < LIMIT)


def given_back(served):
    """A burst of uploads that are all in memory at once, and what the front still has of that memory some seconds later."""
    download(served.port, 4, pauses=False)
    before, clients, octets = resident(served.front), [], 2**16
    for _ in range(BURST):
        client = socket.create_connection(("127.0.0.1", served.port), timeout=60)
        clients.append(client)
        client.sendall(b"POST /upload?pause=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (octets + 1))
        client.sendall(bytes(octets))
    most = resident(served.front)
    for client in clients:
        client.sendall(b"x")
    for client in clients:
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"%d" % (octets + 1)), answer[:200]
        client.close()
    begin = time.monotonic()
    while (left := resident(served.front) - before) > LIMIT and time.monotonic() - begin < GIVEN_BACK:
        time.sleep(0.1)
    notes = f"front {before / 2**20:.1f} {(most - before) / 2**20:+.1f} MiB, {left / 2**20:+.1f} after {time.monotonic() - begin:.0f} s (limit {LIMIT // 2**20})"
    return Row(f"{BURST} uploads at once, and then none", 1, 0, 0, None, notes, left < LIMIT)


def download(port, mib, pauses=True):
    """Reads a generated answer, at first slowly, then not at all for a while, then as fast as it comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"GET /large?mib=%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % mib)
        read, buffer = 0, bytearray(2**18)
        while count := client.recv_into(buffer):
            if pauses and read < 8 * 2**20:
                time.sleep(0.01)
            if pauses and read < mib * 2**19 <= read + count:
                time.sleep(STOP)
            read += count
    assert read > mib * 2**20, f"{read} octets came of {mib} MiB"
    return read


def upload(port, mib, how, whole=True):
    """Sends a body and reads the answer; `whole` says whether the app reads it all."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"POST /upload?%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (how.encode(), mib * 2**20))
        sent, block = 0, os.urandom(2**18)
        if not whole:
            # The app answers after 2 s without having read the rest: nothing may take more of it in than the windows hold.
            client.settimeout(1)
        try:
            while sent < mib * 2**20:
                sent += client.send(block)
        except OSError:
            assert not whole
        client.settimeout(60)
        answer = b""
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    wanted = str(mib * 2**20 if whole else 65536).encode()
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(wanted), answer[:200]
    return sent


def together(count, work):
    """The same several times at once."""
    moved = []
    threads = [threading.Thread(target=lambda: moved.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(moved) == count, f"{count - len(moved)} of {count} failed"
    return sum(moved)
