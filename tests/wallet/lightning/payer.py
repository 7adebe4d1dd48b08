"""A process that pays one invoice through the bank and is killed while it does: `payer LEDGER BACKEND INVOICE`."""

import asyncio
import sys
from pathlib import Path

from nostr.key import SecretKey
from wallet import books
from wallet.backends import open_backend
from wallet.bank import Bank


async def main(ledger: str, line: str, invoice: str) -> None:
    async with Bank.open(Path(ledger), open_backend(line, key=SecretKey.generate())) as bank:
        owner = await bank.db.write(lambda conn: books.account_id(conn, "owner"))
        payment = await bank.pay(owner, invoice, purpose="job:1")
        print("begun", flush=True)
        print((await bank.wait(payment)).state, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
