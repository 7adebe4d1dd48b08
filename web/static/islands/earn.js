// How a person is paid: by invoices of their own wallet or Lightning address; the wallet is also asked what has come.
import { sha256, unhex } from "./bytes.js";
import { paymentHash } from "./invoice.js";
import { balance, connect, connected, forget, isPaid, makeInvoice } from "./nwc.js";
import { amount, node, relay, tag, tags } from "./relay.js";
import { html, useEffect, useState } from "./ui.js";
import { postAs } from "./who.js";

const LOOK_EVERY = 5000, // milliseconds between two looks into the wallet
  LOOKED_AT = 8; // unpaid invoices, the newest

/** What was paid for one's deliveries, as a map from job to msat: one's wallet says so, or a preimage that fits. */
export function usePaid(me, delivered) {
  const [settled, setSettled] = useState(new Set());
  const add = (hash) => setSettled((before) => new Set(before).add(hash));
  const bills = delivered
    .map((event) => ({ job: tag(event, "e"), at: event.created_at, bill: tags(event, "amount").find((t) => t[2]) }))
    .filter(({ bill }) => bill)
    .map(({ job, at, bill: [, msat, invoice] }) => ({ job, at, msat: Number(msat), invoice, hash: paymentHash(invoice) }));
  const open = bills.filter(({ hash }) => !settled.has(hash)).sort((a, b) => b.at - a.at);
  useEffect(
    () =>
      me
        ? relay.subscribe([{ kinds: [7190, 31117], "#p": [me.pubkey], limit: 500 }], async (event) => {
            const preimage = tag(event, "preimage") ?? "";
            if (/^[0-9a-f]{64}$/.test(preimage)) add(await sha256(unhex(preimage)));
          })
        : undefined,
    [me?.pubkey],
  );
  useEffect(() => {
    if (!open.length) return undefined;
    let timer = 0;
    const look = async () => {
      for (const { invoice, hash } of connected() ? open.slice(0, LOOKED_AT) : [])
        if (await isPaid(invoice).catch(() => false)) add(hash); // a wallet that is away is asked again
      timer = setTimeout(look, LOOK_EVERY);
    };
    look();
    return () => clearTimeout(timer);
  }, [open.map(({ hash }) => hash).join()]);
  return new Map(bills.filter(({ hash }) => settled.has(hash)).map(({ job, msat }) => [job, msat]));
}

/** Where an invoice over one's pay comes from by itself: "wallet", "address"; "" where it must be pasted. */
export const invoiceFrom = (address) => (connected() ? "wallet" : usable(address) ? "address" : "");

/** An invoice over `msat` from there; "" where it must be pasted. */
export async function invoiceFor(msat, words, address) {
  const from = invoiceFrom(address);
  return from === "wallet" ? makeInvoice(msat, words) : from === "address" ? askAddress(address, msat) : "";
}

/** Where the node keeps credits, an address elsewhere is for other money. */
function usable(address) {
  const [name, domain] = (address ?? "").split("@");
  return Boolean(name && domain) && (!node.credits || domain === location.host);
}

/** LUD-16 and LUD-06: what a Lightning address offers, and its invoice over so much. */
async function askAddress(address, msat) {
  const [name, domain] = address.split("@");
  const ask = async (url) => {
    const answer = await fetch(url, { credentials: "omit" }).catch(() => null);
    const told = await answer?.json().catch(() => null);
    if (!told || told.status === "ERROR")
      throw new Error(`${address} makes no invoice (${told?.reason ?? "no answer"}): paste one instead.`);
    return told;
  };
  const host = domain === location.host ? location.origin : `https://${domain}`;
  const offer = await ask(`${host}/.well-known/lnurlp/${encodeURIComponent(name)}`);
  if (msat < offer.minSendable || msat > offer.maxSendable)
    throw new Error(`${address} takes ${amount(offer.minSendable)} to ${amount(offer.maxSendable)}.`);
  const callback = new URL(offer.callback);
  callback.searchParams.set("amount", msat);
  return (await ask(callback)).pr;
}

/** The worker's own wallet: it writes the invoices. Where the node keeps credits, an account there will do. */
export function Wallet({ me, earned }) {
  const [there, setThere] = useState(Boolean(connected()));
  const [holds, setHolds] = useState(null);
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (there)
      balance().then(setHolds, () => setHolds(null)); // a connection that may only receive does not tell
  }, [there, earned]);
  const attempt = (find) => async (event) => {
    event.preventDefault();
    setSaid("");
    try {
      connect(await find(event));
      setThere(true);
    } catch (error) {
      setSaid(error.message);
    }
  };
  if (there)
    return html`
      <p class="small" id="wallet">
        Your wallet writes the invoices${holds === null ? "" : `; it holds ${amount(holds).replace("free", "nothing yet")}`}.${" "}
        <button
          class="plain small"
          onClick=${() => {
            forget();
            setThere(false);
          }}
        >
          Forget it
        </button>
      </p>
    `;
  return html`
    <details class="panel" id="wallet">
      <summary>
        <b>Get paid</b>
        ${" "}
        <span class="soft small">connect the wallet that your pay goes to</span>
      </summary>
      ${
        node.credits && node.guestCredits
          ? html`
              <div class="row spread">
                <p>
                  This node settles in credits. It keeps an account for your key, and what you earn you can spend here.
                </p>
                <button type="button" onClick=${attempt(async () => (await postAs(me, "/inbox/wallet", {})).uri)}>
                  Use my account here
                </button>
              </div>
            `
          : null
      }
      <form onSubmit=${attempt((event) => new FormData(event.target).get("uri"))}>
        <label for="uri">
          Wallet connection${" "}
          <span class="soft">(NWC; it needs to make invoices and look them up, and stays in this tab)</span>
        </label>
        <div class="row">
          <input class="grow" id="uri" name="uri" placeholder="nostr+walletconnect://…" autocomplete="off" />
          <button class="plain">Connect</button>
        </div>
      </form>
      <p role="status" class="small">${said}</p>
    </details>
  `;
}
