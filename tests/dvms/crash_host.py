"""A worker host that kills itself (SIGKILL) at a chosen point, once.

Reads one JSON line for each host to start and forks it: the imports are paid for once. Points are `before:STATE` (in
the transaction that would have led there), `after:STATE` (committed, nobody told yet), and `before:CALL` / `after:CALL`
for the calls to the wallet.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

from dvms import serve as serving
from dvms.cashier import Cashier
from dvms.jobs import SqliteJobs
from dvms.registry import Found, load
from dvms.settings import SellerSettings
from nostr.database import Database
from wallet.nwc import NwcWallet

SERVICES = str(Path(__file__).with_name("services.py"))


def arm(point, marker):
    when, _, what = point.partition(":")

    def die():
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    move_in, write = SqliteJobs.move_in, Database.write

    def dying_move(self, conn, job, expect, to, *rest):
        moved = move_in(self, conn, job, expect, to, *rest)
        if when == "before" and moved is not None and moved.state == what:
            die()
        return moved

    async def dying_write(self, work):
        result = await write(self, work)
        found = result[0] if isinstance(result, list) and result else result
        if when == "after" and getattr(found, "state", None) == what:
            die()
        return result

    SqliteJobs.move_in, Database.write = dying_move, dying_write
    for owner, name in ((Cashier, "make_bill"), (Cashier, "take"), (Cashier, "release"), (NwcWallet, "pay_invoice")):
        if name == what:
            setattr(owner, name, dying_call(getattr(owner, name), when, die))


def dying_call(call, when, die):
    async def dying(*args, **more):
        if when == "before":
            die()
        result = await call(*args, **more)
        if when == "after":
            die()
        return result

    return dying


async def host(config):
    where = f"{SERVICES}:{config['service']}"
    found = Found(load(where), where, "text")
    if config["point"]:
        arm(config["point"], config["marker"])
    settings = SellerSettings(price=21, announce=False, hold=config["hold"])
    data = Path(config["data"])
    await serving.serve(found, settings, {}, data=data, relays=[config["relay"]], wallet=config["wallet"])


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        config = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(config["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
            try:
                asyncio.run(host(config))
            finally:
                os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
