"""Hooks of a site with metrics."""
from prometheus_client import multiprocess

wsgi_app = "shop:create_app()"
workers = 2
threads = 4
raw_env = ["PROMETHEUS_MULTIPROC_DIR=/tmp/metrics", "PRICE=5$", "EMPTY="]


def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)


def post_fork(server, worker):
    server.log.info("Worker spawned (pid: %s)", worker.pid)


def when_ready(server):
    workers = 7


def helper():
    return 1

statsd_host = "localhost:8125"
statsd_prefix = "shop"
