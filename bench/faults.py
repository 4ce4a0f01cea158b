#!/usr/bin/env python3
"""Breaks Ziggurat under load in every way that is known and says what that costs. See README.md."""

import argparse
import resource
import sys
import time
import traceback

import fault_cases
from fault_cases import CASES
from process import ServerFailed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ziggurat", default=fault_cases.program(), help="the program (default: %(default)s)")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--seconds", type=float, default=1.0, help="load before each harm, the measure of what is usual (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements whose median is a p99 beside slow clients (default: %(default)s)")
    parser.add_argument("--slow", type=int, default=200, help="slow clients of each kind (default: %(default)s)")
    parser.add_argument("--streams", type=int, default=500, help="endless streams (default: %(default)s)")
    parser.add_argument("--download", type=int, default=1024, metavar="MIB", help="size of the large answer (default: %(default)s; 10240 for the whole proof)")
    parser.add_argument("--upload", type=int, default=512, metavar="MIB", help="size of the large upload (default: %(default)s; 2048 for the whole proof)")
    parser.add_argument("--keep-logs", metavar="FOLDER", help="write the server's log of each case there")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    print(f"{'case':<16}{'what was done':<62}{'requests':>9}{'failed':>8}{'allowed':>9}  {'verdict':<8}{'p99 ratio':>9}  notes", flush=True)
    good = True
    for name in options.case:
        begin = time.monotonic()
        try:
            for row in CASES[name](options):
                good &= row.good
                ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
                print(f"{name:<16}{row.done:<62}{row.requests:>9,}{row.failed:>8}{row.allowed:>9}  {'good' if row.good else 'BAD':<8}{ratio:>9}  {row.notes}", flush=True)
        except (ServerFailed, OSError, AssertionError) as failure:
            good = False
            print(f"{name:<16}BAD after {time.monotonic() - begin:.1f} s: {failure}", flush=True)
            traceback.print_exc(limit=3)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
