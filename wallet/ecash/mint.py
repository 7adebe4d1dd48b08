"""A mint, over its V1 API (NUT-01 to 09)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wallet.ecash import crypto
from wallet.ecash.errors import EcashOpen, EcashRefused
from wallet.interface import WalletUnreachable
from wallet.rest import Answer, Rest, Unanswered


@dataclass(frozen=True, slots=True)
class Keyset:
    """`keys` by amount, each a point; `fee_ppk` is the fee of one input in thousandths of the unit."""

    id: str
    unit: str
    active: bool
    fee_ppk: int
    keys: Mapping[int, str]


class Mint:
    """An async context manager. Every call raises EcashRefused (a certain no) or EcashOpen (no usable answer)."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._rest = Rest(self.url, name="the mint")
        self._keysets: dict[str, Keyset] = {}

    async def __aenter__(self) -> "Mint":
        await self._rest.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._rest.close()

    async def keysets(self) -> dict[str, Keyset]:
        """All keysets for sat, their ids recomputed from their keys."""
        if self._keysets:
            return self._keysets
        found = {}
        for item in (await self.call("GET", "/v1/keysets"))["keysets"]:
            if item["unit"] != "sat":
                continue
            said = (await self.call("GET", f"/v1/keys/{item['id']}"))["keysets"][0]
            keys = {int(amount): str(key) for amount, key in said["keys"].items()}
            fee, expiry = int(item.get("input_fee_ppk") or 0), said.get("final_expiry") or item.get("final_expiry")
            if crypto.keyset_id(keys, item["unit"], fee, expiry, item["id"][:2]) != item["id"]:
                raise EcashRefused("the mint shows a keyset whose id is not that of its keys")
            found[item["id"]] = Keyset(item["id"], item["unit"], bool(item["active"]), fee, keys)
        self._keysets = found
        return found

    async def keyset(self, name: str) -> Keyset:
        """By its id or an unambiguous beginning of it (NUT-00, short ids)."""
        known = [keyset for full, keyset in (await self.keysets()).items() if full.startswith(name)]
        if len(known) != 1 or len(name) < 16:
            raise EcashRefused("the ecash is of a keyset that the mint does not know")
        return known[0]

    async def active(self) -> Keyset:
        """The keyset to get new ecash of: the cheapest active one."""
        known = [keyset for keyset in (await self.keysets()).values() if keyset.active]
        if not known:
            raise EcashRefused("the mint has no active keyset for sat")
        return min(known, key=lambda keyset: (keyset.fee_ppk, keyset.id))

    async def swap(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[dict[str, Any]]:
        said = await self.call("POST", "/v1/swap", {"inputs": list(inputs), "outputs": list(outputs)})
        return list(said["signatures"])

    async def restore(self, outputs: Sequence[Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Outputs that the mint has signed before, and the signatures (NUT-09)."""
        said = await self.call("POST", "/v1/restore", {"outputs": list(outputs)})
        return list(said["outputs"]), list(said.get("signatures") or said.get("promises") or [])

    async def states(self, ys: Sequence[str]) -> list[str]:
        """UNSPENT, PENDING or SPENT of each point (NUT-07)."""
        said = await self.call("POST", "/v1/checkstate", {"Ys": list(ys)})
        return [str(item["state"]) for item in said["states"]]

    async def melt_quote(self, invoice: str) -> dict[str, Any]:
        return await self.call("POST", "/v1/melt/quote/bolt11", {"request": invoice, "unit": "sat"})

    async def melt_state(self, quote: str) -> dict[str, Any]:
        return await self.call("GET", f"/v1/melt/quote/bolt11/{quote}")

    async def melt(self, quote: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
        body = {"quote": quote, "inputs": list(inputs), "outputs": list(outputs)}
        return await self.call("POST", "/v1/melt/bolt11", body, timeout=90)

    async def call(self, method: str, path: str, body: Any = None, timeout: float = 30) -> dict[str, Any]:
        try:
            answer: Answer = await self._rest.ask(method, path, json=body, timeout=timeout)
        except (WalletUnreachable, Unanswered) as error:
            raise EcashOpen(str(error)) from None
        if answer.ok and isinstance(answer.body, dict):
            return answer.body
        if 400 <= answer.status < 500:
            code = answer.field("code")
            raise EcashRefused(f"the mint refuses: {answer.complaint}", code if isinstance(code, int) else None)
        raise EcashOpen(f"the mint answers {answer.status}: {answer.complaint}")
