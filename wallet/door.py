"""The way to a wallet that may start later than its user, and go away in between.

door = Door(wallet)
asyncio.create_task(door.run())
invoice = await (await door()).make_invoice(1000)
"""

import asyncio
import logging

from wallet.interface import Wallet, WalletError, WalletUnreachable

log = logging.getLogger("wallet")

_ENTER_AGAIN = (1, 2, 5, 15, 60)  # seconds between attempts
_PATIENCE = 3.0  # seconds a caller waits for a wallet that is not open yet


class Door:
    """`run` it as a task; call it for the wallet: `await door()`."""

    def __init__(self, wallet: Wallet | None) -> None:
        self._wallet = wallet
        self._open = asyncio.Event()

    @property
    def exists(self) -> bool:
        return self._wallet is not None

    async def __call__(self) -> Wallet:
        """The wallet, waited for during a few seconds. Raises WalletUnreachable; WalletError where there is none."""
        if self._wallet is None:
            raise WalletError("there is no wallet here: give one with --wallet, or a price of 0")
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._open.wait()
        except TimeoutError:
            raise WalletUnreachable("the wallet does not answer yet") from None
        return self._wallet

    async def run(self) -> None:
        """Enter the wallet and keep it entered until cancelled."""
        if self._wallet is None:
            return
        tries = 0
        while True:
            try:
                async with self._wallet:
                    self._open.set()
                    await asyncio.Event().wait()
            except WalletError as error:
                level = logging.WARNING if tries in (3, 10) else logging.DEBUG
                log.log(level, "the wallet can't be opened: %s", error)
            finally:
                self._open.clear()
            await asyncio.sleep(_ENTER_AGAIN[min(tries, len(_ENTER_AGAIN) - 1)])
            tries += 1
