"""Runs inside the environment of nostr-dvm: one text worker of that framework on our relay, billed through an LNbits
API that the test serves. Arguments: relay URL, LNbits URL, price in sat, secret key in hex."""

import json
import sys
import time

from nostr_dvm.interfaces.dvmtaskinterface import DVMTaskInterface
from nostr_dvm.utils.admin_utils import AdminConfig
from nostr_dvm.utils.definitions import EventDefinitions
from nostr_dvm.utils.dvmconfig import DVMConfig
from nostr_dvm.utils.nip89_utils import NIP89Config


class Echo(DVMTaskInterface):
    KIND = EventDefinitions.KIND_NIP90_GENERATE_TEXT
    TASK = "echo"

    async def is_input_supported(self, tags, client=None, dvm_config=None):
        return all(tag.to_vec()[2] == "text" for tag in tags if tag.to_vec()[0] == "i")

    async def create_request_from_nostr_event(self, event, client=None, dvm_config=None):
        texts = [tag.to_vec()[1] for tag in event.tags() if tag.to_vec()[0] == "i"]
        return {"jobID": event.id().to_hex(), "options": json.dumps({"text": " ".join(texts)})}

    async def process(self, request_form):
        return "echo: " + self.set_options(request_form)["text"]


def main() -> None:
    relay, lnbits, price, secret = sys.argv[1:5]
    config = DVMConfig()
    config.PRIVATE_KEY, config.FIX_COST = secret, float(price)
    config.RELAY_LIST = config.ANNOUNCE_RELAY_LIST = [relay]
    config.SYNC_DB_RELAY_LIST, config.AVOID_OUTBOX_RELAY_LIST = [], []
    config.LNBITS_URL, config.LNBITS_INVOICE_KEY = lnbits, "key"
    config.DELETE_ANNOUNCEMENT_ON_SHUTDOWN = False
    about = NIP89Config()
    about.DTAG = "echo"
    about.CONTENT = json.dumps({"name": "Echo", "about": "says it again", "amount": price, "nip90Params": {}})
    admin = AdminConfig()
    admin.REBROADCAST_NIP89 = admin.REBROADCAST_NIP65_RELAY_LIST = True
    Echo("Echo", config, about, admin_config=admin).run()
    while True:  # its thread starts others, which Python refuses once the main thread has ended
        time.sleep(60)


if __name__ == "__main__":
    main()
