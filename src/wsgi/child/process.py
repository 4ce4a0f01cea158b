"""Makes a worker a process like any other for the processes that its app starts."""

import atexit
import faulthandler
import os
import signal
import socket
import threading
import time

# How long processes that the app has left behind may take to end, in seconds.
PATIENCE = 2

# The dispositions before a worker's own, by signal.
_before = {}
# The process id of the worker. The template has none.
_worker = None
# The signal mask of a thread that forks.
_mask = threading.local()
# The inodes of the sockets that the template had open when it forked.
_at_fork = frozenset()


def handle_signals():
    """Installs handlers that do nothing: the server decides when a worker ends."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
        _before[number] = signal.getsignal(number)
        signal.signal(number, _nothing)
        signal.siginterrupt(number, False)
    if _before[signal.SIGINT] is signal.SIG_DFL:
        # As in a process that Python itself has started.
        _before[signal.SIGINT] = signal.default_int_handler


def _nothing(number, frame):
    pass


def show_stacks():
    """Writes the stacks of all threads to standard error at SIGUSR2, and at a crash."""
    # The program's own handlers stay in front and ignore one signal from outside; a worker that is told to crash has to.
    for number in (signal.SIGSEGV, signal.SIGBUS):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, all_threads=True, chain=False)


def isolate(link):
    """Closes the link in processes that the app forks, which could write to it, and ends those that the app leaves behind."""
    global _worker
    _worker = os.getpid()

    def close(os=os):
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, link, False)
        os.close(null)

    os.register_at_fork(after_in_child=close)


def shared_connections():
    """The connections that this process has from its template, and that all other forks have, too: requests of one would get the responses of another."""
    open_now = _open_sockets()
    standard = {inode for inode, number in open_now.items() if number < 3}
    return [shown for inode in (_at_fork & open_now.keys()) - standard if (shown := _connection(open_now[inode]))]


def _open_sockets():
    """A descriptor of each open socket, by inode."""
    found = {}
    for name in sorted(os.listdir("/proc/self/fd"), key=int, reverse=True):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found[target] = int(name)
    return found


def _connection(number):
    """Both ends of a connection, or nothing for any other socket. (One without a name is one of a pair in this process.)"""
    with socket.socket(fileno=os.dup(number)) as opened:
        try:
            peer = opened.getpeername()
        except OSError:
            return None
        if opened.type not in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET) or not peer:
            return None
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else os.fsdecode(peer)


def _before_fork():
    global _at_fork
    if _worker is None:
        _at_fork = frozenset(_open_sockets())
    # A signal that comes before the forked process has its own dispositions has to wait for them.
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _before)


def _after_fork_in_parent():
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _after_fork_in_child():
    """Gives a forked process the dispositions of a plain Python process, except where the app has changed them."""
    for number, handler in _before.items():
        if handler is not None and signal.getsignal(number) is _nothing:
            signal.signal(number, handler)
    if signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL:
        faulthandler.unregister(signal.SIGUSR2)
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _end_children():
    """Asks the processes in the worker's group to end. The server kills those that do not."""
    if os.getpid() != _worker or os.getpgrp() != _worker:
        return
    try:
        # This process gets the signal too, whatever the app has made of it. The exit hooks of agents are still to run.
        signal.signal(signal.SIGTERM, _nothing)
    except ValueError:
        # Outside the main thread, if threads of the app did not end in time.
        pass
    os.killpg(_worker, signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
    except ChildProcessError:
        pass


# Hooks before a fork run in the reverse order, so those of the app have closed what they close.
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
# Exit hooks run in the reverse order, so those of the app come before.
atexit.register(_end_children)
